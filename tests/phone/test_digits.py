"""Numbers in what is kept: masked however they are spaced or spelt, and never shown bit by bit."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaskapp.phone.agent import Agent
from flaskapp.phone.carriers.twilio import TwilioStream
from flaskapp.phone.commands import TellLine
from flaskapp.phone.digits import MASK, WORDS, masked, masked_field, masked_line, masked_message
from flaskapp.phone.directives import Message
from flaskapp.phone.transcript import CALLER, Line
from tests.phone import lanes, sayings


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("My card is 4111 1111 1111 1111, thanks.", "My card is •••• •••• •••• ••••, thanks."),
        ("4111-1111-1111-1111", "••••-••••-••••-••••"),
        ("PIN1234", "PIN••••"),
        ("code 1, 2, 3.", "code •, •, •."),
        ("it is four one one double two", "it is • • • • •"),
        ("Vier, eins, zwo, bitte.", "•, •, •, bitte."),
        ("one 2 three", "• • •"),
        ("I heard: Four. One. One. Is that right?", "I heard: •. •. •. Is that right?"),
        ("Four … one\n- one", "• … •\n- •"),
        ("First four, then one, then one.", "First four, then one, then one."),
        ("१२३४", "••••"),
        ("We open at 9 and close at 18.", "We open at 9 and close at 18."),
        ("one moment, two please", "one moment, two please"),
        ("someone, none, often", "someone, none, often"),
        ("[keys pressed: 1]", "[keys pressed: •]"),
        ("[keys pressed: 4 2 # *]", "[keys pressed: • • • •]"),
        ("", ""),
    ],
)
def test_numbers_are_masked_and_other_words_are_not(said, kept):
    assert masked(said) == kept
    assert masked(kept) == kept


@pytest.mark.parametrize(
    ("grown", "shown"),
    [
        ("my pin is 1", "my pin is •"),
        ("my pin is 12 ", "my pin is •• "),
        ("my pin is 12 and", "my pin is 12 and"),
        ("one tw", "• •"),
        ("call at two", "call at •"),
        ("call at fi", "call at •"),
        ("I am here", "I am here"),
    ],
)
def test_a_line_that_grows_shows_no_number_that_may_grow(grown, shown):
    assert masked(grown, is_open=True) == shown


PIECES = st.lists(
    st.one_of(
        st.sampled_from(["1", "42", " ", "-", ". ", "my ", "pin is ", " and ", "7"]), st.sampled_from(WORDS)
    ),
    max_size=12,
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(PIECES)
def test_whatever_is_masked_in_the_end_was_never_shown_while_it_grew(pieces):
    whole = " ".join(pieces)
    end = masked(whole)
    if len(end) != len(whole):  # a word became one point: compare digits alone
        whole = re.sub(r"[^\W\d_]+", "x", whole)
        end = masked(whole)
    hidden = {at for at, letter in enumerate(whole) if letter.isdigit() and end[at] == MASK}
    for upto in range(len(whole)):
        shown = masked(whole[:upto], is_open=True)
        assert not [at for at in hidden if at < upto and shown[at] != MASK]


def test_a_line_that_was_cut_off_may_have_been_in_a_number():
    line = Line("a", 0, "agent", "Your code is 12", 0, 900, True, True, generated="Your code is 123456")
    assert (masked_line(line).text, masked_line(line).generated) == ("Your code is ••", "Your code is ••••••")


def test_what_somebody_is_to_be_called_back_at_is_kept():
    message = masked_message(Message("My card is 4111 1111", "Grace", "+15550123"))
    assert message == Message("My card is •••• ••••", "Grace", "+15550123")


def test_the_names_of_things_in_a_protocol_are_no_numbers():
    assert masked_field("item_4711AB") == "item_4711AB"
    assert masked_field('{"card": "4111 1111"}') == '{"card": "•••• ••••"}'
    assert masked_field("4111111111111111") == MASK * 16


def test_nobody_is_told_of_a_live_call_s_numbers_but_the_engine():
    lane = lanes.Lane(False, TwilioStream(), Agent(greeting=""))
    lane.bridge.hides_digits = True
    lane.bridge.keeps()
    lane.goes_live(sayings.START)
    lane.engine_says(
        sayings.speech_begins("u1", 0),
        sayings.speech_ends("u1", 900),
        sayings.callers_words("My pin is 4711.", "u1"),
    )
    lane.works_off()
    told = [what[2] for what in lane.notes.told if what[0] == "line"]
    assert {each.text for each in told if isinstance(each, TellLine)} == {"My pin is ••••."}
    assert {each["transcript"] for each in lane.updates} == {"My pin is ••••."}
    assert {each.text for each in lane.bridge.take_lines()} == {"My pin is ••••."}
    assert [each.text for each in lane.call.talk.transcript.spoken()] == ["My pin is 4711."]
    lane.bridge.hang_up("closed")
    (ended,) = [what[1] for what in lane.notes.told if what[0] == "call_ended"]
    assert [line.text for line in ended.lines if line.speaker == CALLER] == ["My pin is ••••."]
    lane.ends()

"""The fast path: audio leaves at once and in one write, everything else in its place, nothing overtakes."""

from __future__ import annotations

import base64

import pytest

from flaskapp.phone.agent import Agent
from tests.phone.lanes import SLICES, Lane, heard, kinds
from tests.phone.sayings import (
    START,
    STOP,
    agents_words,
    agreed,
    delta,
    key,
    mark_back,
    media,
    reply_begins,
    reply_ends,
    speech_begins,
)

# --------------------------------------------------------------------- in one write, in order


def test_all_that_one_read_of_the_carrier_brought_leaves_in_one_write_and_in_order(lane):
    before = len(lane.sessions.opened[-1].writes)
    lane.carrier_says(*map(media, SLICES))
    assert len(lane.sessions.opened[-1].writes) == before + 1
    assert lane.sessions.opened[-1].droppable[-1]
    assert heard(lane) == SLICES
    assert not lane.bridge._inbox


def test_all_that_one_read_of_the_engine_brought_leaves_in_one_write_and_in_order(speaking):
    speaking.engine_says(*map(delta, SLICES))
    assert len(speaking.phone.writes) == 1
    assert kinds(speaking) == [chr(65 + number) for number in range(20)]
    assert not speaking.bridge._inbox


def test_what_nobody_needs_is_no_obstacle(speaking):
    speaking.engine_says(b'{"type":"rate_limits.updated"}')
    speaking.carrier_says(b'{"event":"brand_new"}')
    speaking.engine_says(delta(SLICES[1]))
    speaking.carrier_says(media(SLICES[1]))
    assert (kinds(speaking), heard(speaking)) == (["B"], SLICES[1:2])
    speaking.engine_says(delta(SLICES[2]), b'{"type":"rate_limits.updated"}', delta(SLICES[3]))
    speaking.carrier_says(media(SLICES[2]), b'{"event":"brand_new"}', media(SLICES[3]))
    speaking.works_off()
    assert (kinds(speaking), heard(speaking)) == (["B", "C", "D"], SLICES[1:4])


# --------------------------------------------------------------------- nothing overtakes


@pytest.mark.parametrize("other", [mark_back("m1"), key(), STOP, b"{", START])
def test_audio_behind_anything_else_in_one_read_waits_with_it(lane, other):
    lane.carrier_says(media(SLICES[0]), other, media(SLICES[1]))
    assert heard(lane) == SLICES[:1]
    assert len(lane.bridge._inbox) == 1
    assert lane.bridge._bell.is_set()
    lane.carrier_says(media(SLICES[2]))
    assert heard(lane) == SLICES[:1]
    lane.works_off()
    assert heard(lane) == ([*SLICES[:3]] if other != STOP else SLICES[:1])


def test_audio_behind_the_callers_interruption_waits_and_is_not_played(speaking):
    speaking.engine_says(delta(SLICES[1]), speech_begins(), delta(SLICES[2]))
    speaking.engine_says(delta(SLICES[3]))
    assert kinds(speaking) == ["B"]
    speaking.works_off()
    assert kinds(speaking) == ["B", "clear"]


def test_audio_before_the_callers_interruption_in_one_read_is_sent_and_cleared(speaking):
    speaking.engine_says(delta(SLICES[1] * 20), speech_begins())
    assert kinds(speaking) == ["B"]
    speaking.works_off()
    assert kinds(speaking) == ["B", "clear"]
    assert speaking.phone.cleared_at[-1] == 1  # and what of it waited for a slow carrier is forgotten


def test_nothing_of_either_leg_overtakes_what_waits_for_the_owner(speaking):
    speaking.carrier_says(key())
    speaking.engine_says(delta(SLICES[1]))
    speaking.carrier_says(media(SLICES[1]))
    assert (kinds(speaking), heard(speaking)) == ([], [])
    speaking.works_off()
    assert heard(speaking) == SLICES[1:2]
    assert kinds(speaking) == ["clear"]  # a key silences the agent, and the audio came after it


def test_while_somebody_is_at_work_everything_waits(speaking):
    assert speaking.is_kept_busy()
    speaking.carrier_says(media(SLICES[1]))
    speaking.engine_says(delta(SLICES[1]))
    assert (kinds(speaking), heard(speaking)) == ([], [])
    assert len(speaking.bridge._inbox) == 2
    speaking.is_free_again()
    assert (kinds(speaking), heard(speaking)) == (["B"], SLICES[1:2])


def test_an_owner_who_leaves_something_undone_leaves_the_path_closed(speaking):
    assert speaking.is_kept_busy()
    speaking.carrier_says(key())
    speaking.bridge._at_rest()
    speaking.engine_says(delta(SLICES[1]))
    speaking.carrier_says(media(SLICES[1]))
    assert (kinds(speaking), heard(speaking)) == ([], [])
    speaking.works_off()
    assert (kinds(speaking), heard(speaking)) == (["clear"], SLICES[1:2])


def test_when_all_is_worked_off_the_path_is_open_again(speaking):
    speaking.carrier_says(mark_back("m1"))
    speaking.works_off()
    speaking.carrier_says(media(SLICES[1]))
    speaking.engine_says(delta(SLICES[1]))
    assert (kinds(speaking), heard(speaking)) == (["B"], SLICES[1:2])
    assert not speaking.bridge._inbox


def test_what_waited_counts_from_when_it_came(speaking):
    """A second of audio, a second after the first: it ends a second later, whenever it is worked off."""
    assert speaking.is_kept_busy()
    speaking.now += 1.0
    speaking.engine_says(delta(b"x" * 8000))
    speaking.now += 5.0
    speaking.is_free_again()
    assert speaking.call.talk.playout.ends_at == pytest.approx(speaking.now - 5.0 - 100.0 + 1.0)


# --------------------------------------------------------------------- what is not for it


def test_what_an_earlier_session_brings_late_is_dropped(speaking):
    """Even if another speaks by now that gives its replies the same names."""
    speaking.bridge._handle([_lost()], speaking.now, speaking.bridge._leg)
    speaking.now += 1.0
    speaking.ticks()
    speaking.engine_says(agreed())
    speaking.works_off()
    speaking.engine_says(reply_begins(), delta(SLICES[1]))
    speaking.works_off()
    before, talk = kinds(speaking), speaking.account()["talk"]
    assert (len(speaking.sessions.opened), before[-2:]) == (2, ["B", "mark"])
    speaking.engine_says(delta(SLICES[5]), session=0)
    speaking.engine_says(delta(SLICES[6]), reply_ends(), session=0)
    speaking.works_off()
    assert (kinds(speaking), speaking.account()["talk"]) == (before, talk)
    speaking.engine_says(delta(SLICES[2]))
    assert kinds(speaking) == [*before, "C"]


def _lost():
    from flaskapp.phone import events as ev

    return ev.EngineClosed("engine_lost", 1006)


def test_without_a_session_the_callers_audio_is_kept_for_the_next():
    lane = Lane(is_told=True)
    lane.starts(START)
    lane.carrier_says(*map(media, SLICES[:5]))
    assert heard(lane) == []
    lane.engine_says(agreed())
    lane.works_off()
    assert heard(lane) == SLICES[:5]
    lane.carrier_says(media(SLICES[6]))
    assert heard(lane) == [*SLICES[:5], SLICES[6]]
    lane.ends()


def test_audio_before_the_start_is_no_callers():
    lane = Lane(is_told=True)
    lane.bridge._fast.from_carrier([media(SLICES[0])])
    lane.works_off()
    assert lane.call.intake.received_ms == 0
    assert lane.call.memory.strikes == {"early": 1}


def test_more_than_a_call_can_bring_is_not_passed_on_and_told_once(lane):
    second = b"x" * 8000
    for _ in range(30):
        lane.carrier_says(media(second))
        lane.works_off()
    assert len(heard(lane)) == 10
    assert lane.call.intake.dropped_ms == 20_000
    assert [told for told in lane.notes.told if told[0] == "fault"] == [("fault", "CA1", 0, "flood", "")]


def test_a_silenced_replys_audio_is_played_by_nobody(speaking):
    speaking.engine_says(speech_begins())
    speaking.works_off()
    speaking.phone.writes.clear()
    speaking.engine_says(delta(SLICES[1]))
    speaking.works_off()
    assert kinds(speaking) == []


def test_a_reply_that_is_silenced_between_two_slices_stays_silent(speaking):
    """Nothing sounds when the caller begins to speak: there is nothing to clear."""
    speaking.now += 3.0
    speaking.engine_says(speech_begins())
    speaking.works_off()
    speaking.engine_says(delta(SLICES[1]), delta(SLICES[2]))
    speaking.works_off()
    assert kinds(speaking) == []


def test_a_new_items_first_audio_is_told_and_marked_and_the_rest_passes(lane):
    lane.engine_says(reply_begins())
    lane.works_off()
    lane.engine_says(delta(SLICES[0]), delta(SLICES[1]))
    assert kinds(lane) == []
    lane.works_off()
    assert kinds(lane) == ["A", "mark", "B"]
    turns = [told for told in lane.notes.told if told[0] == "turn"]
    assert [told[2].item_id for told in turns] == ["a1"]
    lane.engine_says(delta(SLICES[2]))
    assert kinds(lane) == ["A", "mark", "B", "C"]
    lane.engine_says(delta(SLICES[3], item="a2"))
    lane.works_off()
    assert kinds(lane)[4:] == ["D", "mark"]


def test_what_follows_a_clip_of_our_own_is_still_the_agents(speaking):
    """The engine stopped in the middle of a sentence, and the caller was kept company."""
    speaking.engine_says(delta(SLICES[1]), delta(SLICES[2]))
    for _ in range(60):
        speaking.now += 0.1
        speaking.carrier_says(media(SLICES[0]))
        speaking.ticks()
    speaking.works_off()
    for number in (3, 4, 5):
        speaking.engine_says(delta(SLICES[number]))
        speaking.works_off()
    spans = speaking.call.talk.playout.spans
    assert "(clip)" in [span.item_id for span in spans]
    assert spans[-1].item_id == "a1"
    assert sum(span.seconds for span in spans if span.item_id == "a1") == pytest.approx(0.12)


def test_a_reply_that_stops_in_mid_sentence_is_noticed_as_soon_as_ever(speaking):
    """While somebody just speaks the clock is looked at once a second; in silence it is not enough."""
    speaking.engine_says(delta(SLICES[1]))
    began = speaking.now
    while not any(b"VVVV" in message for message in speaking.phone.messages):
        speaking.now += 0.1
        speaking.carrier_says(media(SLICES[0]))
        speaking.ticks()
        assert speaking.now - began < 3.5, "the caller waits, and nobody looks"


def test_a_greeting_is_kept_whole_though_it_came_this_way():
    lane = Lane(is_told=True, agent=Agent(greeting="Good day."))
    lane.goes_live(START)
    lane.engine_says(reply_begins(), delta(SLICES[0]))
    lane.works_off()
    for number in range(1, 6):
        lane.engine_says(delta(SLICES[number]))
        assert not lane.bridge._inbox
    lane.engine_says(agents_words("Good day.", is_final=True), reply_ends())
    lane.works_off()
    (kept,) = lane.errands.asked
    assert [base64.b64decode(payload) for payload in kept.payloads] == SLICES[:6]
    lane.ends()


def test_in_its_last_words_the_engine_is_given_nothing_and_the_agent_is_heard(speaking):
    from flaskapp.phone.endings import Closing

    assert speaking.is_kept_busy()
    speaking.call.endings.begin(Closing("max_duration", 60.0, "Say goodbye.", yields=False))
    speaking.call._last_sentence(0.0)
    speaking.is_free_again()
    speaking.carrier_says(media(SLICES[1]))
    speaking.engine_says(delta(SLICES[1]))
    speaking.works_off()
    assert (heard(speaking), kinds(speaking)) == ([], ["B"])
    assert speaking.call.intake.received_ms == 20


# --------------------------------------------------------------------- measured


def test_its_share_is_measured_once_for_each_second_that_asks(lane):
    ticking = iter(range(1000))
    lane.clock = lambda: 100.0 + next(ticking)
    lane.carrier_says(media(SLICES[0]))
    assert (lane.bridge._fast.in_s, lane.bridge._fast.carrier_reader.wants) == (1.0, False)
    lane.bridge._fast.in_s = 0.0
    lane.carrier_says(media(SLICES[1]))
    assert lane.bridge._fast.in_s == 0.0
    lane.clock = lambda: 200.0
    lane.bridge.tick(200.0)
    assert lane.bridge._fast.carrier_reader.wants


def test_its_share_of_what_the_agent_says_is_measured_too(speaking):
    ticking = iter(range(1000))
    speaking.engine_says(delta(SLICES[1]), delta(SLICES[2]))
    speaking.clock = lambda: 100.0 + next(ticking)
    for number in (3, 4):
        speaking.bridge._fast.measure()
        speaking.bridge._fast.out_s = 0.0
        speaking.engine_says(delta(SLICES[number]))
    assert speaking.bridge._fast.out_s == 1.0

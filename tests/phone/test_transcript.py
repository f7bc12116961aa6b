"""Lines in the conversation's order, and the words of a reply that were heard."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaskapp.phone.transcript import AGENT, CALLER, Transcript, heard_part

TEXT = "one two three four"


@pytest.mark.parametrize(
    ("heard_ms", "received_ms", "text"),
    [
        (0, 4000, ""),
        (999, 4000, ""),
        (1000, 4000, "one"),
        (3999, 4000, "one two three"),
        (4000, 4000, TEXT),
        (5000, 4000, TEXT),
        (0, 0, TEXT),
    ],
)
def test_words_are_heard_in_proportion_to_their_audio(heard_ms, received_ms, text):
    assert heard_part(TEXT, heard_ms, received_ms) == text


@settings(derandomize=True)
@given(st.text(), st.integers(0, 5000), st.integers(0, 5000))
def test_what_was_heard_is_the_beginning_of_what_was_said(text, heard_ms, received_ms):
    part = heard_part(text, heard_ms, received_ms).split()
    assert text.split()[: len(part)] == part


def test_a_line_keeps_its_place_and_its_time():
    transcript = Transcript()
    first = transcript.line("u1", CALLER, 100)
    transcript.line("a1", AGENT, 200)
    assert transcript.line("u1", CALLER, 900) is first
    assert [(line.position, line.start_ms) for line in transcript.lines.values()] == [(0, 100), (1, 200)]


def test_only_lines_with_words_were_spoken():
    transcript = Transcript()
    transcript.line("u1", CALLER)
    transcript.line("a1", AGENT).text = "Good day."
    assert [line.item_id for line in transcript.spoken()] == ["a1"]


def test_words_are_awaited_for_the_callers_open_lines_only():
    transcript = Transcript()
    transcript.line("a1", AGENT)
    assert not transcript.awaits_words()
    line = transcript.line("u1", CALLER)
    assert transcript.awaits_words()
    line.is_final = True
    assert not transcript.awaits_words()

"""The playout buffer: exact times without a clock or a socket."""

from __future__ import annotations

import pytest

from flaskapp.simulator.encoding import Encoding
from flaskapp.simulator.playout import Cleared, MarkBack, Playout, Span

SECOND = b"\x10" * 8000


def test_audio_sounds_from_the_moment_the_buffer_becomes_non_empty():
    playout = Playout()
    playout.append(SECOND, now=10.0)
    playout.append(SECOND, now=10.1)
    playout.advance(11.5)
    assert playout.spans == [Span(10.0, 0, 12000)]
    assert playout.ends_at == pytest.approx(12.0)


def test_a_gap_in_the_audio_begins_a_new_run():
    playout = Playout()
    playout.append(SECOND, now=10.0)
    playout.append(SECOND, now=15.0)
    playout.advance(20.0)
    assert playout.spans == [Span(10.0, 0, 8000), Span(15.0, 8000, 8000)]


def test_a_mark_comes_back_after_exactly_the_audio_before_it():
    playout = Playout()
    playout.append(SECOND, now=10.0)
    assert playout.mark("a", now=10.0) == []
    playout.append(SECOND, now=10.5)
    playout.mark("b", now=10.5)
    assert playout.next_mark_at == 11.0
    assert playout.advance(10.9999) == []
    assert playout.advance(11.0) == [MarkBack("a", 11.0, cleared=False)]
    assert playout.advance(13.0) == [MarkBack("b", 12.0, cleared=False)]


def test_a_mark_comes_back_at_once_when_nothing_is_buffered():
    playout = Playout()
    assert playout.mark("early", now=3.0) == [MarkBack("early", 3.0, cleared=False)]
    playout.append(SECOND, now=4.0)
    assert playout.mark("late", now=6.0) == [MarkBack("late", 6.0, cleared=False)]


def test_clear_returns_the_outstanding_marks_and_only_those():
    playout = Playout()
    playout.append(SECOND, now=10.0)
    playout.mark("heard", now=10.0)
    playout.append(SECOND, now=10.0)
    playout.mark("unheard", now=10.0)
    assert playout.clear(now=11.25) == [
        MarkBack("heard", 11.0, cleared=False),
        MarkBack("unheard", 11.25, cleared=True),
    ]
    assert playout.spans == [Span(10.0, 0, 10000)]
    assert playout.cleared == [Cleared(11.25, 10000, 6000)]
    assert playout.ends_at is None


def test_audio_after_a_clear_sounds_at_once():
    playout = Playout()
    playout.append(SECOND, now=10.0)
    playout.clear(now=10.5)
    playout.append(SECOND, now=10.6)
    playout.advance(20.0)
    assert playout.spans == [Span(10.0, 0, 4000), Span(10.6, 8000, 8000)]


def test_clearing_an_empty_buffer_does_nothing():
    playout = Playout()
    assert playout.clear(now=1.0) == []
    assert playout.cleared == []


def test_every_byte_is_accounted_for():
    playout = Playout()
    now = 0.0
    for step in range(500):
        now += 0.0137
        playout.append(bytes([step % 256]) * (step % 400), now, source="even" if step % 2 else "odd")
        if step % 37 == 0:
            playout.clear(now)
    playout.advance(now + 60)
    played, cleared = sum(s.size for s in playout.spans), sum(c.size for c in playout.cleared)
    assert played + cleared == len(playout.audio) == sum(a.size for a in playout.arrivals)
    assert b"".join(piece.audio for piece in playout.pieces()) == b"".join(
        bytes(playout.audio[span.first : span.first + span.size]) for span in playout.spans
    )


def test_pieces_are_split_where_the_source_changes():
    playout = Playout()
    playout.append(b"\x01" * 800, now=1.0, source="say")
    playout.append(b"\x02" * 800, now=1.0, source="stream")
    playout.append(b"\x03" * 800, now=1.0, source="stream")
    playout.advance(9.0)
    assert [(piece.at, len(piece.audio), piece.source) for piece in playout.pieces()] == [
        (1.0, 800, "say"),
        (1.1, 1600, "stream"),
    ]


def test_a_chunk_that_has_begun_may_be_played_to_its_end():
    playout = Playout()
    for _ in range(3):
        playout.append(SECOND, now=10.0)
    playout.mark("unheard", now=10.0)
    assert playout.clear(now=10.25, ends_chunk=True) == [MarkBack("unheard", 10.25, cleared=True)]
    assert playout.ends_at == pytest.approx(11.0)
    playout.append(SECOND, now=10.5)
    playout.advance(20.0)
    assert playout.spans == [Span(10.0, 0, 16000)]
    assert [(each.at, each.size) for each in playout.cleared] == [(10.25, 16000)]
    assert b"".join(piece.audio for piece in playout.pieces()) == SECOND * 2


def test_a_mark_after_the_chunk_that_is_played_to_its_end_comes_back_then():
    playout = Playout()
    playout.append(SECOND, now=10.0)
    playout.mark("heard", now=10.0)
    playout.append(SECOND, now=10.0)
    assert playout.clear(now=10.5, ends_chunk=True) == []
    assert playout.advance(12.0) == [MarkBack("heard", 11.0, cleared=False)]


def test_a_clear_between_two_chunks_keeps_none():
    playout = Playout()
    playout.append(SECOND, now=10.0)
    playout.append(SECOND, now=10.0)
    playout.clear(now=11.0, ends_chunk=True)
    assert playout.ends_at is None
    assert playout.spans == [Span(10.0, 0, 8000)]
    playout.clear(now=11.5, ends_chunk=True)
    playout.append(SECOND, now=12.0)
    playout.advance(20.0)
    assert playout.spans == [Span(10.0, 0, 8000), Span(12.0, 8000, 8000)]


def test_pcm_plays_at_its_own_rate_and_never_half_a_sample():
    playout = Playout(Encoding(16000, is_linear=True))
    playout.append(bytes(32000), now=10.0)
    playout.advance(10.00004)
    assert playout.head % 2 == 0
    assert playout.ends_at == pytest.approx(11.0)
    playout.advance(11.0)
    assert playout.spans == [Span(10.0, 0, 32000)]

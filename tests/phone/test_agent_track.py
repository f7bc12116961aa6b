"""The agent's audio where it was heard: in its place, cut where the caller interrupted, behind the lag."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaskapp.phone.agent_track import AgentTrack
from flaskapp.phone.audio import PCM, PCMU
from flaskapp.phone.playout import Playout
from tests.phone import lanes, sayings

SILENCE = 0xFF


def laid_out(taken: list[tuple[float, bytes]], seconds: float) -> bytes:
    """A line of mu-law on which each stretch stands where it was heard."""
    line = bytearray([SILENCE]) * round(seconds * 8000)
    for at, sound in taken:
        begin = round(at * 8000)
        line[begin : begin + len(sound)] = sound
    return bytes(line)


def tracked() -> tuple[Playout, AgentTrack]:
    track = AgentTrack()
    return Playout(track=track), track


def sends(playout: Playout, byte: int, seconds: float, now: float, item: str = "a1") -> None:
    playout.sent(item, 0, seconds * 1000, now, b64encode(bytes([byte]) * round(seconds * 8000)))


def test_what_is_sent_to_an_idle_line_is_heard_at_once_and_the_rest_behind_it():
    playout, track = tracked()
    sends(playout, 1, 1.0, now=2.0)
    sends(playout, 2, 1.0, now=2.1)
    sends(playout, 3, 0.5, now=6.0)
    assert laid_out(track.take(9.0, 0.0, PCMU), 9.0) == laid_out(
        [(2.0, b"\1" * 8000 + b"\2" * 8000), (6.0, b"\3" * 4000)], 9.0
    )


def test_what_was_not_heard_yet_waits():
    playout, track = tracked()
    sends(playout, 1, 2.0, now=0.0)
    assert track.take(0.5, 0.0, PCMU) == [(0.0, b"\1" * 4000)]
    assert track.take(0.5, 0.0, PCMU) == []
    assert track.take(5.0, 0.0, PCMU) == [(0.5, b"\1" * 12_000)]


def test_what_an_interruption_cuts_off_is_never_heard():
    playout, track = tracked()
    sends(playout, 1, 10.0, now=0.0)
    track.take(1.0, 0.0, PCMU)
    playout.clear(1.5)
    sends(playout, 2, 1.0, now=1.75)
    assert track.take(20.0, 0.0, PCMU) == [(1.0, b"\1" * 4000), (1.75, b"\2" * 8000)]


def test_it_is_heard_as_much_later_as_the_line_lags_behind():
    playout, track = tracked()
    sends(playout, 1, 2.0, now=1.0)
    name = playout.mark()
    playout.ends_at, playout.marks[name] = 3.0, 1.0
    playout.mark_reached(name, 1.25)
    assert track.take(2.0, playout.lag, PCMU) == [(1.25, b"\1" * 6000)]
    assert playout.clear(2.5)[0].heard_ms == 1250
    assert track.take(9.0, playout.lag, PCMU) == [(2.0, b"\1" * 4000)]


def test_a_mark_that_was_looked_at_late_takes_little_away():
    playout, track = tracked()
    sends(playout, 1, 4.0, now=0.0)
    playout.lag = 2.0
    playout.clear(3.0)
    assert track.take(9.0, playout.lag, PCMU) == [(0.5, b"\1" * 20_000)]


def test_a_line_whose_lag_changes_in_mid_reply_has_no_gap_there():
    playout, track = tracked()
    sends(playout, 1, 2.0, now=0.0)
    first = track.take(1.0, 0.25, PCMU)
    second = track.take(9.0, 0.5, PCMU)
    assert laid_out([*first, *second], 9.0) == laid_out([(0.25, b"\1" * 16_000)], 9.0)


def test_wide_sound_is_cut_between_its_samples():
    playout, track = tracked()
    sound = bytes(range(250)) * 192  # a second at 24 kHz
    playout.sent("a1", 0, 1000.0, 0.0, b64encode(sound))
    first, second = track.take(1 / 7, 0.0, PCM), track.take(9.0, 0.0, PCM)
    assert len(first[0][1]) % 2 == 0
    assert first[0][1] + second[0][1] == sound


def test_a_reply_without_an_end_takes_no_more_and_more_memory():
    playout, track = tracked()
    for second in range(400):
        sends(playout, second % 250, 1.0, now=0.0)
    assert sum(len(sound) for _, sound in track.take(1000.0, 0.0, PCMU)) == 300 * 8000


TIMES = st.integers(0, 32).map(lambda sixteenths: sixteenths / 16)
HAPPENS = st.lists(
    st.tuples(TIMES, st.sampled_from(["send", "send", "send", "clear", "take"]), st.integers(1, 24)),
    max_size=40,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(HAPPENS)
def test_whatever_happens_and_whenever_it_is_taken_it_is_what_the_line_played(story):
    playout, track = tracked()
    taken, line, now, ends_at = [], bytearray([SILENCE]) * 8000 * 200, 0.0, 0.0
    for number, (pause, what, length) in enumerate(story):
        now += pause
        if what == "send":
            seconds, start = length / 16, max(ends_at, now)
            sends(playout, number + 1, seconds, now, item=f"a{number // 3}")
            line[round(start * 8000) : round((start + seconds) * 8000)] = bytes([number + 1]) * (length * 500)
            ends_at = start + seconds
        elif what == "clear":
            playout.clear(now)
            ends_at = min(ends_at, now)
            line[round(now * 8000) :] = bytes([SILENCE]) * (len(line) - round(now * 8000))
        else:
            taken += track.take(now, 0.0, PCMU)
    taken += track.take(199.0, 0.0, PCMU)
    assert laid_out(taken, 200.0) == bytes(line)


@pytest.mark.parametrize("is_told", [True, False])
def test_both_ways_of_a_frame_are_heard_in_the_same_place(is_told):
    lane = lanes.Lane(is_told)
    lane.bridge.keeps(both_sides=True)
    lane.goes_live(sayings.START)
    taken = []
    lane.engine_says(sayings.reply_begins("r1"))
    for number in range(8):
        lane.engine_says(sayings.delta(bytes([number + 1]) * 1600, "a1", "r1"))
        lane.works_off()
        lane.now += 0.0625
    assert not is_told or lane.bridge._fast._engine_reader._keep is lane.call.talk.playout.track.keep
    taken += lane.bridge.take_heard()  # half a second of 1.6
    lane.now += 0.25
    lane.engine_says(sayings.speech_begins("u1", 500))
    lane.works_off()
    lane.now += 1.25
    lane.engine_says(sayings.reply_begins("r2"), sayings.delta(b"\x63" * 800, "a2", "r2"))
    lane.works_off()
    lane.now += 1.0
    lane.engine_says(sayings.delta(b"\x64" * 800, "a2", "r2"))  # the engine was slow: a gap
    lane.works_off()
    lane.now += 1.0
    taken += lane.bridge.take_heard()
    lane.ends()
    wanted = b"".join(bytes([number + 1]) * 1600 for number in range(8))[:6000]
    places = [(0.0, wanted), (2.0, b"\x63" * 800), (3.0, b"\x64" * 800)]
    assert laid_out([(ms / 1000, sound) for ms, sound in taken], 5.0) == laid_out(places, 5.0)


def test_who_keeps_nothing_is_told_nothing():
    lane = lanes.Lane(True)
    lane.bridge.keeps()
    lane.goes_live(sayings.START)
    lane.engine_says(sayings.reply_begins("r1"), sayings.delta(b"\1" * 160, "a1", "r1"))
    lane.works_off()
    lane.engine_says(sayings.delta(b"\1" * 160, "a1", "r1"))
    assert lane.bridge._fast._engine_reader._keep is None
    assert lane.bridge.take_heard() == []
    lane.ends()

"""A leg's sound on its way to what is kept: both sides, not before the caller knows, gaps where they were."""

from __future__ import annotations

import pytest

from flaskapp.store import keeper
from flaskapp.store.audio_parts import AGENT, CALLER, records_of
from flaskapp.store.call_audio import CallAudio
from flaskapp.store.sealing import Seal
from flaskapp.store.tape import Tape
from tests import servers
from tests.store.desk import SECOND, Bridge, Desk

SETTLED_S = 30.0


class Sounding(Bridge):
    """A bridge whose agent is heard, too."""

    def __init__(self, start_ms: int = 0) -> None:
        super().__init__(start_ms=start_ms)
        self.heard: list[tuple[int, bytes]] = []
        self.silence_ms, self.kept_from_ms = 0.0, 0

    def take_heard(self):
        heard, self.heard = self.heard, []
        return heard


@pytest.fixture
def audio(tmp_path) -> CallAudio:
    return CallAudio(tmp_path, Seal())


@pytest.fixture
def tape(audio) -> Tape:
    return Tape(audio, "CA1")


def places(audio: CallAudio, side: int) -> list[tuple[int, int]]:
    """Each stretch that is kept of a side, joined: its first ms, and the one behind its last."""
    assert audio.settle(SETTLED_S)
    joined: list[tuple[int, int]] = []
    for each in records_of(audio.folder, "CA1"):
        if each.track == side:
            first, end = each.first // 8, each.end // 8
            if joined and joined[-1][1] == first:
                joined[-1] = (joined[-1][0], end)
            else:
                joined.append((first, end))
    return joined


def test_both_sides_are_kept_at_their_places(audio, tape):
    bridge = Sounding()
    bridge.heard = [(1500, bytes(4000))]
    tape.take(bridge, (1000, bytes(SECOND)))
    bridge.heard = [(2000, bytes(20_000)), (9000, bytes(80))]
    tape.take(bridge, None)
    assert places(audio, CALLER) == [(1000, 2000)]
    assert places(audio, AGENT) == [(1500, 4500), (9000, 9010)]


def test_nothing_is_kept_before_the_caller_knows(audio, tape):
    bridge = Sounding()
    bridge.kept_from_ms = None
    bridge.heard = [(0, bytes(SECOND))]
    tape.take(bridge, (0, bytes(SECOND)))
    assert places(audio, CALLER) == places(audio, AGENT) == []
    bridge.kept_from_ms = 1250
    bridge.heard = [(1000, bytes(SECOND))]
    tape.take(bridge, (1000, bytes(SECOND)))
    tape.take(bridge, (2000, bytes(SECOND)))
    assert places(audio, CALLER) == [(1250, 3000)]
    assert places(audio, AGENT) == [(1250, 2000)]


def test_a_stream_that_rests_leaves_a_gap(audio, tape):
    bridge = Sounding()
    tape.take(bridge, (0, bytes(SECOND)))
    bridge.silence_ms = 3000.0  # it rested for three seconds, and its clock knows nothing of that
    tape.take(bridge, (1000, bytes(SECOND)))
    tape.take(bridge, (2000, bytes(SECOND)))
    tape.take(bridge, (3000, bytes(SECOND)))
    assert places(audio, CALLER) == [(0, 2000), (5000, 7000)]


def test_a_stream_that_is_late_once_leaves_none(audio, tape):
    bridge = Sounding()
    tape.take(bridge, (0, bytes(SECOND)))
    bridge.silence_ms = 900.0
    tape.take(bridge, (1000, bytes(SECOND)))
    bridge.silence_ms = 0.0
    tape.take(bridge, (2000, bytes(SECOND)))
    assert places(audio, CALLER) == [(0, 3000)]


def test_the_keeper_gives_a_leg_s_sound_to_its_tape_and_its_last_at_its_end(connections, audio, monkeypatch):
    monkeypatch.setattr(keeper, "EVERY_S", 0.05)
    desk = Desk(connections)
    watching = keeper.Keeper(desk.buffer, desk.live, tapes=lambda call_sid: Tape(audio, call_sid))
    assert (watching.keeps_sound, desk.keeper.keeps_sound) == (True, False)
    bridge = Sounding(start_ms=4000)
    watching.follow("CA1", bridge)
    bridge.say(bytes(SECOND))
    servers.wait_until(lambda: places(audio, CALLER) == [(4000, 5000)], "nothing was kept")
    bridge.heard = [(4500, bytes(SECOND))]
    assert watching.release("CA1")
    assert places(audio, AGENT) == [(4500, 5500)]
    assert [chunk.start_ms for chunk in desk.buffer.read("CA1")] == [4000]


def test_a_call_whose_sound_cannot_be_kept_is_followed_all_the_same(connections, monkeypatch):
    class Broken:
        def take(self, source, taken):
            raise RuntimeError("no such sound")

    monkeypatch.setattr(keeper, "EVERY_S", 0.05)
    desk = Desk(connections)
    watching = keeper.Keeper(desk.buffer, desk.live, tapes=lambda call_sid: Broken())
    bridge = Sounding()
    watching.follow("CA1", bridge)
    for number in range(2):
        bridge.say(bytes(SECOND))
        servers.wait_until(
            lambda number=number: len(desk.buffer.read("CA1")) > number, "its words are not kept"
        )
    assert watching.release("CA1")

"""What a carrier or an engine may not do for long: flood, fall silent, talk nonsense."""

from __future__ import annotations

import pytest

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev
from tests.phone.scene import READY, closed, faults, frame, live, opening, stage


def flood(scene, seconds: float, pace: float = 10.0) -> list[do.Command]:
    """Ten second-long slices' worth of audio every second, in slices of 100 ms."""
    commands = []
    for _ in range(int(seconds * pace * 10)):
        commands += scene.hears(frame(ms=100), after=0.1 / pace)
    return commands


def test_a_burst_of_ten_seconds_is_taken():
    scene = live()
    scene.hears(*(frame(n) for n in range(500)))
    assert len(scene.all(do.Hear)) == 500


def test_what_goes_beyond_the_burst_is_dropped_and_told_once():
    scene = live()
    scene.hears(*(frame(n) for n in range(510)))
    assert len(scene.all(do.Hear)) == 500
    assert faults(scene.told) == ["flood"]
    assert scene.call.intake.dropped_ms == 200


def test_twice_the_pace_is_taken_for_ever():
    scene = live()
    for _ in range(3000):
        scene.hears(frame(), frame(), after=0.02)
        scene.waits(0.0)
    assert len(scene.all(do.Hear)) == 6000
    assert faults(scene.told) == []


@pytest.mark.parametrize("state", ["opening", "live"])
def test_a_flood_of_five_seconds_closes(state):
    scene = stage(state)
    assert not any(isinstance(each, do.CloseCarrier) for each in flood(scene, 5.5))
    commands = flood(scene, 2.0)
    assert closed(commands) == (1008, True)
    assert scene.call.memory.ended_reason == "flood"


def test_of_a_flood_no_more_than_twice_real_time_passes():
    scene = live()
    flood(scene, 5.0)
    assert len(scene.all(do.Hear)) * 100 <= 10_000 + 2 * 5_000


def test_a_flood_that_ended_is_forgiven():
    scene = live()
    for _ in range(4):
        flood(scene, 4.0)
        for _ in range(150):
            scene.hears(frame(), after=0.02)
    assert scene.state == "live"
    assert faults(scene.told) == ["flood"] * 4


@pytest.mark.parametrize("state", ["opening", "configuring", "live"])
def test_a_silent_carrier_closes_after_fifteen_seconds(state):
    scene = stage(state)
    scene.call.memory.deadline = None  # the engine's patience is another test's
    scene.hears(frame())
    assert scene.waits(15.0) == []
    commands = scene.waits(0.25)
    assert closed(commands) == (1008, True)
    assert faults(commands) == ["carrier_silent"]


def test_media_keeps_a_call_alive():
    scene = live()
    for _ in range(10):
        scene.hears(frame(), after=14.0)
        assert scene.waits(0.5) == []


def test_marks_and_keys_do_not_stand_for_media():
    scene = live()
    scene.hears(ev.Digit("1"), ev.MarkReached("m1"), after=14.0)
    assert closed(scene.waits(1.25)) == (1008, True)


@pytest.mark.parametrize("state", ["waiting", "opening", "configuring", "live"])
def test_ten_unreadable_carrier_messages_close(state):
    scene = stage(state)
    assert faults(scene.hears(*[ev.Malformed("carrier", "audio")] * 9)) == ["carrier_audio"] * 9
    assert closed(scene.hears(ev.Malformed("carrier", "message"))) == (1007, True)


def test_three_unreadable_messages_of_two_engines_in_a_row_fall_back():
    scene = live()
    for _ in range(2):
        scene.hears(*[ev.Malformed("engine", "message")] * 2)
        assert not any(isinstance(each, do.CloseCarrier) for each in scene.told)
        commands = scene.hears(ev.Malformed("engine", "message"))
        scene.hears(ev.EngineOpened(), READY)
    assert closed(commands) == (1000, True)


def test_each_leg_has_strikes_of_its_own():
    scene = live()
    scene.hears(*[ev.Malformed("engine", "message")] * 2, *[ev.Malformed("carrier", "message")] * 9)
    assert scene.state == "live"


def test_early_audio_is_bounded_by_time_not_by_count():
    scene = opening()
    for _ in range(7):
        scene.hears(*(frame(ms=1) for _ in range(2500)), after=1.0)
    assert scene.call.intake.kept_ms == 10_000
    assert len(scene.call.intake.kept) == 10_000

"""A call from the carrier's first word until caller and engine are joined."""

from __future__ import annotations

import pytest

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev
from flaskapp.phone.call import State
from tests.phone.scene import (
    AGENT,
    READY,
    START,
    Scene,
    closed,
    configuring,
    faults,
    frame,
    live,
    only,
    opening,
    stage,
)


def test_the_stream_starts_and_the_engine_is_opened():
    assert Scene().hears(START) == [do.OpenEngine()]


def test_the_stream_of_another_call_is_refused():
    commands = Scene().hears(ev.StreamStarted("MZ1", "CA2", "audio/pcmu"))
    assert closed(commands) == (1008, True)
    assert faults(commands) == ["wrong_call"]


@pytest.mark.parametrize("state", ["opening", "configuring", "live"])
def test_the_same_start_again_is_ignored(state):
    assert stage(state).hears(START) == []


@pytest.mark.parametrize("state", ["opening", "configuring", "live"])
@pytest.mark.parametrize("other", [("MZ2", "CA1"), ("MZ1", "CA2")])
def test_the_start_of_another_stream_is_refused(state, other):
    commands = stage(state).hears(ev.StreamStarted(*other, "audio/pcmu"))
    assert closed(commands) == (1008, True)
    assert faults(commands) == ["second_stream"]


def test_a_stream_without_a_right_is_refused():
    commands = Scene().hears(ev.NotAdmitted("expired"))
    assert closed(commands) == (1008, True)
    assert only(do.TellFault, commands) == do.TellFault("not_admitted", "expired")


def test_fifty_frames_before_the_start_are_dropped_and_one_more_closes():
    scene = Scene()
    assert scene.hears(*(frame(number) for number in range(50))) == []
    assert closed(scene.hears(frame(51))) == (1008, True)


def test_media_before_the_start_never_reaches_the_engine():
    scene = Scene()
    scene.hears(frame(1), frame(2), START, frame(3), ev.EngineOpened(), READY)
    assert scene.all(do.Hear) == [do.Hear(frame(3).payload)]


def test_no_start_within_five_seconds_closes():
    scene = Scene()
    assert scene.waits(4.75) == []
    assert closed(scene.waits(0.25)) == (1008, True)


def test_a_format_that_the_engine_does_not_speak_falls_back():
    commands = Scene().hears(ev.StreamStarted("MZ1", "CA1", ""))
    assert closed(commands) == (1000, True)
    assert faults(commands) == ["unsupported_format"]
    assert do.OpenEngine() not in commands


def test_the_session_is_asked_for_in_the_callers_format():
    assert opening().hears(ev.EngineOpened()) == [do.ConfigureSession("audio/pcmu")]


@pytest.mark.parametrize("state", ["opening", "configuring"])
def test_early_audio_is_held_while_nobody_listens(state):
    assert stage(state).hears(frame(1), frame(2)) == []


def test_early_audio_is_released_in_order_and_once():
    scene = opening()
    scene.hears(*(frame(number) for number in range(200)))
    scene.hears(ev.EngineOpened())
    scene.hears(*(frame(number) for number in range(200, 400)), after=4.0)
    scene.hears(READY, *(frame(number) for number in range(400, 450)))
    assert [heard.payload for heard in scene.all(do.Hear)] == [frame(n).payload for n in range(450)]


def test_of_more_than_ten_seconds_of_early_audio_the_oldest_goes():
    scene = opening()
    scene.hears(*(frame(number) for number in range(250)), after=3.0)
    scene.hears(ev.EngineOpened())
    scene.hears(*(frame(number) for number in range(250, 600)), after=4.0)
    scene.hears(READY)
    assert [heard.payload for heard in scene.all(do.Hear)] == [frame(n).payload for n in range(100, 600)]
    assert scene.call.intake.dropped_ms == 2000


def test_the_engines_clock_starts_behind_the_audio_that_was_dropped():
    scene = opening()
    scene.hears(*(frame(number) for number in range(600)), after=7.0)
    scene.hears(ev.EngineOpened(), READY, ev.SpeechStarted("u1", 500))
    line = scene.hears(ev.CallerWords("u1", "hello", True))[0]
    assert line.start_ms == 2500


@pytest.mark.parametrize(
    "echoed",
    [("audio/pcm", "audio/pcmu"), ("audio/pcmu", "audio/pcm"), ("", ""), ("audio/pcma", "audio/pcma")],
)
def test_other_formats_than_were_asked_for_fall_back(echoed):
    commands = configuring().hears(ev.SessionReady(*echoed))
    assert closed(commands) == (1000, True)
    assert faults(commands) == ["engine_format"]


def test_a_refused_session_is_asked_for_once_more_with_the_least():
    scene = configuring()
    commands = scene.hears(ev.EngineFault("unknown_parameter", param="session.audio"))
    assert only(do.ConfigureSession, commands) == do.ConfigureSession("audio/pcmu", minimal=True)
    assert faults(commands) == ["engine_refused_session"]
    scene.hears(READY)
    assert scene.state == "live"


def test_a_session_refused_twice_falls_back():
    scene = configuring()
    scene.hears(ev.EngineFault("unknown_parameter"))
    commands = scene.hears(ev.EngineFault("unknown_parameter"))
    assert closed(commands) == (1000, True)
    assert scene.call.memory.ended_reason == "engine_refused_session"


@pytest.mark.parametrize("state", ["opening", "configuring", "live"])
@pytest.mark.parametrize("reason", ["engine_lost", "engine_rejected", "engine_unreachable"])
def test_an_engine_that_no_second_try_mends_falls_back(state, reason):
    scene = stage(state)
    commands = scene.hears(ev.EngineClosed(reason, status=403))
    assert closed(commands) == (1000, True)
    assert scene.call.memory.ended_reason == reason


@pytest.mark.parametrize("state", ["opening", "configuring"])
def test_an_engine_that_takes_three_seconds_is_opened_again_and_falls_back_after_six(state):
    scene = stage(state)
    scene.hears(frame(), after=2.75)
    assert scene.waits(0.0) == []
    assert scene.waits(0.25) == [do.TellFault("engine_slow"), do.CloseEngine(), do.OpenEngine()]
    assert scene.waits(2.75) == []
    commands = scene.waits(0.25)
    assert closed(commands) == (1000, True)
    assert faults(commands) == ["engine_slow"]


def test_a_live_call_has_no_deadline():
    scene = live()
    for _ in range(60):
        scene.hears(*(frame(n) for n in range(50)), after=1.0)
        assert not any(isinstance(each, do.CloseCarrier) for each in scene.waits(0.0))


def test_the_greeting_is_asked_for_once():
    scene = configuring(AGENT)
    assert scene.hears(READY) == [do.Reply(AGENT.greeting_instructions())]
    assert scene.hears(READY) == []
    assert "Good day." in scene.all(do.Reply)[0].instructions


def test_an_agent_without_a_greeting_waits_for_the_caller():
    assert configuring().hears(READY) == []


def test_early_audio_comes_before_the_greeting():
    scene = opening(AGENT)
    scene.hears(frame(1), ev.EngineOpened())
    assert [type(each) for each in scene.hears(READY)] == [do.Hear, do.Reply]


@pytest.mark.parametrize("state", list(State))
def test_what_is_out_of_place_is_ignored(state):
    scene = stage(str(state))
    assert scene.hears(ev.CallerWordsLost("nobody")) == [] or state in ("live", "closing", "draining")
    assert scene.hears(ev.EngineOpened()) == [] or state == "opening"
    assert scene.hears(READY) == [] or state == "configuring"
    assert scene.state == str(state) or state in ("opening", "configuring")

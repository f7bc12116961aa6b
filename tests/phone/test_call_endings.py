"""How a call ends: the caller leaves, somebody hangs up, and what is still told then."""

from __future__ import annotations

import pytest

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev
from flaskapp.phone.call import State
from tests.phone.scene import (
    closed,
    configuring,
    faults,
    frame,
    heard_words,
    live,
    only,
    speaking,
    stage,
    words,
)

LEFT = [ev.StreamStopped(), ev.CarrierClosed(1006)]


def speaking_caller():
    scene = live()
    scene.hears(ev.SpeechStarted("u1", 0), frame(1))
    return scene


@pytest.mark.parametrize("left", LEFT)
@pytest.mark.parametrize("state", ["waiting", "opening", "configuring", "live"])
def test_a_caller_who_leaves_ends_the_call(state, left):
    assert closed(stage(state).hears(left)) == (1000, False)


@pytest.mark.parametrize(("left", "reason"), [*zip(LEFT, ["caller_hung_up", "carrier_lost"], strict=True)])
def test_why_the_call_ended_is_remembered(left, reason):
    scene = speaking_caller()
    scene.hears(left)
    scene.waits(5.0)
    assert scene.call.memory.ended_reason == reason


@pytest.mark.parametrize(("left", "patience"), [*zip(LEFT, [3.0, 1.0], strict=True)])
def test_the_callers_last_words_are_awaited_for_a_while(left, patience):
    scene = speaking_caller()
    assert scene.hears(left) == [do.CommitSpeech()]
    assert scene.waits(patience - 0.25) == []
    assert closed(scene.waits(0.25)) == (1000, False)


def test_last_words_end_the_waiting():
    scene = speaking_caller()
    scene.hears(ev.StreamStopped(), ev.SpeechStopped("u1", 100), ev.SpeechCommitted("u1"))
    commands = scene.hears(heard_words("Goodbye."), after=0.5)
    assert (commands[0].text, commands[0].is_final) == ("Goodbye.", True)
    assert closed(commands) == (1000, False)


def test_words_that_are_lost_end_the_waiting_too():
    scene = speaking_caller()
    scene.hears(ev.StreamStopped())
    assert closed(scene.hears(ev.CallerWordsLost("u1"))) == (1000, False)


def test_every_pending_line_is_awaited():
    scene = speaking_caller()
    scene.hears(ev.SpeechStopped("u1", 100), ev.SpeechStarted("u2", 200), ev.StreamStopped())
    assert len(scene.hears(heard_words("One.", "u1"))) == 1
    assert closed(scene.hears(heard_words("Two.", "u2"))) == (1000, False)


def test_words_already_said_are_committed_only_while_he_speaks():
    scene = speaking_caller()
    scene.hears(ev.SpeechStopped("u1", 100), ev.SpeechCommitted("u1"))
    assert scene.hears(ev.StreamStopped()) == []
    assert scene.state == "draining"


def test_a_minimal_session_transcribes_nothing_and_is_not_waited_for():
    scene = configuring()
    silent = ev.SessionReady("audio/pcmu", "audio/pcmu", transcribes=False)
    scene.hears(ev.EngineFault("x"), silent, ev.SpeechStarted("u1", 0))
    assert closed(scene.hears(ev.StreamStopped())) == (1000, False)


def test_a_reply_in_the_making_is_cancelled_when_the_caller_leaves():
    scene = speaking_caller()
    scene.hears(ev.ReplyStarted("r1"))
    assert only(do.CancelReply, scene.hears(ev.StreamStopped())) == do.CancelReply("r1")


def test_a_reply_cancelled_by_the_end_costs_too():
    scene = speaking_caller()
    scene.hears(ev.ReplyStarted("r1"), ev.StreamStopped())
    scene.hears(ev.ReplyEnded("r1", "cancelled", usage={"total_tokens": 9}))
    assert scene.call.talk.usage == {"total_tokens": 9}


def test_a_reply_that_fails_after_the_caller_left_is_not_asked_for_again():
    scene = speaking_caller()
    scene.hears(ev.ReplyStarted("r1"), ev.StreamStopped())
    assert do.Reply() not in scene.hears(ev.ReplyEnded("r1", "failed"))


def test_nothing_is_played_or_heard_after_the_caller_left():
    scene = speaking(scene=speaking_caller())
    scene.hears(ev.StreamStopped())
    assert scene.hears(frame(9), words("more"), ev.ReplyStarted("r2"), ev.Digit("1")) == []


def test_hanging_up_in_mid_reply_keeps_only_what_was_heard():
    line = only(do.TellLine, speaking(4.0).hears(ev.StreamStopped(), after=2.0))
    assert (line.text, line.is_final, line.interrupted) == ("one two", True, True)


def test_words_that_nobody_heard_before_the_end_are_taken_back():
    scene = live()
    scene.hears(ev.ReplyStarted("r1"), words("We open"))
    assert only(do.TellLine, scene.hears(ev.StreamStopped())).text == ""


def test_a_partial_line_of_the_caller_is_final_at_the_end():
    scene = speaking_caller()
    scene.hears(heard_words("I would li", is_final=False), ev.StreamStopped())
    line = only(do.TellLine, scene.waits(3.0))
    assert (line.text, line.is_final) == ("I would li", True)


@pytest.mark.parametrize("state", [each for each in State if each is not State.ENDED])
def test_hanging_up_closes_both_legs_in_any_state(state):
    scene = stage(str(state))
    commands = scene.hears(ev.HangUp("operator"))
    assert closed(commands) == (1000, False)
    assert scene.state == "ended"


def test_hanging_up_says_why():
    scene = live()
    assert only(do.CloseCarrier, scene.hears(ev.HangUp("shutting_down"))).reason == "shutting_down"
    assert scene.call.memory.ended_reason == "shutting_down"


def test_an_engine_lost_after_the_caller_left_is_no_fault():
    scene = speaking_caller()
    scene.hears(ev.StreamStopped())
    commands = scene.hears(ev.EngineClosed("engine_lost"))
    assert closed(commands) == (1000, False)
    assert faults(commands) == []


def test_an_unreadable_engine_needs_no_fallback_once_the_caller_left():
    scene = speaking_caller()
    scene.hears(ev.StreamStopped())
    commands = scene.hears(*[ev.Malformed("engine", "message")] * 10)
    assert closed(commands) == (1000, False)
    assert scene.call.memory.ended_reason == "caller_hung_up"


EVERYTHING = [
    ev.StreamStarted("MZ2", "CA1", "audio/pcmu"),
    *(frame(1), ev.Digit("1"), ev.MarkReached("m1"), *LEFT, ev.NotAdmitted()),
    *(ev.EngineOpened(), ev.SessionReady("", ""), ev.SpeechStarted("u9", 0), ev.SpeechStopped("u9", 0)),
    *(ev.SpeechCommitted("u9"), heard_words("x", "u9"), ev.CallerWordsLost("u9"), ev.ReplyStarted("r9")),
    *(ev.ReplyAudio("r9", "a9", 0, b"x", 20), ev.ReplyAudioEnded("r9", "a9"), words("x", "a9", "r9")),
    *(ev.ToolCalled("r9", "c", "f", "{}"), ev.ReplyEnded("r9", "failed"), ev.EngineFault("x")),
    *(ev.EngineClosed("x"), ev.Malformed("carrier", "x"), ev.HangUp("x")),
]


@pytest.mark.parametrize("event", EVERYTHING, ids=lambda event: type(event).__name__)
def test_after_the_end_nothing_is_commanded(event):
    scene = speaking()
    scene.hears(ev.HangUp("operator"))
    assert scene.hears(event, after=1.0) == []
    assert scene.waits(60.0) == []
    assert scene.call.is_over

"""A live call: audio both ways, replies that fail, what the engine complains of."""

from __future__ import annotations

import pytest

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev
from flaskapp.phone.call import BENIGN_ERRORS
from tests.phone.scene import AGENT, audio, closed, faults, frame, live, only, speaking, words


def failed(code: str = "rate_limit_exceeded", reply: str = "r1") -> ev.ReplyEnded:
    return ev.ReplyEnded(reply, "failed", error_code=code)


def test_caller_audio_passes_untouched():
    assert live().hears(frame(7)) == [do.Hear(frame(7).payload)]


def test_agent_audio_passes_untouched_and_in_order():
    scene = live()
    scene.hears(ev.ReplyStarted("r1"), *(audio(payload=b"%d" % n, ms=100) for n in range(30)))
    assert [play.payload for play in scene.all(do.Play)] == [b"%d" % n for n in range(30)]


def test_a_reply_that_failed_is_asked_for_again():
    commands = live().hears(ev.ReplyStarted("r1"), failed())
    assert only(do.Reply, commands) == do.Reply()
    assert only(do.TellFault, commands) == do.TellFault("reply_failed", "rate_limit_exceeded")


def test_a_reply_that_failed_twice_falls_back():
    scene = live()
    scene.hears(ev.ReplyStarted("r1"), failed())
    commands = scene.hears(ev.ReplyStarted("r2"), failed(reply="r2"))
    assert closed(commands) == (1000, True)
    assert do.Reply() not in commands


def test_a_reply_that_came_makes_up_for_one_that_failed():
    scene = live()
    for _ in range(3):
        scene.hears(failed())
        scene.hears(ev.ReplyStarted("r2"), ev.ReplyEnded("r2", "completed"))
    assert scene.state == "live"


def test_a_greeting_that_failed_is_asked_for_as_a_greeting():
    scene = live(AGENT)
    commands = scene.hears(ev.ReplyStarted("r1"), failed())
    assert only(do.Reply, commands) == do.Reply(AGENT.greeting_instructions())


def test_a_later_reply_that_failed_does_not_greet_again():
    scene = speaking(scene=live(AGENT))
    scene.hears(ev.ReplyEnded("r1", "completed"), after=5.0)
    assert only(do.Reply, scene.hears(ev.ReplyStarted("r2"), failed(reply="r2"))) == do.Reply()


def test_a_caller_who_spoke_before_the_greeting_failed_is_answered_instead():
    scene = live(AGENT)
    scene.hears(ev.SpeechStarted("u1", 0))
    assert only(do.Reply, scene.hears(ev.ReplyStarted("r1"), failed())) == do.Reply()


@pytest.mark.parametrize("status", ["cancelled", "incomplete", "completed", "brand_new"])
def test_a_reply_that_ended_otherwise_is_let_be(status):
    assert live().hears(ev.ReplyStarted("r1"), ev.ReplyEnded("r1", status)) == []


@pytest.mark.parametrize("code", sorted(BENIGN_ERRORS))
def test_benign_errors_are_ignored(code):
    assert live().hears(ev.EngineFault(code)) == []


def test_other_errors_are_told_and_the_call_goes_on():
    scene = live()
    assert scene.hears(ev.EngineFault("server_error")) == [do.TellFault("engine_error", "server_error")]
    assert scene.hears(ev.EngineFault("", kind="overloaded")) == [do.TellFault("engine_error", "overloaded")]
    assert scene.hears(frame(1)) == [do.Hear(frame(1).payload)]


def test_a_key_is_told_without_saying_which():
    scene = live()
    assert scene.hears(ev.Digit("5")) == []
    assert do.TellEvent("dtmf", {"keys": 1}) in scene.waits(1.5)


def test_a_tool_is_told_by_its_name_only():
    commands = live().hears(ev.ToolCalled("r1", "c1", "transfer", '{"to": "+1234"}'))
    assert commands == [
        do.RunTool("c1", "transfer", '{"to": "+1234"}'),
        do.TellEvent("tool_called", {"name": "transfer"}),
    ]


def test_the_first_sound_of_a_reply_is_marked_and_told():
    scene = live()
    scene.hears(ev.ReplyStarted("r1"))
    told, play, mark = scene.hears(audio("a1", 100))
    assert (told, play) == (do.TellTurn("a1", None, first_of_call=True), do.Play(b"sound"))
    assert isinstance(mark, do.SetMark)
    assert scene.hears(audio("a1", 100)) == [do.Play(b"sound")]


def test_the_end_of_a_replys_audio_is_marked():
    scene = speaking()
    first = only(do.SetMark, scene.told)
    last = only(do.SetMark, scene.hears(ev.ReplyAudioEnded("r1", "a1")))
    assert first.name != last.name


def test_a_turn_is_timed_from_the_callers_last_word():
    scene = live()  # its engine waits half a second before it takes the caller to have stopped
    scene.hears(ev.SpeechStarted("u1", 0), *(frame(n) for n in range(100)), after=2.0)
    scene.hears(ev.SpeechStopped("u1", 2000))
    scene.hears(ev.ReplyStarted("r1"), after=0.25)
    assert scene.hears(audio())[0] == do.TellTurn("a1", 750, first_of_call=True)


def test_only_the_first_turn_is_the_calls_first_sound():
    scene = speaking()
    scene.hears(ev.ReplyEnded("r1", "completed"), ev.ReplyStarted("r2"))
    assert only(do.TellTurn, scene.hears(audio("a2", reply="r2"))).first_of_call is False


def test_usage_is_summed_over_replies_and_transcriptions():
    scene = live()
    for reply in ("r1", "r2"):
        scene.hears(ev.ReplyEnded(reply, "completed", usage={"total_tokens": 30, "input_audio_tokens": 6}))
    scene.hears(ev.CallerWords("u1", "hi", True, {"seconds": 1.5}))
    scene.hears(ev.CallerWords("u2", "ho", True, {"seconds": 2.0}))
    assert scene.call.talk.usage == {
        "total_tokens": 60,
        "input_audio_tokens": 12,
        "transcription_seconds": 3.5,
    }


def test_a_failed_reply_costs_too():
    scene = live()
    scene.hears(ev.ReplyEnded("r1", "failed", usage={"total_tokens": 5}))
    assert scene.call.talk.usage == {"total_tokens": 5}
    assert faults(scene.told) == ["reply_failed"]


def test_words_before_their_audio_are_told_as_they_grow():
    told = live().hears(ev.ReplyStarted("r1"), words("Good"), words(" day"))
    assert [(line.text, line.is_final) for line in told] == [("Good", False), ("Good day", False)]

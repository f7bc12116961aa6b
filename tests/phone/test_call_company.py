"""A caller who waits for an engine hears that he is not forgotten, and does not wait for long."""

from __future__ import annotations

import pytest

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev
from flaskapp.phone.recovery import HOLD_EVERY_S, STALLED_AFTER_S
from tests.phone.outage import LOST, REOPENED, clips, held, rejoined, ticks
from tests.phone.scene import AGENT, Scene, audio, faults, heard_words, live, only, opening, speaking, words


def test_an_engine_that_hangs_is_abandoned_after_three_seconds_and_the_caller_handed_over_after_six():
    scene = held(opening())
    told = ticks(scene, 7.0)
    assert [at for at, command in told if command == do.OpenEngine()] == [3.0]
    assert [at for at, command in told if isinstance(command, do.CloseCarrier)] == [6.0]
    assert clips(told) == [1.0, 5.0]


def test_no_four_seconds_of_an_outage_are_silent():
    scene = held(live())
    scene.hears(LOST)
    assert clips(ticks(scene, 5.875)) == [1.0, 5.0]


def test_the_clip_waits_until_the_agent_has_been_heard():
    scene = held(speaking(1.5))
    scene.hears(ev.ReplyEnded("r1", "completed"), LOST)
    assert clips(ticks(scene, 5.0)) == [2.5]


def test_a_caller_whose_engine_is_back_within_a_second_hears_no_clip():
    scene = held(live())
    scene.hears(LOST)
    ticks(scene, 0.875)
    rejoined(scene, 0.0)
    assert clips(ticks(scene, 5.0)) == []


def test_the_reply_queues_behind_the_clip():
    scene = held(opening(AGENT))
    ticks(scene, 1.0)
    rejoined(scene, 0.0)
    scene.hears(ev.ReplyStarted("r1"), audio("a1", 500))
    line = only(do.TellLine, scene.hears(words("Good day.")))
    assert line.start_ms == 2000


def test_the_clip_is_nobodys_words():
    scene = held(opening(AGENT))
    ticks(scene, 1.0)
    rejoined(scene, 0.0)
    assert scene.call.talk.playout.items() == set()
    commands = scene.hears(ev.SpeechStarted("u1", 0), after=0.25)
    assert commands[0] == do.ClearPlayback()
    assert not any(isinstance(each, do.Truncate | do.TellLine | do.Recite) for each in scene.told)
    assert scene.call.talk.playout.items() == set()


def stalled() -> Scene:
    """The caller asked something, and nothing comes."""
    scene = held(live())
    scene.hears(ev.SpeechStarted("u1", 0), ev.SpeechStopped("u1", 1000), heard_words("Are you there?"))
    return scene


def test_a_stalled_engine_is_covered_after_three_seconds_and_replaced_after_seven():
    scene = stalled()
    told = ticks(scene, 7.0)
    assert clips(told) == [HOLD_EVERY_S]
    at, lost = next((at, command) for at, command in told if isinstance(command, do.TellFault))
    assert (at, lost) == (STALLED_AFTER_S, do.TellFault("engine_stalled"))
    assert [command for _, command in told][-2:] == REOPENED
    assert clips(ticks(scene, 0.5)) == [7.125]  # three seconds after the first one's end


def test_a_reply_that_stops_in_its_midst_is_a_stall_too():
    scene = held(speaking(2.0))
    told = ticks(scene, 9.125)
    assert clips(told) == [5.0, 9.125]
    assert [at for at, command in told if command == do.TellFault("engine_stalled")] == [9.0]


def test_a_reply_that_stops_while_the_line_brings_nothing_is_none():
    scene = held(speaking(2.0))
    for _ in range(56):
        scene.waits(0.25)  # the carrier is silent for fourteen seconds
    assert faults(scene.told) == []
    told = ticks(scene, 7.125)
    assert clips(told)[0] == 17.0
    assert stalls_at(told) == [21.0]


def test_a_greeting_that_never_comes_is_a_stall_too():
    told = ticks(held(live(AGENT)), 7.0)
    assert do.TellFault("engine_stalled") in [command for _, command in told]


@pytest.mark.parametrize(
    "events",
    [
        [ev.ReplyStarted("r1"), ev.ReplyEnded("r1", "completed")],
        [ev.SpeechStarted("u2", 1500)],
    ],
    ids=["no words", "he goes on"],
)
def test_who_need_not_speak_does_not_stall(events):
    scene = stalled()
    scene.hears(*events)
    assert [command for _, command in ticks(scene, 12.0)] == []


@pytest.mark.parametrize("more", [[], [ev.ReplyEnded("r1", "completed")]], ids=["in a reply", "after it"])
def test_who_waits_for_a_tool_is_kept_company_and_the_engine_does_not_stall(more):
    scene = stalled()
    scene.hears(ev.ReplyStarted("r1"), ev.ToolCalled("r1", "c1", "hours", "{}"), *more)
    told = ticks(scene, 12.0)
    assert clips(told)
    assert stalls_at(told) == []
    scene.hears(ev.ToolAnswered("c1", "nine to five"))
    assert do.AnswerTool("c1", "nine to five") in scene.told


def stalls_at(told: list[tuple[float, do.Command]]) -> list[float]:
    return [at for at, command in told if command == do.TellFault("engine_stalled")]


def speaks_again(scene: Scene, at: float) -> list[tuple[float, do.Command]]:
    """He is answered by the clip at most, and asks once more."""
    told = ticks(scene, at - 1.0)
    scene.hears(ev.SpeechStarted("u2", int(at * 1000) - 1000))
    told += ticks(scene, 1.0)
    scene.hears(ev.SpeechStopped("u2", int(at * 1000)))
    return told


@pytest.mark.parametrize(("again_at", "stalls"), [(2.0, 5.0), (4.0, 7.0), (5.5, 7.0), (6.5, 7.5), (7.5, 8.5)])
def test_a_caller_who_asks_again_does_not_start_the_waiting_anew(again_at, stalls):
    scene = stalled()
    told = speaks_again(scene, again_at) + ticks(scene, 4.0)
    assert stalls_at(told) == [stalls]


def test_an_engine_that_has_begun_to_reply_has_its_time_from_the_last_turn():
    scene = stalled()
    ticks(scene, 1.0)
    scene.hears(ev.ReplyStarted("r1"))
    told = speaks_again(scene, 4.0) + ticks(scene, 6.5)
    assert stalls_at(told) == []
    assert stalls_at(ticks(scene, 0.5)) == [12.0]


def stalled_again() -> Scene:
    """The session in its place has stood for no time yet."""
    scene = stalled()
    ticks(scene, 7.0)
    rejoined(scene, 0.0)
    return scene


def test_a_second_stall_comes_after_four_seconds_and_ends_live_ai():
    scene = stalled_again()
    told = ticks(scene, 4.0)
    assert stalls_at(told) == [11.0]
    assert told[-1][1] == do.CloseCarrier(1000, "no live service", needs_fallback=True)


def test_a_second_stall_after_a_reply_is_a_first_one():
    scene = stalled_again()
    scene.hears(ev.ReplyStarted("r2"), audio("a2", 500, "r2"), ev.ReplyEnded("r2", "completed"))
    scene.hears(ev.SpeechStarted("u3", 100), ev.SpeechStopped("u3", 500))
    assert stalls_at(ticks(scene, 7.0)) == [14.0]
    assert scene.state == "opening"


def test_the_clip_leaves_a_caller_who_has_just_spoken_his_time():
    scene = stalled()
    told = speaks_again(scene, 6.0)  # the clip has ended at four
    told += ticks(scene, 1.0)
    assert stalls_at(told) == [7.0]
    assert clips(told) == [3.0]
    assert clips(ticks(scene, 3.0)) == [8.5]


def test_no_four_seconds_of_two_stalls_are_silent():
    scene = stalled()
    told = ticks(scene, 7.0)
    rejoined(scene, 0.0)
    told += ticks(scene, 4.0)
    assert clips(told) == [3.0, 7.125]
    assert told[-1][0] - (7.125 + 1.0) < 4.0


def test_a_greeting_that_is_late_is_covered_after_two_seconds():
    assert clips(ticks(held(live(AGENT)), 5.5)) == [2.0]


def test_a_caller_who_said_hello_meanwhile_is_not_left_alone_either():
    scene = held(live(AGENT))
    scene.hears(ev.SpeechStarted("u1", 500))
    ticks(scene, 2.5)
    scene.hears(ev.SpeechStopped("u1", 2400))
    assert clips(ticks(scene, 1.0)) == [2.625]


def test_an_agent_that_does_not_greet_says_nothing_until_it_is_asked():
    scene = held(live())
    assert clips(ticks(scene, 10.0)) == []
    scene.hears(ev.SpeechStarted("u1", 9000), ev.SpeechStopped("u1", 10_000))
    assert clips(ticks(scene, 3.5)) == [12.5]  # three seconds after his last word


def test_audio_ends_a_stall():
    scene = stalled()
    ticks(scene, 6.0)
    scene.hears(ev.ReplyStarted("r1"), audio("a1", 500), ev.ReplyEnded("r1", "completed"))
    assert do.TellFault("engine_stalled") not in [command for _, command in ticks(scene, 12.0)]

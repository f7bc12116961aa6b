"""Live AI is given up: who is speaking then may finish, and his words are left to who listens next."""

from __future__ import annotations

import pytest

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev
from flaskapp.phone.recovery import LINGER_S, QUIET_MS
from tests.phone.outage import clips, held, ticks
from tests.phone.scene import (
    AGENT,
    READY,
    START,
    Scene,
    closed,
    configuring,
    faults,
    heard_words,
    live,
    only,
    opening,
    speaking,
    stage,
    voice,
    words,
)

REFUSED = ev.EngineClosed("engine_rejected", status=401)
QUIET_S = QUIET_MS / 1000


def speaks(scene: Scene, seconds: float) -> list[do.Command]:
    """What is commanded while he speaks, asked eight times a second."""
    told = []
    for _ in range(round(seconds * 8)):
        told += scene.hears(voice(125), after=0.125) + scene.waits(0.0)
    return told


def test_a_caller_who_says_nothing_is_handed_over_at_once():
    scene = opening()
    ticks(scene, 2.0)
    assert closed(scene.hears(REFUSED)) == (1000, True)


def test_a_caller_who_has_been_quiet_for_long_enough_is_handed_over_at_once():
    scene = opening()
    speaks(scene, 1.0)
    ticks(scene, QUIET_S + 0.125)
    assert closed(scene.hears(REFUSED)) == (1000, True)


def test_a_caller_who_is_speaking_may_finish():
    scene = opening()
    speaks(scene, 1.0)
    assert scene.hears(REFUSED)[-1] == do.CloseEngine()
    assert scene.state == "lingering"
    assert speaks(scene, 4.0) == []
    assert ticks(scene, QUIET_S - 0.125) == []
    assert closed(scene.waits(0.0) + [each for _, each in ticks(scene, 0.25)]) == (1000, True)
    assert scene.call.memory.ended_reason == "engine_rejected"


def test_a_caller_who_does_not_stop_is_interrupted_after_ten_seconds():
    scene = opening()
    speaks(scene, 1.0)
    scene.hears(REFUSED)
    assert speaks(scene, LINGER_S - 0.125) == []
    assert closed(speaks(scene, 0.125)) == (1000, True)


def test_a_line_that_falls_dead_is_not_waited_for():
    scene = lingering(opening())
    assert scene.waits(1.875) == []
    assert closed(scene.waits(0.125)) == (1000, True)


def lingering(scene: Scene) -> Scene:
    speaks(scene, 1.0)
    scene.hears(REFUSED)
    assert scene.state == "lingering"
    return scene


def test_nothing_of_what_he_says_then_counts_as_heard_or_as_lost():
    scene = live()
    ticks(scene, 4.0)
    scene.hears(ev.SpeechStarted("u1", 4000))
    lingering(scene)
    speaks(scene, 9.0)
    ticks(scene, 1.0)
    assert scene.call.is_over
    assert scene.call.heard_until_ms(scene.now) == 4000
    assert scene.call.intake.dropped_ms == 0
    assert scene.call.talk.owes_reply


def test_what_nobody_has_listened_to_is_not_lost_either():
    scene = opening()
    ticks(scene, 5.0)
    lingering(scene)
    speaks(scene, 9.0)
    assert scene.call.intake.dropped_ms == 0
    assert scene.call.heard_until_ms(scene.now) == 0


def test_the_clip_does_not_play_over_him():
    scene = lingering(held(opening()))
    assert clips([(0.0, each) for each in speaks(scene, 9.0)]) == []


def test_what_plays_when_he_is_given_up_is_cleared():
    scene = held(opening())
    told = speaks(scene, 1.5)
    assert do.Play(scene.call.clip.payload) in told
    assert do.ClearPlayback() in scene.hears(REFUSED)


def test_a_reply_that_he_speaks_over_is_cut_at_what_he_heard():
    scene = speaking(4.0)
    scene.hears(words("one two three four", is_final=True), ev.ReplyEnded("r1", "completed"))
    speaks(scene, 2.0)
    told = scene.hears(REFUSED)
    assert do.ClearPlayback() in told
    assert only(do.TellLine, told).text == "one two"


@pytest.mark.parametrize(
    ("left", "reason"), [(ev.StreamStopped(), "caller_hung_up"), (ev.HangUp("operator"), "operator")]
)
def test_a_caller_who_leaves_meanwhile_needs_no_service(left, reason):
    scene = stage("lingering")
    assert closed(scene.hears(left)) == (1000, False)
    assert scene.call.memory.ended_reason == reason


def test_an_engine_that_does_not_want_us_may_wait_for_him_too():
    scene = configuring()
    speaks(scene, 1.0)
    told = scene.hears(ev.SessionReady("audio/pcm", "audio/pcm"))
    assert faults(told) == ["engine_format"]
    assert scene.state == "lingering"


def test_replies_that_fail_while_he_speaks_let_him_finish():
    scene = live(AGENT)
    speaks(scene, 1.0)
    for number in range(2):
        scene.hears(ev.ReplyStarted(f"r{number}"), ev.ReplyEnded(f"r{number}", "failed"))
    assert scene.state == "lingering"
    assert scene.call.heard_until_ms(scene.now) == 0


@pytest.mark.parametrize(
    "event", [ev.StreamStarted("MZ1", "CA2", "audio/pcmu"), ev.NotAdmitted("no ticket")], ids=["other", "no"]
)
def test_a_stream_that_is_refused_is_closed_at_once(event):
    assert closed(Scene().hears(event))[0] == 1008


def test_a_stream_in_another_format_is_closed_at_once():
    scene = Scene()
    assert closed(scene.hears(ev.StreamStarted("MZ1", "CA1", ""))) == (1000, True)


# ---------------------------------------------------------------------- lines without their last words


def in_mid_word(kept: bool = True) -> Scene:
    """He was understood in part, and the engine is gone for good."""
    scene = Scene()
    scene.call.intake.flow = [] if kept else None
    scene.hears(START, ev.EngineOpened(), READY)
    ticks(scene, 2.0)
    scene.hears(ev.SpeechStarted("u1", 1500), heard_words("I wou", is_final=False))
    return scene


def lines(told: list[do.Command]) -> list[tuple[str, str, bool]]:
    return [(each.item_id, each.text, each.is_final) for each in told if isinstance(each, do.TellLine)]


def test_a_line_that_is_left_to_others_is_withdrawn():
    scene = in_mid_word()
    told = scene.hears(REFUSED)
    assert closed(told) == (1000, True)
    assert lines(told) == [("u1", "", True)]
    assert scene.call.talk.transcript.spoken() == []
    assert scene.call.heard_until_ms(scene.now) == 1500
    assert scene.call.talk.owes_reply


def test_a_line_that_nobody_else_will_write_keeps_its_words():
    assert lines(in_mid_word(kept=False).hears(REFUSED)) == [("u1", "I wou", True)]


def test_a_caller_who_hangs_up_before_his_last_words_came_has_them_written_afterwards():
    scene = in_mid_word()
    scene.hears(ev.StreamStopped())
    assert lines(scene.waits(3.0)) == [("u1", "", True)]


def test_a_line_whose_audio_nobody_has_any_more_keeps_its_words():
    scene = in_mid_word()
    scene.hears(ev.SpeechStopped("u1", 1800), ev.SpeechStarted("u2", 1900))
    told = scene.hears(heard_words("Yes.", "u2"), ev.SpeechStopped("u2", 2000), REFUSED)
    assert ("u1", "I wou", True) in lines(told)

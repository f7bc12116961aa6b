"""What is true of every call, whatever comes in whatever order: random histories, shrunk when one is not."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev
from flaskapp.phone.call import Call, State
from tests.phone.histories import Run, Step, fresh, histories
from tests.phone.scene import AGENT, READY, frame, heard_words, live, speaking, stage, words

thorough = settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


def played(history: list[Step]) -> tuple[Run, list[tuple[Step, list[do.Command]]]]:
    run = fresh()
    return run, [(step, run.take(step)) for step in history]


def commands(history: list[Step]) -> list[do.Command]:
    return [command for _, told in played(history)[1] for command in told]


@thorough
@given(histories)
def test_a_call_that_is_over_stays_silent_and_was_closed_once(history):
    run, told = played(history)
    closes = [command for _, each in told for command in each if isinstance(command, do.CloseCarrier)]
    assert len(closes) == run.call.is_over
    if closes:
        last = [each for _, each in told if each][-1]
        assert isinstance(last[-1], do.CloseCarrier)
        assert last[-2] == do.CloseEngine()


@thorough
@given(histories)
def test_truncation_never_goes_beyond_what_was_received(history):
    received: Counter[str] = Counter()
    for step, told in played(history)[1]:
        for command in told:
            if isinstance(command, do.Truncate):
                assert 0 <= command.audio_end_ms <= received[command.item_id]
        if isinstance(step.event, ev.ReplyAudio) and any(isinstance(each, do.Play) for each in told):
            received[step.event.item_id] += step.event.duration_ms


@thorough
@given(histories)
def test_no_audio_of_a_silenced_reply_is_played(history):
    run = fresh()
    for step in history:
        silenced = step.event.response_id in run.call.talk.silenced if is_audio(step) else False
        told = run.take(step)
        assert not (silenced and any(isinstance(each, do.Play | do.SetMark) for each in told))


@thorough
@given(histories)
def test_a_live_call_plays_every_reply_that_was_not_silenced(history):
    run = fresh()
    for step in history:
        run.take(Step(step.pause, None))
        is_due = is_audio(step) and run.call.memory.state == "live"
        is_due = is_due and step.event.response_id not in run.call.talk.silenced
        told = run.take(Step(0.0, step.event))
        assert sum(isinstance(each, do.Play) for each in told) == is_due


def is_audio(step: Step) -> bool:
    return isinstance(step.event, ev.ReplyAudio)


@thorough
@given(histories)
def test_every_frame_reaches_the_engine_once_and_in_order_or_not_at_all(history):
    given_frames = []
    for number, step in enumerate(history):
        if isinstance(step.event, ev.CallerAudio):
            history[number] = Step(step.pause, ev.CallerAudio(b"%04d" % number, step.event.duration_ms))
            given_frames.append(b"%04d" % number)
    heard = [each.payload for each in commands(history) if isinstance(each, do.Hear)]
    assert len(set(heard)) == len(heard)
    assert heard == [payload for payload in given_frames if payload in set(heard)]


@thorough
@given(histories)
def test_lines_keep_their_place_and_their_speaker(history):
    told = [each for each in commands(history) if isinstance(each, do.TellLine)]
    identity = {line.item_id: (line.position, line.speaker) for line in told}
    assert all(identity[line.item_id] == (line.position, line.speaker) for line in told)
    assert len({position for position, _ in identity.values()}) == len(identity)
    assert all(0 <= line.start_ms <= line.end_ms for line in told)


@thorough
@given(histories)
def test_a_line_is_final_once_unless_it_is_cut_afterwards(history):
    finals: Counter[str] = Counter()
    for line in (each for each in commands(history) if isinstance(each, do.TellLine)):
        assert not finals[line.item_id] or (line.is_final and line.interrupted)
        finals[line.item_id] += line.is_final and not line.interrupted
        assert finals[line.item_id] <= 1


@thorough
@given(histories)
def test_when_a_call_is_over_no_line_is_left_open(history):
    run, told = played(history)
    open_lines = {}
    for line in (each for _, some in told for each in some if isinstance(each, do.TellLine)):
        open_lines[line.item_id] = not line.is_final
    assert not (run.call.is_over and any(open_lines.values()))


@thorough
@given(histories)
def test_marks_have_names_of_their_own(history):
    names = [each.name for each in commands(history) if isinstance(each, do.SetMark)]
    assert len(names) == len(set(names))


@thorough
@given(histories, histories)
def test_a_restored_call_goes_on_as_the_original(before, after):
    original = fresh()
    for step in before:
        original.take(step)
    forget_audio(original.call)
    moved = original.moved(by=-64.0)
    assert [moved.take(step) for step in after] == [original.take(step) for step in after]


def forget_audio(call: Call) -> None:
    """Audio is not stored."""
    call.intake.kept.clear()
    call.intake.kept_from_ms = call.intake.received_ms


@pytest.mark.parametrize("state", [str(each) for each in State])
def test_a_call_can_be_stored_and_restored_in_every_state(state):
    scene = stage(state)
    moved = Run(scene.call, scene.now).moved(by=1000.0)
    assert moved.call.memory == scene.call.memory
    assert moved.call.talk == scene.call.talk
    assert moved.call.tick(moved.now + 60.0) == scene.call.tick(scene.now + 60.0)


def test_early_audio_that_was_not_stored_moves_the_engines_clock():
    scene = stage("configuring")
    scene.hears(*[frame()] * 50)
    moved = Run(scene.call, scene.now).moved(by=0.0)
    told = [
        moved.take(Step(0.0, event)) for event in (READY, ev.SpeechStarted("u1", 200), heard_words("Hi."))
    ]
    assert told[-1][0].start_ms == 1200


def test_a_call_that_was_greeted_is_not_greeted_again_on_another_engine():
    scene = speaking(scene=live(AGENT))
    scene.hears(words("Good day.", is_final=True), ev.ReplyEnded("r1", "completed"))
    scene.waits(5.0)
    data = scene.call.snapshot(scene.now)
    data["memory"]["state"] = "configuring"
    moved = Call.restore(data, AGENT, scene.now)
    assert moved.receive(READY, scene.now) == [do.Recite("agent", "Good day.")]

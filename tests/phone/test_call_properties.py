"""What is true of every call, whatever comes in whatever order: random histories, shrunk when one is not."""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, given, settings

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev
from tests.phone.histories import Run, Step, fresh, histories

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

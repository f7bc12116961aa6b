"""What a call never commands, whatever happens: twice the same, or to nobody; and that it comes to an end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev
from flaskapp.phone.endings import CONNECTING, GOODBYE, NO_MORE_MONEY, SILENCE_GOODBYE, TIME_IS_UP
from flaskapp.phone.exits import STANDING, State
from flaskapp.phone.recovery import ALREADY_REPLYING
from tests.phone.histories import Run, Step, fresh, histories, scenes
from tests.phone.scene import frame

LAST_WORDS = {CONNECTING, GOODBYE, NO_MORE_MONEY, SILENCE_GOODBYE, TIME_IS_UP}

thorough = settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


@dataclass(frozen=True)
class Moment:
    """One step, and what was commanded in which state."""

    event: ev.Event | None
    before: State
    after: State
    told: list[do.Command]


def moments(scene, history: list[Step]) -> Iterator[Moment]:
    """Each step twice: time passes, then the event comes."""
    run = fresh(*scene)
    for step in history:
        for each in (Step(step.pause, None), Step(0.0, step.event)):
            before = run.call.memory.state
            told = run.call.tick(run.now + each.pause) if each.event is None else []
            run.now += each.pause
            if each.event is not None:
                told = run.call.receive(each.event, run.now)
            yield Moment(each.event, before, run.call.memory.state, told)


@thorough
@given(scenes, histories)
def test_a_reply_is_asked_for_again_only_when_the_last_asking_is_done_with(scene, history):
    is_asked = False
    for moment in moments(scene, history):
        event = moment.event
        if isinstance(event, ev.ReplyStarted | ev.SessionReady) or event == ev.EngineFault(ALREADY_REPLYING):
            is_asked = False
        for command in moment.told:
            if isinstance(command, do.Reply):
                assert not is_asked
                is_asked = True
            elif isinstance(command, do.OpenEngine):
                is_asked = False


@thorough
@given(scenes, histories)
def test_only_a_session_that_stands_is_asked_or_told_anything(scene, history):
    to_session = (do.Reply, do.Recite, do.ReciteTool, do.AnswerTool, do.CancelReply, do.Truncate, do.Hear)
    for moment in moments(scene, history):
        if any(isinstance(command, to_session) for command in moment.told):
            assert moment.before in STANDING or moment.after in STANDING


@thorough
@given(scenes, histories)
def test_a_function_is_carried_out_once_and_answered_once_at_most_to_each_session(scene, history):
    ran: list[str] = []
    answered: list[str] = []
    for moment in moments(scene, history):
        for command in moment.told:
            if isinstance(command, do.RunTool):
                ran.append(command.tool_call_id)
            elif isinstance(command, do.AnswerTool | do.ReciteTool):
                assert command.tool_call_id in ran
                assert command.tool_call_id not in answered
                answered.append(command.tool_call_id)
            elif isinstance(command, do.OpenEngine):
                answered.clear()
    assert len(ran) == len(set(ran))


@thorough
@given(scenes, histories)
def test_an_answer_goes_as_such_only_to_the_session_that_asked(scene, history):
    asked: set[str] = set()
    for moment in moments(scene, history):
        for command in moment.told:
            if isinstance(command, do.OpenEngine):
                asked.clear()
            elif isinstance(command, do.RunTool):
                asked.add(command.tool_call_id)
            elif isinstance(command, do.AnswerTool):
                assert command.tool_call_id in asked


@thorough
@given(scenes, histories)
def test_nobody_hears_the_caller_while_the_agent_says_its_last_words(scene, history):
    for moment in moments(scene, history):
        if moment.before is State.CLOSING:
            assert not any(isinstance(command, do.Hear | do.ClearPlayback) for command in moment.told) or (
                moment.after is not State.CLOSING or isinstance(moment.event, ev.Digit)
            )


@thorough
@given(scenes, histories)
def test_only_its_last_words_are_asked_for_then(scene, history):
    for moment in moments(scene, history):
        if moment.before is moment.after is State.CLOSING:
            asked = [command.instructions for command in moment.told if isinstance(command, do.Reply)]
            assert all(instructions in LAST_WORDS for instructions in asked)
            assert not any(
                isinstance(command, do.Recite) and command.speaker == "caller" for command in moment.told
            )


@thorough
@given(scenes, histories)
def test_an_engine_is_closed_before_another_is_opened(scene, history):
    is_open = False
    for moment in moments(scene, history):
        for command in moment.told:
            if isinstance(command, do.OpenEngine):
                assert not is_open
                is_open = True
            elif isinstance(command, do.CloseEngine):
                is_open = False


@thorough
@given(scenes, histories)
def test_a_caller_is_transferred_once_at_most_and_then_not_moved_or_served_otherwise(scene, history):
    told = [command for moment in moments(scene, history) for command in moment.told]
    dialled = [place for place, command in enumerate(told) if isinstance(command, do.TransferCaller)]
    assert len(dialled) <= 1
    for command in told[dialled[0] :] if dialled else []:
        if isinstance(command, do.CloseCarrier):
            assert (command.moves, command.needs_fallback) == (False, False)


@thorough
@given(scenes, histories)
def test_a_call_closes_for_one_reason(scene, history):
    for moment in moments(scene, history):
        for command in moment.told:
            if isinstance(command, do.CloseCarrier):
                assert command.needs_fallback + command.moves + bool(command.destination) <= 1


def silent_seconds(run: Run, most: int) -> int:
    """How long the call lasts when nobody says anything any more, and the line brings silence."""
    for eighth in range(most * 8):
        if run.call.is_over:
            return eighth // 8
        run.take(Step(0.125, frame(ms=125)))
    return most


@thorough
@given(scenes, histories)
def test_no_silent_line_stays_open(scene, history):
    run, (limits, *_) = fresh(*scene), scene
    answers = [ev.ToolAnswered(each, "done") for each in ("c1", "c2", "c3")]
    for step in [*history, *(Step(0.0, event) for event in (*answers, ev.ReplyStarted("r9")))]:
        run.take(step)
    # Whom the engine takes to be speaking is speaking: his call's time ends it.
    if limits.call_s == 20.0 or (limits.silence_s and not run.call.talk.is_speaking):
        assert silent_seconds(run, 120) < 120

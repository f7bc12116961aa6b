"""A handler gives its calls tools, transfers, greetings and limits; none of them is in the audio's way."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue

import pytest

from flaskapp.phone.agent import Agent, Agents, CallLimits
from flaskapp.phone.audio import MULAW_SILENCE
from flaskapp.phone.cost import Prices
from flaskapp.phone.directives import TransferTo
from flaskapp.phone.endings import Limits
from flaskapp.phone.playout import Clip
from flaskapp.phone.rtmt_audio_handler import RTMTAudioHandler
from flaskapp.phone.toolbench import Toolbench
from flaskapp.phone.tools import CallContext, Result, Tool
from tests.fakes import Behaviour, FakeRealtime, ToolUse, Turn, billing, tone
from tests.phone.callers import Caller, Ear, begin, eventually

QUIET = Agent(greeting="")
QUESTION = tone(400) + MULAW_SILENCE * 8 * 500
USES = Behaviour(turns=(Turn("", (ToolUse("look_up", '{"what": "hours"}'),)),), reply_ms=200)
WITHIN_S = 30.0
Served = tuple[FakeRealtime, RTMTAudioHandler]


def named(name: str, run) -> Tool:
    parameters = {"type": "object", "properties": {"what": {"type": "string"}}}
    return Tool(name, "Looks something up.", parameters, run, 30.0)


@contextmanager
def serving(
    behaviour: Behaviour, agent: Agent = QUIET, **more
) -> Iterator[tuple[FakeRealtime, RTMTAudioHandler]]:
    with FakeRealtime(behaviour).running() as engine:
        handler = RTMTAudioHandler(
            engine.base_url, "gpt-realtime", "key", agents=Agents(agent), listener=Ear(), **more
        )
        yield engine, handler
        assert not [wrong for session in engine.sessions for wrong in session.offences]


@contextmanager
def calling(handler: RTMTAudioHandler, call_sid: str = "CA1") -> Iterator[Caller]:
    caller, thread = begin(handler, call_sid)
    yield caller
    caller.hangs_up()
    thread.join(WITHIN_S)
    assert not thread.is_alive()


def test_audio_goes_on_both_ways_while_a_tool_is_carried_out():
    begun, goes_on = threading.Event(), threading.Event()

    def slow(call: CallContext, arguments: str) -> str:
        begun.set()
        goes_on.wait(60)
        return "nine"

    tools = Toolbench([named("look_up", slow)])
    with serving(USES, tools=tools) as (engine, handler), calling(handler) as caller:
        caller.speaks(QUESTION)
        assert begun.wait(WITHIN_S)
        (session,) = engine.sessions
        before = len(session.audio)
        caller.speaks(MULAW_SILENCE * 8 * 1000)
        engine.wait_for(lambda fake: len(session.audio) >= before + 8000)
        sound = tone(400, seed=5)
        engine.say(session, sound)
        eventually(lambda: sound in caller.heard, WITHIN_S)
        goes_on.set()


def test_a_tool_is_told_who_calls_whom():
    asked: Queue[tuple[CallContext, str]] = Queue()

    def look_up(call: CallContext, arguments: str) -> str:
        asked.put((call, arguments))
        return "nine"

    with serving(USES, tools=Toolbench([named("look_up", look_up)])) as (_, handler):
        caller = Caller("CA1")
        whom = {"called": "+15550000", "caller": "+15551111"}
        thread = threading.Thread(target=handler.serve, args=(caller, "CA1"), kwargs=whom, daemon=True)
        thread.start()
        caller.starts()
        caller.speaks(QUESTION)
        call, arguments = asked.get(timeout=WITHIN_S)
        caller.hangs_up()
        thread.join(WITHIN_S)
    assert (call.call_sid, call.called, call.caller, call.agent) == ("CA1", "+15550000", "+15551111", QUIET)
    assert arguments == '{"what": "hours"}'


def test_two_calls_wait_for_their_own_answers_only():
    goes_on = threading.Event()

    def slow_for_one(call: CallContext, arguments: str) -> str:
        if call.call_sid == "CA1":
            goes_on.wait(60)
        return f"for {call.call_sid}"

    tools = Toolbench([named("look_up", slow_for_one)])
    with serving(USES, tools=tools) as (engine, handler), calling(handler, "CA1") as first:
        first.speaks(QUESTION)
        with calling(handler, "CA2") as second:
            engine.wait_for(lambda fake: len(fake.sessions) == 2)
            second.speaks(QUESTION)
            eventually(lambda: second.heard, WITHIN_S)  # it has its reply
            assert not first.heard
        goes_on.set()
        eventually(lambda: first.heard, WITHIN_S)


def test_a_transfer_is_asked_for_with_the_call_and_the_number():
    asked: Queue[tuple[str, str]] = Queue()

    def hand_over(call: CallContext, arguments: str) -> Result:
        return Result("Connecting.", directive=TransferTo("sales", "+15551234567"))

    def transfer(call_sid: str, number: str) -> bool:
        asked.put((call_sid, number))
        return True

    tools = Toolbench([named("look_up", hand_over)])
    with serving(USES, tools=tools, transfer=transfer) as (_, handler):
        with calling(handler) as caller:
            caller.speaks(QUESTION)
            assert asked.get(timeout=WITHIN_S) == ("CA1", "+15551234567")
        (ended,) = handler.listener.ended
    assert (ended.destination, ended.needs_fallback) == ("sales", False)


class Shelf:
    """Keeps one greeting."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, ...], Clip] = {}
        self.sounds: list[bytes] = []

    def find(self, *depends_on: str) -> Clip | None:
        return self.kept.get(depends_on)

    def keep(self, mulaw: bytes, *depends_on: str) -> None:
        self.sounds.append(mulaw)
        self.kept[depends_on] = Clip(base64.b64encode(mulaw), len(mulaw) / 8)


def test_the_second_caller_hears_what_the_engine_said_to_the_first_before_there_is_a_session():
    shelf = Shelf()
    agent = Agent(greeting="Good day.")
    says = Behaviour(creates=(Turn("Good day."),), reply_ms=400)
    with serving(says, agent, greetings=shelf) as (engine, handler):
        with calling(handler, "CA1") as first:
            eventually(lambda: shelf.kept, WITHIN_S)
            eventually(lambda: first.heard == shelf.sounds[0], WITHIN_S)
        engine.behaviour = Behaviour(hangs=True)  # nobody will ever greet
        with calling(handler, "CA2") as second:
            eventually(lambda: second.heard == shelf.sounds[0], WITHIN_S)
    assert len(shelf.sounds) == 1


@pytest.mark.parametrize(
    ("own", "house", "reason"),
    [
        (CallLimits(max_call_seconds=1), Limits(call_s=600.0), "max_duration"),
        (CallLimits(max_call_cost_usd=0.000001), Limits(cost_usd=500.0), "max_cost"),
        (CallLimits(), Limits(call_s=1.0), "max_duration"),
        (CallLimits(max_call_cost_usd=0.0), Limits(call_s=3.0, cost_usd=0.000001), "max_duration"),
    ],
    ids=["its own time", "its own cost", "the house's", "none of its own"],
)
def test_an_agents_own_limits_come_before_the_houses(own, house, reason):
    agent = Agent(greeting="Good day.", limits=own)
    behaviour = Behaviour(reply_ms=100, usage=billing(60.0, 1.0))
    prices = Prices({"output_audio_tokens": 1.0})
    with serving(behaviour, agent, limits=house, prices=prices) as (_, handler):
        caller, thread = begin(handler, "CA1")
        thread.join(60)
        assert not thread.is_alive()
        (ended,) = handler.listener.ended
    assert (ended.reason, ended.needs_fallback) == (reason, False)
    assert caller.closed_with == 1000


def test_calls_that_move_are_out_of_the_house_and_say_so():
    with serving(Behaviour(hears=False)) as (engine, handler):
        begun = [begin(handler, sid) for sid in ("CA1", "CA2")]
        engine.wait_for(lambda fake: len(fake.sessions) == 2)
        handler.move_all(20.0)
        for caller, thread in begun:
            thread.join(WITHIN_S)
            assert not thread.is_alive()
            assert caller.closed_with == 1000
        assert not handler.sessions
        assert [ended.moves for ended in handler.listener.ended] == [True, True]

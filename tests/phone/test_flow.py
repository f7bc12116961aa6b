"""What a keeper takes from a call: each piece once, and nothing where nothing has changed."""

from __future__ import annotations

import json
from base64 import b64encode

from flaskapp.phone import events as ev
from flaskapp.phone.call import Call
from flaskapp.phone.flow import Flow
from flaskapp.phone.past import Past
from flaskapp.phone.tool_calls import CUT_OFF
from tests.phone.scene import READY, SILENT, START

SLICE = ev.CallerAudio(b64encode(bytes([0xFF]) * 160), 20.0)


def flow(past: Past = Past(), **more) -> Flow:  # noqa: B008 - frozen
    call = Call("CA1", SILENT, 0.0, past, **more)
    made = Flow(call, lambda: 1.0)
    made.keeps()
    hears(made, START, ev.EngineOpened(), READY)
    return made


def hears(flow: Flow, *events: ev.Event) -> None:
    for event in events:
        flow.call.receive(event, 1.0)


def uses_a_tool(made: Flow, tool_call_id: str = "c1", output: str = "nine") -> None:
    hears(
        made, ev.ToolCalled("r1", tool_call_id, "opening_hours", "{}"), ev.ToolAnswered(tool_call_id, output)
    )


def test_a_call_on_which_no_function_was_used_has_nothing_to_remember():
    assert flow().take_memo() is None


def remembered(memo) -> list[tuple[str, str]]:
    return [(use["tool_call_id"], use["output"]) for use in memo["tools"]]


def test_a_function_is_remembered_from_its_beginning_and_each_change_is_taken_once():
    made = flow()
    hears(made, ev.ToolCalled("r1", "c1", "opening_hours", "{}"))
    assert remembered(made.take_memo()) == [("c1", CUT_OFF)]  # should its worker not live to see the answer
    assert made.take_memo() is None
    hears(made, ev.ToolAnswered("c1", "nine"))
    assert remembered(made.take_memo()) == [("c1", "nine")]
    assert made.take_memo() is None
    uses_a_tool(made, "c2")
    assert remembered(made.take_memo()) == [("c1", "nine"), ("c2", "nine")]


def test_a_function_that_was_cut_off_is_told_so_and_not_waited_for():
    made = flow()
    hears(made, ev.ToolCalled("r1", "c1", "opening_hours", "{}"))
    following = flow(Past(memo=made.take_memo()))
    assert following.call.tools.running_since is None
    assert [use.recited().output for use in following.call.tools.done()] == [CUT_OFF]


def test_what_one_leg_remembers_the_next_one_knows_and_remembers_too():
    made = flow()
    uses_a_tool(made)
    memo = json.loads(json.dumps(made.take_memo()))
    following = flow(Past(memo=memo))
    assert following.call.memo() == memo
    uses_a_tool(following, "c2")
    assert [use["tool_call_id"] for use in following.take_memo()["tools"]] == ["c1", "c2"]


def test_what_is_remembered_is_bounded():
    made = flow()
    for number in range(100):
        uses_a_tool(made, f"c{number}", "nine " * 10_000)
    memo = made.take_memo()
    assert memo["tools"][-1]["tool_call_id"] == "c99"
    assert len(json.dumps(memo)) < 80_000


def test_what_a_leg_costs_is_its_own_and_what_a_call_costs_is_all():
    made = flow(Past(cost_usd=0.25), price=lambda usage: usage.get("output_tokens", 0) * 0.01)
    hears(made, ev.ReplyStarted("r1"), ev.ReplyEnded("r1", "completed", usage={"output_tokens": 7}))
    assert made.cost_usd == 0.07
    assert made.call.cost_usd == 0.32


def test_what_a_leg_used_is_its_own_and_a_copy():
    made = flow(Past(base_ms=5000))
    assert (made.usage, made.base_ms) == ({}, 5000)
    hears(made, ev.ReplyStarted("r1"), ev.ReplyEnded("r1", "completed", usage={"output_tokens": 7}))
    assert made.usage == {"output_tokens": 7}
    made.usage.clear()
    assert made.usage == {"output_tokens": 7}


def test_audio_is_taken_once_and_says_where_in_the_call_it_begins():
    made = flow(Past(base_ms=5000))
    hears(made, SLICE, SLICE)
    assert made.take_audio()[0] == 5000
    assert made.take_audio() is None
    hears(made, SLICE)
    assert made.take_audio()[0] == 5040


def test_a_call_whose_agent_is_still_being_heard_is_not_still_for_whoever_keeps_that():
    now = [1.0]
    call = Call("CA1", SILENT, 0.0)
    made = Flow(call, lambda: now[0])
    made.keeps(both_sides=True)
    hears(made, START, ev.EngineOpened(), READY, ev.ReplyStarted("r1"))
    hears(made, ev.ReplyAudio("r1", "a1", 0, b64encode(bytes(16_000)), 2000.0))
    made.is_still()  # what has happened by now is known
    made.take_heard()
    assert not made.is_still()
    now[0] = 9.0
    assert sum(len(sound) for _, sound in made.take_heard()) == 16_000
    assert made.is_still()

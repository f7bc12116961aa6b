"""Recordings that are answered with the help of tools, by one Realtime session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flaskapp.phone.agent import Agent
from flaskapp.phone.built_in import toolbox
from flaskapp.phone.directives import EndCall, Message
from flaskapp.phone.engines import realtime_turn
from flaskapp.phone.engines.tool_use import ROUNDS
from flaskapp.phone.engines.turns import Answer
from flaskapp.phone.errors import EngineUnreachable
from tests.fake_text_sessions import Plan, TextSessions
from tests.fake_turns import Uses
from tests.phone.test_turns_in_a_session import SOUND, azure
from tests.phone.test_turns_tools import AGENT, MESSAGE, TAKEN, TOOLS, Desk


@pytest.fixture
def server() -> Iterator[TextSessions]:
    with TextSessions().running() as server:
        yield server
    assert server.offences == []


def answered(server: TextSessions, desk: Desk, within_s: float = 14.0) -> Answer:
    return azure(server).answer(SOUND, [], AGENT, within_s=within_s, tools=TOOLS, use=desk)


def test_a_tool_is_used_once_and_the_session_answers_with_its_output(server):
    server.plan.replies = [MESSAGE, TAKEN]

    answer = answered(server, desk := Desk())

    assert (answer.transcript, answer.response) == ("when are you open", TAKEN)
    assert answer.directives == (Message("Call back.", "Ann"),)
    assert desk.names == ["take_message"]
    asked = server.of_type("session.update")[0]["session"]
    assert asked["tools"] == list(TOOLS)
    (told,) = (event["item"] for event in server.of_type("conversation.item.create"))
    assert told == {
        "type": "function_call_output",
        "call_id": desk.calls[0][0],
        "output": "The message is written down. Tell the caller so.",
    }
    assert answer.usage["total_tokens"] == 60


def test_several_calls_get_all_their_outputs_and_then_one_response(server):
    server.plan.replies = [Uses((*MESSAGE.calls, ("horoscope", "{}"))), TAKEN]

    answered(server, desk := Desk())

    kinds = [event["type"] for event in server.events]
    assert kinds[-4:] == [
        *("response.create", "conversation.item.create", "conversation.item.create", "response.create"),
    ]
    assert len(desk.calls) == 2


def test_who_has_said_goodbye_is_not_asked_for_more(server):
    server.plan.replies = [Uses((("end_call", "{}"),), "Goodbye."), "Anything else?"]

    answer = answered(server, Desk())

    assert (answer.response, answer.directives) == ("Goodbye.", (EndCall(),))
    assert len(server.of_type("response.create")) == 1


def test_a_model_that_never_has_enough_must_answer_in_the_end(server):
    server.plan.replies = [Uses(MESSAGE.calls, "Still at it.")]

    answer = answered(server, desk := Desk(), 60.0)

    assert len(desk.calls) == ROUNDS
    asked = [event.get("response") for event in server.of_type("response.create")]
    assert asked == [None] * ROUNDS + [{"tool_choice": "none"}]
    assert answer.response == "Still at it."


def test_a_server_that_takes_no_tools_answers_without(server):
    server.plan.refuses_tools = True

    answer = answered(server, Desk())

    assert answer.response == "From nine to five."
    session = server.of_type("session.update")[-1]["session"]
    assert "tools" not in session
    assert "transcription" in session["audio"]["input"]


def test_a_model_that_is_asked_for_the_words_uses_no_tool_for_them(server):
    server.plan = Plan(words=None, replies=["From nine to five.", Uses(MESSAGE.calls, "when are you open")])

    answer = answered(server, desk := Desk())

    assert (answer.transcript, answer.response) == ("when are you open", "From nine to five.")
    assert server.of_type("response.create")[-1]["response"]["tool_choice"] == "none"
    assert desk.calls == []


def test_words_alone_use_tools_too(server):
    server.plan.replies = [MESSAGE, TAKEN]
    answer = azure(server).reply("Call back!", [], AGENT, tools=TOOLS, use=Desk())
    assert (answer.transcript, answer.response) == ("Call back!", TAKEN)
    assert answer.directives == (Message("Call back.", "Ann"),)


def test_an_agent_without_people_hands_over_to_nobody(server):
    tools = toolbox(Agent()).schemas()
    azure(server).answer(SOUND, [], Agent(), tools=tools, use=Desk())
    names = [each["name"] for each in server.of_type("session.update")[0]["session"]["tools"]]
    assert names == ["end_call", "take_message"]


@pytest.mark.parametrize("fails", ["closes_on", "garbage_on"])
def test_a_session_that_fails_after_a_tool_leaves_what_was_done(server, fails):
    server.plan = Plan(replies=[MESSAGE, TAKEN], **{fails: "conversation.item.create"})

    answer = answered(server, desk := Desk())

    assert (answer.transcript, answer.response) == ("when are you open", "")
    assert answer.directives == (Message("Call back.", "Ann"),)
    assert len(desk.calls) == 1


def test_where_nobody_knows_the_words_either_they_are_said_to_be_unknown(server):
    server.plan = Plan(words=None, replies=[MESSAGE, TAKEN], closes_on="conversation.item.create")

    answer = answered(server, Desk())

    assert (answer.transcript, answer.response) == (realtime_turn.UNTRANSCRIBED, "")


def test_a_session_that_fails_before_any_tool_fails_as_ever(server):
    server.plan = Plan(replies=[MESSAGE, TAKEN], status="failed")
    with pytest.raises(EngineUnreachable):
        answered(server, desk := Desk())
    assert desk.calls == []

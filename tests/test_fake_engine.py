"""The fake engine of the other tests: its functions, its bills, its limits, and what it will not take."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.behaviour import Behaviour, ToolUse, Turn, billing
from tests.fake_session import Session
from tests.fakes import FakeRealtime, tone
from tests.localai.test_localai_contract import strangers

server_event: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
PCMU = {"format": {"type": "audio/pcmu"}}
WEATHER = {"type": "function", "name": "weather", "description": "d", "parameters": {"type": "object"}}


class Client:
    """A client that checks what it is told against the typed events."""

    def __init__(self, socket: ClientConnection, session: Session) -> None:
        self.socket, self.session = socket, session
        self.heard: list[dict[str, Any]] = []

    def send(self, kind: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": kind, **fields}))

    def until(self, kind: str) -> dict[str, Any]:
        while True:
            event = json.loads(self.socket.recv(timeout=30))
            self.heard.append(event)
            if event["type"] == kind:
                return event
            assert event["type"] != "error", event

    def update(self, **fields: Any) -> None:
        session = {"type": "realtime", "audio": {"input": PCMU, "output": PCMU}, **fields}
        self.send("session.update", session=session)

    def item(self, **body: Any) -> None:
        self.send("conversation.item.create", item=body)

    def answer(self, call_id: str, output: str = "ok") -> None:
        self.item(type="function_call_output", call_id=call_id, output=output)

    def respond(self) -> dict[str, Any]:
        self.send("response.create")
        return self.until("response.done")["response"]

    def speak(self) -> None:
        """A caller's turn, as the fake's own ears find it."""
        for audio in (tone(400), b"\xff" * 8 * 600):
            self.send("input_audio_buffer.append", audio=base64.b64encode(audio).decode())


@contextmanager
def talking(behaviour: Behaviour) -> Iterator[tuple[FakeRealtime, Client]]:
    with FakeRealtime(behaviour).running() as engine:
        address = engine.base_url.replace("http", "ws") + "/realtime?model=m"
        with connect(address, max_size=None) as socket:
            engine.wait_for(lambda e: e.sessions)
            client = Client(socket, engine.sessions[0])
            client.until("session.created")
            client.update()
            client.until("session.updated")
            yield engine, client


def test_functions_come_as_scripted_each_once_and_after_the_speech():
    uses = (ToolUse("weather", '{"city": "Rome"}'), ToolUse("end_call"))
    with talking(Behaviour(turns=(Turn("Let me see.", uses), Turn("", uses[:1])))) as (_, client):
        client.speak()
        done = client.until("response.done")["response"]
        assert [item["type"] for item in done["output"]] == ["message", "function_call", "function_call"]
        ends = [each for each in client.heard if each["type"] == "response.output_item.done"]
        assert [each["output_index"] for each in ends] == [0, 1, 2]
        calls = [each["item"] for each in ends[1:]]
        assert [(call["name"], call["arguments"]) for call in calls] == [
            ("weather", '{"city": "Rome"}'),
            ("end_call", "{}"),
        ]
        for call in calls:
            client.answer(call["call_id"], "sunny")
        client.respond()
        conversation = client.session.conversation
        assert conversation.tool_debts() == []
        assert conversation.answers_to("weather") == ["sunny"]
        client.speak()
        silent = client.until("response.done")["response"]
        assert [item["type"] for item in silent["output"]] == ["function_call"]
        assert not [e for e in client.heard if e.get("response_id") == silent["id"] and "audio" in e["type"]]
        assert [role for role, _ in conversation.lines] == [
            *("user", "assistant", "function_call", "function_call"),
            *("function_call_output", "function_call_output", "assistant", "user", "function_call"),
        ]
        assert client.session.offences == []
        for event in client.heard:
            if event["type"].startswith(("response.output_item", "response.function_call", "conversation")):
                assert strangers(server_event.validate_python(event), event["type"]) == []


def test_what_a_client_owes_is_named():
    with talking(Behaviour(creates=(Turn("", (ToolUse("weather"),)),))) as (_, client):
        (call,) = client.respond()["output"]
        owed = client.session.conversation
        assert owed.tool_debts() == [
            f"weather ({call['call_id']}) was answered 0 times",
            "weather: 0 response.create after it",
        ]
        client.answer(call["call_id"])
        client.until("conversation.item.done")
        assert owed.tool_debts() == ["weather: 0 response.create after it"]
        assert owed.tool_debts(endings=frozenset({"weather"})) == []
        client.respond()
        assert owed.tool_debts() == []
        client.respond()
        assert owed.tool_debts() == ["weather: 2 response.create after it"]
        client.answer(call["call_id"])
        assert client.until("error")["error"]["code"] == "invalid_value"
        assert f"weather ({call['call_id']}) was answered 2 times" in owed.tool_debts()
        assert client.session.offences


@pytest.mark.parametrize(
    "item",
    [
        {"type": "message", "role": "assistant", "content": [{"type": "input_text", "text": "x"}]},
        {"type": "message", "role": "user", "content": [{"type": "output_text", "text": "x"}]},
        {"type": "thought", "text": "x"},
        {"type": "function_call_output", "call_id": "call_of_nobody", "output": "x"},
    ],
    ids=lambda item: item["type"],
)
def test_items_of_unknown_shape_are_errors(item: dict[str, Any]):
    with talking(Behaviour()) as (_, client):
        client.item(**item)
        assert client.until("error")["error"]["code"] in ("invalid_value", "invalid_tool_call_id")
        assert client.session.offences


def test_two_responses_at_once_are_refused_and_counted():
    with talking(Behaviour(reply_ms=2000, pace=4.0)) as (_, client):
        client.send("response.create")
        client.until("response.created")
        client.send("response.create", event_id="mine")
        error = client.until("error")["error"]
        assert (error["code"], error["event_id"]) == ("conversation_already_has_active_response", "mine")
        client.until("response.done")
        assert client.session.conversation.collisions == 1
        assert "conversation_already_has_active_response" in client.session.offences[0]
        assert client.respond()["status"] == "completed"


def test_a_response_in_the_making_is_interrupted_by_the_caller_or_cancelled():
    with talking(Behaviour(reply_ms=20_000, pace=2.0)) as (_, client):
        client.send("response.create")
        client.until("response.output_audio.delta")
        client.speak()
        first = client.until("response.done")["response"]
        assert (first["status"], first["status_details"]["reason"]) == ("cancelled", "turn_detected")
        for _ in range(5):
            assert client.until("response.output_audio.delta")["response_id"] != first["id"]
        client.send("response.cancel")
        second = client.until("response.done")["response"]
        assert second["status_details"]["reason"] == "client_cancelled"
        client.send("response.cancel")
        assert client.until("error")["error"]["code"] == "response_cancel_not_active"


def test_the_recited_past_is_kept_and_nobody_is_greeted():
    past = [
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello."}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "The weather?"}]},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
    ]
    with talking(Behaviour(numbers_replies=True)) as (_, client):
        for item in past:
            client.item(**item)
            client.until("conversation.item.done")
        client.respond()
        client.item(type="message", role="user", content=[{"type": "input_text", "text": "Key 5"}])
        client.respond()
        kept = client.session.conversation
        assert kept.history == [
            ("assistant", "Hello."),
            ("user", "The weather?"),
            ("function_call", "weather {}"),
            ("function_call_output", "sunny"),
        ]
        assert kept.lines[4:] == [
            ("assistant", "reply 1 of session 0"),
            ("user", "Key 5"),
            ("assistant", "reply 2 of session 0"),
        ]
        assert kept.recited == [*kept.history, ("user", "Key 5")]
        assert not kept.greeted
        assert client.session.offences == []
        assert kept.tool_debts() == []


def test_a_response_to_nothing_is_a_greeting():
    with talking(Behaviour()) as (_, client):
        client.respond()
        assert client.session.conversation.greeted


def test_a_session_says_when_it_expires_and_does():
    with talking(Behaviour(expires_after_s=1.5)) as (_, client):
        expires_at = client.heard[0]["session"]["expires_at"]
        assert expires_at == client.session.expires_at
        assert abs(expires_at - time.time()) < 30
        assert client.until("error")["error"]["code"] == "session_expired"
        with pytest.raises(ConnectionClosed) as closed:
            client.socket.recv(timeout=30)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001


def test_a_minute_costs_what_a_test_says():
    with talking(Behaviour(usage=billing(usd_per_minute=0.5, usd_per_million=64.0))) as (_, client):
        began, tokens = time.monotonic(), 0
        for _ in range(3):
            time.sleep(0.4)
            tokens += client.respond()["usage"]["output_token_details"]["audio_tokens"]
        cost, minutes = tokens * 64 / 1e6, (time.monotonic() - began) / 60
        assert 0.5 * 1.2 / 60 * 0.9 < cost <= 0.5 * (minutes + 0.01)


def test_functions_may_be_refused():
    with talking(Behaviour(refuses_tools=True)) as (_, client):
        client.update(tools=[WEATHER])
        error = client.until("error")["error"]
        assert error["param"] == "session.tools"
        client.update()
        client.until("session.updated")
        assert client.session.offences == []

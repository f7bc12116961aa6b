"""A Realtime server of the tests' own for sessions in writing; all is held against ``openai``'s types."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from tests.contracts.engine_events import server_event
from tests.fake_turns import Uses
from tests.fakes import offences, tone

USAGE = {"total_tokens": 30, "input_tokens": 10, "output_tokens": 20}
HEARD = "conversation.item.input_audio_transcription."


@dataclass
class Plan:
    """What a session does; the defaults are a good one."""

    words: str | None = "when are you open"  # None: no transcription comes
    words_after_s: float = 0.0
    words_fail: bool = False
    replies: list[str | Uses] = field(default_factory=lambda: ["From **nine** to five."])
    reply_after_s: float = 0.0
    status: str = "completed"
    refuses_updates: int = 0
    refuses_tools: bool = False
    refuses_history: bool = False
    error_on_commit: str = ""
    closes_on: str = ""
    silent_on: str = ""
    garbage_on: str = ""
    handshake: int = 101
    speech: bytes = tone(500, seed=3)


class TextSessions:
    """The server; ``events`` is all it was told, ``audio`` what it heard, in the last session."""

    def __init__(self) -> None:
        self.plan = Plan()
        self.sessions = 0
        self.events: list[dict[str, Any]] = []
        self.offences: list[str] = []
        self.headers: dict[str, str] = {}
        self.audio = b""
        self.open = 0
        self._server: Any = None

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.socket.getsockname()[1]}"

    def of_type(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == name]

    @contextmanager
    def running(self) -> Iterator[TextSessions]:
        with serve(self._converse, "127.0.0.1", 0, process_request=self._answer, compression=None) as server:
            self._server = server
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            yield self
            server.shutdown()
            thread.join(10)

    def _answer(self, connection: ServerConnection, request: Any) -> Any:
        self.headers = {name.lower(): value for name, value in request.headers.raw_items()}
        if self.plan.handshake == 101:
            return None
        return connection.respond(HTTPStatus(self.plan.handshake), "no\n")

    def _converse(self, connection: ServerConnection) -> None:
        self.sessions += 1
        self.open += 1
        self.events, self.audio = [], b""
        session = _Session(connection, self)
        session.send("session.created", session={"type": "realtime"})
        try:
            for message in connection:
                event = json.loads(message)
                self.events.append(event)
                self.offences += offences(event)
                if len(message) > 70_000:
                    self.offences.append(f"{event['type']} of {len(message)} characters")
                session.take(event)
        except ConnectionClosed:
            pass
        finally:
            self.open -= 1


class _Session:
    """One connection's answers, each held against the typed events before it is sent."""

    def __init__(self, connection: ServerConnection, server: TextSessions) -> None:
        self._connection, self._server, self._plan = connection, server, server.plan
        self._session: dict[str, Any] = {}
        self._responses = 0

    def send(self, kind: str, **fields: Any) -> None:
        event = {"type": kind, "event_id": "e", **fields}
        server_event.validate_python(event)
        self._connection.send(json.dumps(event))

    def take(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind == self._plan.closes_on:
            self._connection.close(1011)
        elif kind == self._plan.garbage_on:
            self._connection.send("{garbage")
        elif kind != self._plan.silent_on:
            getattr(self, "_" + kind.replace(".", "_"))(event)

    def _session_update(self, event: dict[str, Any]) -> None:
        if self._plan.refuses_updates or (self._plan.refuses_tools and event["session"].get("tools")):
            self._plan.refuses_updates = max(self._plan.refuses_updates - 1, 0)
            self._error("unknown_model", event)
            return
        self._session = event["session"]
        self.send("session.updated", session=event["session"])

    def _conversation_item_create(self, event: dict[str, Any]) -> None:
        if self._plan.refuses_history:
            self._error("item_create_invalid", event)

    def _input_audio_buffer_append(self, event: dict[str, Any]) -> None:
        self._server.audio += base64.b64decode(event["audio"], validate=True)

    def _input_audio_buffer_commit(self, event: dict[str, Any]) -> None:
        if self._plan.error_on_commit:
            self._error(self._plan.error_on_commit, event)
            return
        self.send("input_audio_buffer.committed", item_id="item_u", previous_item_id=None)
        if self._session["audio"]["input"].get("transcription") and not self._plan.words_after_s:
            self._transcribe()

    def _transcribe(self) -> None:
        about = {"item_id": "item_u", "content_index": 0}
        if self._plan.words_fail:
            self.send(HEARD + "failed", **about, error={"code": "too_noisy", "message": "no"})
        elif self._plan.words is not None:
            self.send(HEARD + "delta", **about, delta=self._plan.words[:3])
            usage = {"type": "duration", "seconds": 2.0}
            self.send(HEARD + "completed", **about, transcript=self._plan.words, usage=usage)

    def _response_create(self, event: dict[str, Any]) -> None:
        time.sleep(self._plan.reply_after_s)
        said = self._plan.replies[min(self._responses, len(self._plan.replies) - 1)]
        text = said if isinstance(said, str) else said.saying
        self._responses += 1
        response, status = f"resp_{self._responses}", self._plan.status
        self.send("response.created", response={"id": response, "status": "in_progress"})
        at = {"response_id": response, "item_id": "item_a", "output_index": 0, "content_index": 0}
        if self._session["output_modalities"] == ["text"]:
            self.send("response.output_text.delta", **at, delta=text[:4])
            self.send("response.output_text.done", **at, text=text)
        else:
            for start in range(0, len(self._plan.speech), 1600):
                piece = base64.b64encode(self._plan.speech[start : start + 1600]).decode()
                self.send("response.output_audio.delta", **at, delta=piece)
        if isinstance(said, Uses) and event.get("response", {}).get("tool_choice") != "none":
            self._call(response, said)
        details = {"type": status, "error": {"type": "server_error", "code": "rate_limit_exceeded"}}
        done = {"id": response, "status": status, "output": [], "usage": USAGE}
        failed = {"status_details": details} if status != "completed" else {}
        self.send("response.done", response={**done, **failed})
        if self._plan.words_after_s:
            time.sleep(self._plan.words_after_s)
            self._transcribe()

    def _call(self, response: str, said: Uses) -> None:
        for at, (name, arguments) in enumerate(said.calls, 1):
            call = {"id": f"item_{response}_{at}", "call_id": f"call_{response}_{at}", "name": name}
            item = {"type": "function_call", "status": "completed", "arguments": arguments, **call}
            about = {"response_id": response, "item_id": call["id"], "output_index": at}
            arguments_done = {**about, "call_id": call["call_id"], "name": name, "arguments": arguments}
            self.send("response.function_call_arguments.done", **arguments_done)
            self.send("response.output_item.done", response_id=response, output_index=at, item=item)

    def _error(self, code: str, event: dict[str, Any]) -> None:
        error = {"type": "invalid_request_error", "code": code, "message": "no", "param": None}
        self.send("error", error={**error, "event_id": event.get("event_id")})

"""A Realtime server of the tests' own: speaks the wire, checks every word it is told, does as a test says.

It shares nothing with the app. What it receives is held against the ``openai``
package's typed models, and a field that those do not know is an offence; what
it sends is built from the same models.
"""

from __future__ import annotations

import asyncio
import base64
import http
import itertools
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from openai.types.realtime import RealtimeClientEvent
from pydantic import BaseModel, TypeAdapter, ValidationError
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.behaviour import BYTES_PER_MS, Behaviour, Vad

_client_event: TypeAdapter[Any] = TypeAdapter(RealtimeClientEvent)
_numbers = itertools.count(1)


def offences(event: dict[str, Any]) -> list[str]:
    """What the typed models do not allow about a client event: wrong shapes, unknown fields."""
    try:
        parsed = _client_event.validate_python(event)
    except ValidationError as error:
        return [f"{event.get('type')}: {each['loc']} {each['msg']}" for each in error.errors()]
    return [f"{event['type']}: unknown field {name}" for name in _unknown(parsed)]


def _unknown(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, BaseModel):
        yield from (f"{path}{name}" for name in value.model_extra or {})
        for name in type(value).model_fields:
            yield from _unknown(getattr(value, name), f"{path}{name}.")
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _unknown(each, path)


def tone(ms: int, period: int = 8, seed: int = 0) -> bytes:
    """Audible mu-law: never silence, and different for every seed."""
    high, low = 0x80 + (seed * 7) % 0x40, (seed * 7) % 0x40
    pattern = bytes([high] * (period // 2) + [low] * (period // 2))
    return (pattern * (ms * BYTES_PER_MS // period + 1))[: ms * BYTES_PER_MS]


@dataclass
class Session:
    """One connection and all that was said on it."""

    number: int
    headers: dict[str, str]
    path: str
    send: Callable[[dict[str, Any]], None]
    close: Callable[[int], None]
    send_raw: Callable[[str], None]
    events: list[dict[str, Any]] = field(default_factory=list)
    offences: list[str] = field(default_factory=list)
    audio: bytearray = field(default_factory=bytearray)
    arrivals: list[tuple[float, int]] = field(default_factory=list)  # when, and how much audio there was then
    sent: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    session: dict[str, Any] = field(default_factory=dict)
    is_open: bool = True
    behaviour: Behaviour = field(default_factory=Behaviour)
    die: Callable[[], None] = lambda: None

    def of_type(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == name]

    def sent_of_type(self, name: str) -> list[tuple[float, dict[str, Any]]]:
        return [(at, event) for at, event in self.sent if event["type"] == name]

    # What a test makes it say -------------------------------------------------

    def speech_started(self, item: str = "", at_ms: int | None = None) -> str:
        item = item or f"item_u{next(_numbers)}"
        self.send(
            {
                "type": "input_audio_buffer.speech_started",
                "audio_start_ms": self.heard_ms if at_ms is None else at_ms,
                "item_id": item,
            }
        )
        return item

    def speech_stopped(self, item: str, words: str = "", at_ms: int | None = None) -> None:
        end_ms = self.heard_ms if at_ms is None else at_ms
        self.send({"type": "input_audio_buffer.speech_stopped", "audio_end_ms": end_ms, "item_id": item})
        self.send({"type": "input_audio_buffer.committed", "item_id": item, "previous_item_id": None})
        if words:
            self.transcribed(item, words)

    def transcribed(self, item: str, words: str) -> None:
        self.send(
            {
                "type": "conversation.item.input_audio_transcription.completed",
                "item_id": item,
                "content_index": 0,
                "transcript": words,
                "usage": {"type": "duration", "seconds": 1.0},
            }
        )

    @property
    def heard_ms(self) -> int:
        return len(self.audio) // BYTES_PER_MS


class FakeRealtime:
    """A server on loopback, in a thread of its own.

    Attributes:
        behaviour: how it acts.
        script: how it acts towards the next connections, one each, before that.
    """

    def __init__(self, behaviour: Behaviour | None = None, port: int = 0) -> None:
        self.behaviour = behaviour or Behaviour()
        self.script: deque[Behaviour] = deque()
        self.sessions: list[Session] = []
        self.refused = self.hung = 0
        self._own: dict[ServerConnection, Behaviour] = {}
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @contextmanager
    def running(self) -> Iterator[FakeRealtime]:
        self._thread.start()
        assert self._ready.wait(10)
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(10)

    def wait_for(self, condition: Callable[[FakeRealtime], Any], within_s: float = 20.0) -> Any:
        """Wait until something is true of this server, and return it."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if found := condition(self):
                return found
            time.sleep(0.005)
        raise AssertionError(f"not within {within_s} s; sessions: {[s.events[-3:] for s in self.sessions]}")

    def say(self, session: Session, audio: bytes, text: str = "All right.", finish: bool = True) -> str:
        """A whole reply, as fast as the line takes it; the item's id."""
        return self._start_reply(session, audio, text, finish)

    # ------------------------------------------------------------------ the server

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._stopped = asyncio.Event()
        async with serve(
            self._converse,
            "127.0.0.1",
            self._port,
            process_request=self._answer,
            compression=None,
            max_size=1 << 24,
        ) as server:
            self._port = server.sockets[0].getsockname()[1]
            self._ready.set()
            await self._stopped.wait()

    async def _answer(self, connection: ServerConnection, request: Any) -> Any:
        behaviour = self._own[connection] = self.script.popleft() if self.script else self.behaviour
        if behaviour.hangs:
            self.hung += 1
            await self._stopped.wait()
        if behaviour.handshake_status == 101:
            return None
        self.refused += 1
        response = connection.respond(http.HTTPStatus(behaviour.handshake_status), "no\n")
        if behaviour.retry_after:
            response.headers["Retry-After"] = behaviour.retry_after
        return response

    async def _converse(self, connection: ServerConnection) -> None:
        session = self._session(connection)
        session.behaviour = behaviour = self._own.pop(connection)
        session.die = lambda: self._loop.call_soon_threadsafe(connection.transport.abort)
        self.sessions.append(session)
        session.send(
            {"type": "session.created", "session": {"type": "realtime", "object": "realtime.session"}}
        )
        if behaviour.closes_after_s is not None:
            self._loop.call_later(behaviour.closes_after_s, session.close, behaviour.closes_with)
        if behaviour.expires_after_s is not None:
            self._loop.call_later(behaviour.expires_after_s, _expire, session)
        vad = Vad(behaviour)
        try:
            async for message in connection:
                self._take(session, vad, message)
        except ConnectionClosed:
            pass
        finally:
            session.is_open = False

    def _session(self, connection: ServerConnection) -> Session:
        outbox: asyncio.Queue[str] = asyncio.Queue()

        async def write() -> None:
            try:
                while True:
                    await connection.send(await outbox.get())
            except ConnectionClosed:
                pass

        writer = self._loop.create_task(write())
        connection_task = asyncio.current_task()
        assert connection_task is not None
        connection_task.add_done_callback(lambda _: writer.cancel())

        def send(event: dict[str, Any]) -> None:
            event.setdefault("event_id", f"event_{next(_numbers)}")
            session.sent.append((time.monotonic(), event))
            send_raw(json.dumps(event))

        def send_raw(message: str) -> None:
            self._loop.call_soon_threadsafe(outbox.put_nowait, message)

        def close(code: int) -> None:
            self._loop.call_soon_threadsafe(lambda: self._loop.create_task(connection.close(code)))

        request = connection.request
        assert request is not None
        headers = {name.lower(): value for name, value in request.headers.raw_items()}
        session = Session(len(self.sessions), headers, request.path, send, close, send_raw)
        return session

    def _take(self, session: Session, vad: Vad, message: str | bytes) -> None:
        if isinstance(message, bytes):
            session.offences.append("a binary message")
            return
        event = json.loads(message)
        session.offences += offences(event)
        session.events.append(event)
        if event["type"] == "input_audio_buffer.append":
            self._hear(session, vad, base64.b64decode(event["audio"], validate=True))
        elif event["type"] == "session.update":
            self._update(session, event)
        elif event["type"] == "response.create":
            self._reply(session)
        elif event["type"] == "input_audio_buffer.commit" and vad.item:
            session.speech_stopped(vad.item, "cut off")
            vad.item = ""

    def _update(self, session: Session, event: dict[str, Any]) -> None:
        behaviour = session.behaviour
        if behaviour.refuses_updates:
            behaviour.refuses_updates -= 1
            error = {
                "type": "invalid_request_error",
                "code": "unknown_parameter",
                "message": "no such parameter",
                "param": "session.audio.input.transcription.model",
                "event_id": event.get("event_id"),
            }
            session.send({"type": "error", "error": error})
        elif behaviour.updates:
            session.session = echoed = json.loads(json.dumps(event["session"]))
            turns = echoed["audio"]["input"].setdefault("turn_detection", {"type": "server_vad"})
            turns["silence_duration_ms"] = behaviour.silence_ms
            if behaviour.echoed_format:
                echoed["audio"]["input"]["format"] = {"type": behaviour.echoed_format}
            session.send({"type": "session.updated", "session": echoed})
            for message in behaviour.says_first:
                session.send_raw(message)

    def _hear(self, session: Session, vad: Vad, audio: bytes) -> None:
        session.audio += audio
        session.arrivals.append((time.monotonic(), len(session.audio)))
        if session.behaviour.echoes:
            session.send(_delta("resp_echo", "item_echo", audio))
        elif session.behaviour.hears:
            began, ended = vad.hear(audio, session.heard_ms)
            if began:
                vad.item = session.speech_started(at_ms=vad.began_ms)
            elif ended:
                item, vad.item = vad.item, ""
                session.speech_stopped(item, f"words of {item}", at_ms=vad.ended_ms)
                self._reply(session)

    def _reply(self, session: Session) -> None:
        behaviour = session.behaviour
        if behaviour.stalls or behaviour.stalls_after == 0:
            return
        if behaviour.stalls_after is not None:
            behaviour.stalls_after -= 1
        if behaviour.fails_replies:
            behaviour.fails_replies -= 1
            response = f"resp_{next(_numbers)}"
            session.send({"type": "response.created", "response": {"id": response, "status": "in_progress"}})
            details = {"type": "failed", "error": {"type": "server_error", "code": "rate_limit_exceeded"}}
            done = {"id": response, "status": "failed", "status_details": details, "output": []}
            session.send({"type": "response.done", "response": done})
            return
        audio = tone(behaviour.reply_ms, seed=session.number)
        if behaviour.dies_after_ms is not None:
            self._start_reply(session, audio[: behaviour.dies_after_ms * BYTES_PER_MS], "a reply that", False)
            self._loop.call_later(0.2, session.die)
            return
        self._start_reply(session, audio, f"reply of session {session.number}", True)

    def _start_reply(self, session: Session, audio: bytes, text: str, finish: bool) -> str:
        number = next(_numbers)
        response, item = f"resp_{number}", f"item_a{number}"
        at = {"response_id": response, "item_id": item, "output_index": 0, "content_index": 0}
        send = session.send
        send({"type": "response.created", "response": {"id": response, "status": "in_progress"}})
        send({"type": "response.output_audio_transcript.delta", **at, "delta": text})
        step = session.behaviour.delta_ms * BYTES_PER_MS
        for start in range(0, len(audio), step):
            send(_delta(response, item, audio[start : start + step]))
        if finish:
            send({"type": "response.output_audio.done", **at})
            send({"type": "response.output_audio_transcript.done", **at, "transcript": text})
            usage = {
                "total_tokens": 30,
                "input_tokens": 10,
                "output_tokens": 20,
                "input_token_details": {"text_tokens": 4, "audio_tokens": 6, "cached_tokens": 0},
                "output_token_details": {"text_tokens": 5, "audio_tokens": 15},
            }
            done = {"id": response, "status": "completed", "output": [], "usage": usage}
            send({"type": "response.done", "response": done})
        return item


def _expire(session: Session) -> None:
    error = {"type": "invalid_request_error", "code": "session_expired", "message": "sixty minutes are over"}
    session.send({"type": "error", "error": error})
    session.close(1001)


def _delta(response: str, item: str, audio: bytes) -> dict[str, Any]:
    return {
        "type": "response.output_audio.delta",
        "response_id": response,
        "item_id": item,
        "output_index": 0,
        "content_index": 0,
        "delta": base64.b64encode(audio).decode(),
    }

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
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.behaviour import BYTES_PER_MS, SILENT, Behaviour, ToolUse, Turn, Usage, Vad, billing
from tests.fake_conversation import Conversation
from tests.fake_replies import Meter, Response, delta, tone
from tests.fake_session import Session, offences
from tests.fake_sound import is_wide, narrowed, widened

__all__ = [
    "SILENT",
    "Behaviour",
    "Conversation",
    "FakeRealtime",
    "Session",
    "ToolUse",
    "Turn",
    "Usage",
    "billing",
    "offences",
    "tone",
]

_numbers = itertools.count(1)


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
        return self._give(session, self._response(session, audio, text), finish)

    def reply(self, session: Session, turn: Turn) -> str:
        """A reply as scripted, of a test's own accord; the id of what it says."""
        return self._give(session, self._scripted(session, turn))

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
        session.die = lambda: self._loop.call_soon_threadsafe(connection.transport.abort)
        behaviour = session.behaviour
        self.sessions.append(session)
        created = {"type": "realtime", "object": "realtime.session", "id": f"sess_{session.number}"}
        if behaviour.expires_after_s is not None:
            session.expires_at = int(time.time() + behaviour.expires_after_s)
            created |= {"expires_at": session.expires_at}
        session.send({"type": "session.created", "session": created})
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
            event = widened(event) if is_wide(session.session, "output") else event
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
        session.behaviour = behaviour = self._own.pop(connection)
        session.turns, session.creates = deque(behaviour.turns), deque(behaviour.creates)
        session.meter = Meter(behaviour.usage)
        return session

    def _take(self, session: Session, vad: Vad, message: str | bytes) -> None:
        if isinstance(message, bytes):
            session.offences.append("a binary message")
            return
        event = json.loads(message)
        wrong = offences(event)
        session.offences += wrong
        session.events.append(event)
        if event["type"] == "input_audio_buffer.append":
            self._hear(session, vad, base64.b64decode(event["audio"], validate=True))
        elif event["type"] == "session.update":
            self._update(session, event)
        elif event["type"] == "conversation.item.create":
            self._create_item(session, event, wrong)
        elif event["type"] == "response.create":
            self._create_response(session, event)
        elif event["type"] == "response.cancel":
            self._cancel(session, event)
        elif event["type"] == "input_audio_buffer.commit" and vad.item:
            session.speech_stopped(vad.item, "cut off")
            vad.item = ""

    def _create_item(self, session: Session, event: dict[str, Any], wrong: list[str]) -> None:
        error = session.conversation.create(event.get("item") or {}, wrong)
        if error is not None:
            _refuse(session, event, error)
            return
        item = {"id": f"item_c{next(_numbers)}", "object": "realtime.item", "status": "completed"}
        told = {"item": item | event["item"], "previous_item_id": None}
        session.send({"type": "conversation.item.added", **told})
        session.send({"type": "conversation.item.done", **told})

    def _create_response(self, session: Session, event: dict[str, Any]) -> None:
        asked = event.get("response") or {}
        is_busy = session.active is not None and asked.get("conversation") != "none"
        error = session.conversation.create_response(asked.get("instructions") or "", is_busy)
        if error is not None:
            _refuse(session, event, error)
        else:
            self._reply(session, session.creates)

    def _cancel(self, session: Session, event: dict[str, Any]) -> None:
        if session.active is None:
            code = "response_cancel_not_active"
            _tell_error(session, event, {"code": code, "message": "no active response found", "param": None})
        else:
            self._interrupt(session, "client_cancelled")

    def _interrupt(self, session: Session, reason: str) -> None:
        """The active response ends; one that a test left unfinished is only forgotten."""
        response, session.active = session.active, None
        if response is not None and response.is_paced:
            details = {"type": "cancelled", "reason": reason}
            session.send(response.done("cancelled", session.meter.bill(), details))

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
        elif behaviour.refuses_tools and event["session"].get("tools"):
            refused = {"code": "unknown_parameter", "message": "no such parameter", "param": "session.tools"}
            _tell_error(session, event, refused)
        elif behaviour.updates:
            session.session = echoed = json.loads(json.dumps(event["session"]))
            turns = echoed["audio"]["input"].setdefault("turn_detection", {"type": "server_vad"})
            turns["silence_duration_ms"] = behaviour.silence_ms
            if behaviour.echoed_format:
                echoed["audio"]["input"]["format"] = {"type": behaviour.echoed_format}
            session.send({"type": "session.updated", "session": echoed})
            for message in behaviour.says_first:
                session.send_raw(message)

    def _hear(self, session: Session, vad: Vad, came: bytes) -> None:
        session.came += came
        audio = narrowed(came) if is_wide(session.session, "input") else came
        session.audio += audio
        session.arrivals.append((time.monotonic(), len(session.audio)))
        if session.behaviour.echoes and audio is not came:  # the very bytes
            session.send_raw(json.dumps(delta("resp_echo", "item_echo", came)))
        elif session.behaviour.echoes:
            session.send(delta("resp_echo", "item_echo", audio))
        elif session.behaviour.hears:
            began, ended = vad.hear(audio, session.heard_ms)
            if began:
                vad.item = session.speech_started(at_ms=vad.began_ms)
                self._interrupt(session, "turn_detected")
            elif ended:
                item, vad.item = vad.item, ""
                session.speech_stopped(item, f"words of {item}", at_ms=vad.ended_ms)
                if session.creates_responses:
                    self._reply(session, session.turns)

    def _reply(self, session: Session, script: deque[Turn]) -> None:
        behaviour = session.behaviour
        if behaviour.stalls or behaviour.stalls_after == 0:
            return
        if behaviour.stalls_after is not None:
            behaviour.stalls_after -= 1
        if behaviour.fails_replies:
            behaviour.fails_replies -= 1
            response = f"resp_failed{next(_numbers)}"
            session.send({"type": "response.created", "response": {"id": response, "status": "in_progress"}})
            details = {"type": "failed", "error": {"type": "server_error", "code": "rate_limit_exceeded"}}
            done = {"id": response, "status": "failed", "status_details": details, "output": []}
            session.send({"type": "response.done", "response": done})
            return
        turn = script.popleft() if script else Turn()
        if behaviour.dies_after_ms is not None:
            audio = self._scripted(session, turn).audio[: behaviour.dies_after_ms * BYTES_PER_MS]
            self._give(session, self._response(session, audio, "a reply that"), False)
            self._loop.call_later(0.2, session.die)
            return
        self._give(session, self._scripted(session, turn))

    def _scripted(self, session: Session, turn: Turn) -> Response:
        behaviour = session.behaviour
        session.replies += 1
        of = f"{session.replies} of session" if behaviour.numbers_replies else "of session"
        text = f"reply {of} {session.number}" if turn.says is None else turn.says
        ms = behaviour.reply_ms if turn.ms is None else turn.ms
        audio = tone(ms, seed=session.number) if text else b""
        return self._response(session, audio, text, turn)

    def _response(self, session: Session, audio: bytes, text: str, turn: Turn = Turn()) -> Response:  # noqa: B008
        return Response(audio, text, turn.calls, turn.calls_first, session.behaviour.delta_ms)

    def _give(self, session: Session, response: Response, finish: bool = True) -> str:
        """Says a response: at once, or in a task that takes the time a model takes."""
        session.active = response
        response.is_paced = finish and session.behaviour.pace > 0
        session.send(response.created())
        if response.is_paced:
            asyncio.run_coroutine_threadsafe(self._generate(session, response), self._loop)
            return response.item
        for _, event in response.steps(finish):
            _tell(session, response, event)
        if finish:
            _finish(session, response)
        return response.item

    async def _generate(self, session: Session, response: Response) -> None:
        for ms, event in response.steps():
            await asyncio.sleep(ms / 1000 / session.behaviour.pace)
            if session.active is not response:
                return  # it was interrupted
            _tell(session, response, event)
        _finish(session, response)


def _tell(session: Session, response: Response, event: dict[str, Any]) -> None:
    """One event of a response; what it says is in the conversation before anybody can answer it."""
    item = event.get("item") or {}
    if event["type"] == "response.output_audio_transcript.done" and event["transcript"]:
        session.conversation.said(event["transcript"])
    if event["type"] == "response.output_item.done" and item["type"] == "function_call":
        session.conversation.called(response.id, item["call_id"], ToolUse(item["name"], item["arguments"]))
    session.send(event)


def _finish(session: Session, response: Response) -> None:
    session.active = None
    session.send(response.done("completed", session.meter.bill()))


def _refuse(session: Session, event: dict[str, Any], error: dict[str, Any]) -> None:
    """An error that no client of ours should ever bring about."""
    session.offences.append(f"{event['type']}: {error['code']}: {error['message']}")
    _tell_error(session, event, error)


def _tell_error(session: Session, event: dict[str, Any], error: dict[str, Any]) -> None:
    told = {"type": "invalid_request_error", **error, "event_id": event.get("event_id")}
    session.send({"type": "error", "error": told})


def _expire(session: Session) -> None:
    error = {"type": "invalid_request_error", "code": "session_expired", "message": "sixty minutes are over"}
    session.send({"type": "error", "error": error})
    session.close(1001)

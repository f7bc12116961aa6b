"""A batch AI of the tests' own: OpenAI's plain HTTP endpoints, which check every request and obey a test.

It shares nothing with the app. Requests are held against the parameter types
of the ``openai`` package, answers are built from its models. One thread for
each connection; a test changes ``down``, ``faults`` or ``words`` while it runs.

    with FakeTurns().running() as fake:
        fake.words = ["hello", "goodbye"]           # of the 1st, the 2nd ... recording; the last one stays
        fake.faults = {"chat": [Fault(status=503)]} # the next request there, then all is well again
        fake.down = True                            # from now on every connection is closed at once
        assert fake.answers_per_recording() == {digest: 1}
"""

from __future__ import annotations

import http.server
import itertools
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from openai.types import CompletionUsage
from openai.types.audio import Transcription
from openai.types.chat import ChatCompletion

from flaskapp.phone.audio import write_wav
from tests.batch_requests import Request, offences, parsed

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Fault:
    """What one request gets instead of, or with, its answer.

    Attributes:
        status: an error in OpenAI's shape with this status and ``code``.
        retry_after, location: those headers' values.
        pause_s: waits so long first.
        hang: never answers; ends when the fake does.
        close: the connection ends without an answer, ``reset`` with a RST.
        body: sent as it is, as JSON unless ``content_type`` says otherwise.
        drip_s: the answer comes byte by byte, one each so many seconds.
        half: the connection ends in the middle of the answer.
    """

    status: int = 200
    code: str | None = None
    param: str | None = None
    retry_after: str = ""
    location: str = ""
    pause_s: float = 0.0
    hang: bool = False
    close: bool = False
    reset: bool = False
    body: bytes | None = None
    content_type: str = "application/json"
    drip_s: float = 0.0
    half: bool = False


@dataclass(frozen=True)
class Uses:
    """A chat model's answer that asks for tools: their names and arguments as JSON text."""

    calls: tuple[tuple[str, str], ...]
    saying: str = ""


class FakeTurns:
    """The server. ``base_url`` is what a client is given.

    Attributes:
        words: what is heard, by recording in the order of their first coming; the last one for all others.
        heard: a function of a WAV file instead, where a test wants one.
        answers: what the chat model says, in turn, the last one for all others; or by the messages.
            ``Uses`` asks for tools; a request with ``tool_choice`` "none" gets only its words.
        untaken: fields of a chat request that are answered 400.
        faults: by kind ("transcribe", "chat", "speech", "models"), one for each of the next requests.
        always: by kind, a fault for every request once ``faults`` are used up.
        down: every connection is closed as soon as it is made, and those that are open end.
        unavailable: every request is answered 503.
        realtime: the origin of a fake that speaks the Realtime API: its sockets are reached by this one's
            address too, as an app expects it; empty refuses them with 404.
        requests: all that came, in order.
        offences: what the ``openai`` types do not allow about them; a test wants none.
    """

    def __init__(self, port: int = 0, api_key: str = "") -> None:
        self.words: list[str] = ["what are your opening hours"]
        self.heard: Callable[[bytes], str] | None = None
        self.answers: list[str | Uses] | Callable[[list[dict[str, Any]]], str | Uses] = [
            "We are open from nine to five."
        ]
        self.untaken: set[str] = set()
        self.sound = write_wav(b"\x10\x27\xf0\xd8" * 6000, 24000)
        self.faults: dict[str, list[Fault]] = {}
        self.always: dict[str, Fault] = {}
        self.unavailable = False
        self.realtime = ""
        self.requests: list[Request] = []
        self.offences: list[str] = []
        self.connections = 0
        self._down = False
        self._api_key, self._port = api_key, port
        self._lock = threading.Lock()
        self._order: dict[str, int] = {}
        self._answered: Counter[str] = Counter()
        self._said = 0
        self._open: set[socket.socket] = set()
        self._over = threading.Event()

    # ------------------------------------------------------------------ what a test asks

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def base_url(self) -> str:
        return f"{self.origin}/v1"

    @property
    def down(self) -> bool:
        return self._down

    @down.setter
    def down(self, is_down: bool) -> None:
        self._down = is_down
        if is_down:
            with self._lock:
                connections = list(self._open)
            for each in connections:
                _reset(each)

    def of_kind(self, kind: str) -> list[Request]:
        return [each for each in self.requests if each.kind == kind]

    def answers_per_recording(self) -> dict[str, int]:
        """How often each recording was transcribed with success, by ``Request.digest``."""
        with self._lock:
            return dict(self._answered)

    def wait_for(self, condition: Callable[[FakeTurns], Any], within_s: float = 20.0) -> Any:
        """Wait until something is true of this server, and return it."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if found := condition(self):
                return found
            time.sleep(0.005)
        raise AssertionError(f"not within {within_s} s; requests: {[each.kind for each in self.requests]}")

    @contextmanager
    def running(self) -> Iterator[FakeTurns]:
        server = _Server(self, self._port)
        self._port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            server.shutdown()
            server.server_close()
            thread.join(10)

    # ------------------------------------------------------------------ the server

    def opened(self, connection: socket.socket) -> bool:
        """Note a connection; False if it is to be closed at once."""
        with self._lock:
            self.connections += 1
            self._open.add(connection)
        return not self._down

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    def fault_for(self, kind: str) -> Fault:
        with self._lock:
            if self.unavailable:
                return Fault(status=503, code="server_unavailable")
            planned = self.faults.get(kind)
            return planned.pop(0) if planned else self.always.get(kind, Fault())

    def wait_out(self, seconds: float) -> bool:
        """Whether the fake ended meanwhile."""
        return self._over.wait(seconds)

    def note(self, request: Request) -> None:
        with self._lock:
            self.requests.append(request)
            self.offences += [f"{request.path}: {each}" for each in self._wrong_about(request)]

    def answer(self, request: Request) -> tuple[str, bytes]:
        """Content type and body of a good answer."""
        if request.kind == "models":
            return _as_json({"object": "list", "data": []})
        if request.kind == "transcribe":
            return _as_json(self._transcription(request))
        if request.kind == "chat":
            return _as_json(self._completion(request))
        return "audio/wav", self.sound

    def _transcription(self, request: Request) -> dict[str, Any]:
        with self._lock:
            place = self._order.setdefault(request.digest, len(self._order))
            self._answered[request.digest] += 1
        words = self.heard(request.file) if self.heard else self.words[min(place, len(self.words) - 1)]
        usage = {"type": "tokens", "input_tokens": 30, "output_tokens": 5, "total_tokens": 35}
        answer = {"text": words, "usage": {**usage, "input_token_details": {"audio_tokens": 30}}}
        Transcription.model_validate(answer)
        return answer

    def _completion(self, request: Request) -> dict[str, Any]:
        if callable(self.answers):
            said = self.answers(request.fields["messages"])
        else:
            with self._lock:
                said = self.answers[min(self._said, len(self.answers) - 1)]
                self._said += 1
        usage = CompletionUsage(prompt_tokens=40, completion_tokens=8, total_tokens=48).model_dump()
        message, finish = _message_of(said, request.fields)
        answer = {
            "id": f"chatcmpl-{next(_numbers)}",
            "object": "chat.completion",
            "created": 1,
            "model": request.fields.get("model", ""),
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": {name: value for name, value in usage.items() if value is not None},
        }
        ChatCompletion.model_validate(answer)
        return answer

    def _wrong_about(self, request: Request) -> Iterator[str]:
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._api_key and request.headers.get("api-key", bearer) != self._api_key:
            yield "wrong key"
        yield from offences(request)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, fake: FakeTurns, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.fake = fake

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gives up is nothing to tell."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def handle(self) -> None:
        fake = self.server.fake
        try:
            if fake.opened(self.connection):
                super().handle()
            else:
                _reset(self.connection)
        except (OSError, ValueError):
            pass  # the client left, or the fake went down
        finally:
            fake.closed(self.connection)

    def do_GET(self) -> None:
        if self.server.fake.realtime and "upgrade" in self.headers.get("Connection", "").lower():
            self._relay(self.server.fake.realtime)
        else:
            self._serve(b"")

    def do_POST(self) -> None:
        self._serve(self._body())

    def log_message(self, *_: Any) -> None:
        """Not on the test's terminal."""

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _serve(self, body: bytes) -> None:
        path = self.path.partition("?")[0]
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = parsed(path, headers, body)
        fake = self.server.fake
        fake.note(request)
        fault = fake.fault_for(request.kind)
        if fault.hang:
            fake.wait_out(3600.0)
        if fault.hang or (fault.pause_s and fake.wait_out(fault.pause_s)) or fault.close or fake.down:
            self.close_connection = True
            return
        if fault.reset:
            _reset(self.connection)
            return
        request.status = fault.status if request.kind else 404
        if fault == Fault() and request.kind == "chat" and fake.untaken & request.fields.keys():
            request.status = 400
        self._say(fault, request)

    def _relay(self, origin: str) -> None:
        """Bytes both ways, until either side ends."""
        self.close_connection = True
        host, _, port = origin.rpartition("/")[2].partition(":")
        with socket.create_connection((host, int(port)), 10) as other:
            other.settimeout(None)
            head = f"{self.requestline}\r\n{str(self.headers).strip()}\r\n\r\n"
            other.sendall(head.replace("\r\n", "\n").replace("\n", "\r\n").encode())
            back = threading.Thread(target=_pump, args=(other, self.connection), daemon=True)
            back.start()
            _pump(self.connection, other)
            back.join()

    def _say(self, fault: Fault, request: Request) -> None:
        if request.status >= 400:
            error = {"message": f"no: {request.fields}", "type": "error", "param": fault.param}
            kind, body = _as_json({"error": {**error, "code": fault.code}})
        elif fault.body is not None:
            kind, body = fault.content_type, fault.body
        else:
            kind, body = self.server.fake.answer(request)
        self.send_response(request.status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (("Retry-After", fault.retry_after), ("Location", fault.location)):
            if value:
                self.send_header(name, value)
        self.end_headers()
        if fault.half:
            body, self.close_connection = body[: len(body) // 2], True
        for piece in [bytes([each]) for each in body] if fault.drip_s else [body]:
            self.wfile.write(piece)
            if fault.drip_s and self.server.fake.wait_out(fault.drip_s):
                return


def _message_of(said: str | Uses, fields: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """A completion's message, and why it ended."""
    if isinstance(said, str):
        return {"role": "assistant", "content": said}, "stop"
    if fields.get("tool_choice") == "none" or not fields.get("tools"):
        return {"role": "assistant", "content": said.saying}, "stop"
    calls = [
        {
            "id": f"call_{next(_numbers)}",
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }
        for name, arguments in said.calls
    ]
    return {"role": "assistant", "content": said.saying or None, "tool_calls": calls}, "tool_calls"


def _as_json(value: Any) -> tuple[str, bytes]:
    return "application/json", json.dumps(value).encode()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def _reset(connection: socket.socket) -> None:
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass

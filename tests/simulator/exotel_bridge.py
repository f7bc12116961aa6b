"""A small application under Exotel's flow: a Voicebot that obeys each rule unless told not to, Passthrus."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from flaskapp.phone import audio
from flaskapp.simulator import sounds
from flaskapp.simulator.network import Network
from flaskapp.simulator.person import Script
from flaskapp.simulator.report import CallReport, Message
from flaskapp.simulator.spec import CallSpec
from tests.simulator.stage import SILENT

CHUNK = 3200
LEAD_S = 0.3
Answer = Callable[[dict[str, str]], int]


def pcm(seconds: float, hz: int, rate_hz: int) -> bytes:
    """A tone as this rate's PCM, padded to whole chunks."""
    made = audio.Wav(audio.mulaw_to_pcm16(sounds.tone(seconds, hz)), 8000).at(rate_hz)
    return made + bytes(-len(made) % CHUNK)


@dataclass
class Leg:
    """The application's end of one stream."""

    socket: web.WebSocketResponse
    headers: dict[str, str]
    query: dict[str, str]
    received: list[dict[str, Any]] = field(default_factory=list)
    stream_sid: str = ""
    rate_hz: int = 8000
    sequence: int = 0
    chunk: int = 0
    sent_bytes: int = 0
    plays_until: float = 0.0

    async def receive(self) -> dict[str, Any] | None:
        """The next message, None when the socket is closed."""
        message = await self.socket.receive()
        if message.type is not web.WSMsgType.TEXT:
            return None
        data: dict[str, Any] = json.loads(message.data)
        self.received.append(data)
        if data["event"] == "start":
            self.stream_sid = data.get("stream_sid") or data["streamSid"]
            layout = data["start"].get("media_format") or data["start"]["mediaFormat"]
            self.rate_hz = int(layout.get("sample_rate") or layout["sampleRate"])
        return data

    async def until(self, event: str) -> dict[str, Any]:
        """The next message of this kind."""
        while (message := await self.receive()) is not None:
            if message["event"] == event:
                return message
        raise AssertionError(f"the socket closed before any {event!r}")

    async def play(self, sound: bytes, chunk: int = CHUNK) -> None:
        """Sends audio in chunks, none more than 300 ms ahead of being heard."""
        loop = asyncio.get_running_loop()
        for at in range(0, len(sound), chunk):
            piece = sound[at : at + chunk]
            seconds = len(piece) / 2 / self.rate_hz
            wait = max(self.plays_until, loop.time()) + seconds - LEAD_S - loop.time()
            await asyncio.sleep(max(0.0, wait))
            self.plays_until = max(self.plays_until, loop.time()) + seconds
            await self.media(piece)

    async def media(self, piece: bytes, **more: Any) -> None:
        """One chunk, at once; ``more`` replaces what would be right."""
        self.chunk += 1
        timestamp = self.sent_bytes * 1000 // (2 * self.rate_hz)
        self.sent_bytes += len(piece)
        body = {"chunk": self.chunk, "timestamp": str(timestamp), "payload": base64.b64encode(piece).decode()}
        await self.send("media", media={**body, **more})

    async def send(self, event: str, **body: Any) -> None:
        self.sequence += 1
        ours = {"stream_sid": self.stream_sid, "sequence_number": self.sequence}
        await self.socket.send_str(json.dumps({"event": event, **ours, **body}))


Talk = Callable[[Leg], Awaitable[int | None]]


async def greeting(leg: Leg) -> int:
    """Greets, waits until it has been heard, and says that it is through."""
    await leg.until("start")
    await leg.play(pcm(0.4, 400, leg.rate_hz))
    await leg.send("mark", mark={"name": "heard"})
    await leg.until("mark")
    return 1000


class ExotelBridge:
    """Runs on a loopback port; ``talk`` gives the close code, ``answers`` a status for each question."""

    def __init__(self) -> None:
        self.legs: list[Leg] = []
        self.asked: list[web.Request] = []
        self.bodies: list[str] = []
        self.talk: Talk = greeting
        self.answers: dict[str, Answer] = {}
        self.refuse: list[int] = []  # statuses of the next handshakes, before any stands
        self.refused = 0
        self.dynamic: Any = None
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> ExotelBridge:
        app = web.Application()
        app.router.add_get("/exotel", self._stream)
        app.router.add_get("/stream-url", self._stream_url)
        app.router.add_route("*", "/exotel/passthru", self._passthru)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    @property
    def questions(self) -> list[str]:
        return [request.query["ask"] for request in self.asked]

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if self.refuse:
            self.refused += 1
            return web.Response(status=self.refuse.pop(0))
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        leg = Leg(socket, dict(request.headers), dict(request.query))
        self.legs.append(leg)
        code: int | None = None
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            code = await self.talk(leg)
        if code == 1006:
            assert request.transport is not None
            request.transport.abort()
        else:
            await socket.close(code=code or 1000)
        return socket

    async def _stream_url(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        return web.json_response(self.dynamic)

    async def _passthru(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        self.bodies.append(await request.text())
        question = request.query["ask"]
        default = 200 if question == "over" else 302
        answer = self.answers.get(question, lambda _: default)
        return web.Response(status=answer(dict(request.query)))


@dataclass
class ExotelStage:
    """``call`` places one call to the bridge."""

    bridge: ExotelBridge
    network: Network
    messages: list[Message] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    async def call(self, script: Script = SILENT, seconds: float = 20.0, **more: Any) -> CallReport:
        watching = {"watch": self.messages.append, "on_event": self.events.append}
        spec = CallSpec(
            script=script, seconds=seconds, carrier="exotel", **watching, **{"url": self.bridge.url, **more}
        )
        return await self.network.place_call(spec)


@asynccontextmanager
async def exotel_stage() -> AsyncIterator[ExotelStage]:
    """A bridge and a network that calls it."""
    async with ExotelBridge() as bridge, Network() as network:
        yield ExotelStage(bridge, network)


def told(report: CallReport, number: int = -1) -> tuple[str, str]:
    """(Stream[Status], Stream[DisconnectedBy]) of one Passthru."""
    parameters = report.webhooks[number].parameters
    return parameters["Stream[Status]"], parameters["Stream[DisconnectedBy]"]


def payloads(leg: Leg) -> list[bytes]:
    """What the caller said, message by message."""
    return [base64.b64decode(m["media"]["payload"]) for m in leg.received if m["event"] == "media"]


async def until_stop(leg: Leg) -> None:
    """Listens until the stream ends, in whatever way."""
    while (message := await leg.receive()) is not None and message["event"] != "stop":
        pass

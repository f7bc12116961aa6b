"""A small application under test: answers TwiML, talks on media sockets, checks Twilio's signatures."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from twilio.request_validator import RequestValidator
from twilio.twiml.voice_response import Connect, Stream, VoiceResponse

from flaskapp.simulator.ear import is_voiced

Answer = Callable[["StubBridge", web.Request, dict[str, str]], str | web.Response]
Talk = Callable[["Leg"], Awaitable[None]]


@dataclass
class Hook:
    """One request that arrived, and whether Twilio's library accepts its signature."""

    path: str
    form: dict[str, str]
    headers: dict[str, str]
    signed: bool


@dataclass
class Leg:
    """The application's end of one media socket."""

    socket: web.WebSocketResponse
    received: list[dict[str, Any]] = field(default_factory=list)
    stream_sid: str = ""
    call_sid: str = ""
    parameters: dict[str, str] = field(default_factory=dict)

    async def receive(self) -> dict[str, Any] | None:
        """The next message, None when the socket is closed."""
        message = await self.socket.receive()
        if message.type is not web.WSMsgType.TEXT:
            return None
        data: dict[str, Any] = json.loads(message.data)
        self.received.append(data)
        if data["event"] == "start":
            self.stream_sid, self.call_sid = data["streamSid"], data["start"]["callSid"]
            self.parameters = data["start"]["customParameters"]
        return data

    async def until(self, event: str) -> dict[str, Any]:
        """The next message of this kind."""
        while (message := await self.receive()) is not None:
            if message["event"] == event:
                return message
        raise AssertionError(f"the socket closed before any {event!r}")

    async def play(self, audio: bytes) -> None:
        await self.send("media", media={"payload": base64.b64encode(audio).decode()})

    async def mark(self, name: str) -> None:
        await self.send("mark", mark={"name": name})

    async def clear(self) -> None:
        await self.send("clear")

    async def send(self, event: str, **body: Any) -> None:
        await self.socket.send_str(json.dumps({"event": event, "streamSid": self.stream_sid, **body}))


class StubBridge:
    """Runs on a loopback port; tests say what each path answers and how the socket talks."""

    def __init__(self, auth_token: str, public: str = "") -> None:
        self.validator = RequestValidator(auth_token)
        self.public = public
        self.hooks: list[Hook] = []
        self.handshakes: list[bool] = []
        self.legs: list[Leg] = []
        self.answers: dict[str, Answer] = {}
        self.talk: Talk = echo
        self.files: dict[str, bytes] = {}
        self.url = ""
        self._runner: web.AppRunner | None = None

    def paths(self) -> list[str]:
        return [hook.path for hook in self.hooks]

    @property
    def origin(self) -> str:
        return self.public or self.url

    @property
    def stream_url(self) -> str:
        return self.origin.replace("http", "ws", 1) + "/media"

    async def __aenter__(self) -> StubBridge:
        app = web.Application()
        app.router.add_get("/media", self._media)
        app.router.add_get("/files/{name}", self._file)
        app.router.add_route("*", "/{path:.*}", self._hook)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _hook(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        signature = request.headers.get("X-Twilio-Signature", "")
        signed = self.validator.validate(self.origin + request.path_qs, form, signature)
        self.hooks.append(Hook(request.path, form, dict(request.headers), signed))
        answer = self.answers.get(request.path)
        if answer is None:
            return web.Response(status=204)
        reply = answer(self, request, form)
        return reply if isinstance(reply, web.Response) else web.Response(text=reply, content_type="text/xml")

    async def _file(self, request: web.Request) -> web.Response:
        return web.Response(body=self.files[request.match_info["name"]], content_type="audio/wav")

    async def _media(self, request: web.Request) -> web.WebSocketResponse:
        signature = request.headers.get("X-Twilio-Signature", "")
        self.handshakes.append(self.validator.validate(self.stream_url, {}, signature))
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        leg = Leg(socket)
        self.legs.append(leg)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await self.talk(leg)
        await socket.close()
        return socket


async def echo(leg: Leg) -> None:
    """Sends every frame back as it came."""
    while (message := await leg.receive()) is not None:
        if message["event"] == "media":
            await leg.send("media", media={"payload": message["media"]["payload"]})
        if message["event"] == "stop":
            return


def conversation(greeting: bytes, reply: bytes, silent_frames: int = 15) -> Talk:
    """An agent that greets, and replies when the caller has been quiet for some frames after speaking."""

    async def talk(leg: Leg) -> None:
        await leg.until("start")
        await leg.play(greeting)
        quiet: int | None = None
        while (message := await leg.receive()) is not None and message["event"] != "stop":
            if message["event"] != "media":
                continue
            if is_voiced(base64.b64decode(message["media"]["payload"])):
                quiet = 0
            elif quiet is not None:
                quiet += 1
            if quiet == silent_frames:
                await leg.play(reply)
                quiet = None

    return talk


def streaming(bridge: StubBridge, _: web.Request, __: dict[str, str]) -> str:
    """TwiML by Twilio's own classes: a bidirectional stream with an action after it."""
    response, connect = VoiceResponse(), Connect(action=f"{bridge.origin}/after")
    stream = Stream(url=bridge.stream_url, status_callback=f"{bridge.origin}/stream-status")
    stream.parameter(name="ticket", value="once")
    connect.append(stream)
    response.append(connect)
    response.say("The stream has ended.")
    return str(response)


def hanging_up(_: StubBridge, __: web.Request, ___: dict[str, str]) -> str:
    """TwiML that ends the call."""
    response = VoiceResponse()
    response.hangup()
    return str(response)

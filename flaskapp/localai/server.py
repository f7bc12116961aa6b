"""The HTTP server: where its endpoints are, and the realtime socket's two ends."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from flaskapp.localai import chat, speech, transcriptions
from flaskapp.localai.ids import new_id
from flaskapp.localai.refusal import Refused
from flaskapp.localai.session import Desk, Session
from flaskapp.localai.workers import WorkerLost

log = logging.getLogger(__name__)

MODEL = "local-stand-in"
MOST_SESSIONS = 60
MOST_BYTES = 16 * 1024 * 1024  # of one message
_SPARE_BYTES = 64 * 1024  # of a request beside the file in it
_HEARTBEAT_S = 20.0
_BETA_SHAPE = 4000  # the close code by which OpenAI refuses clients of the beta


@dataclass(frozen=True)
class Switchboard:
    """The desk, and the sockets that are connected to it."""

    desk: Desk
    sockets: set[web.WebSocketResponse] = field(default_factory=set)


_SWITCHBOARD = web.AppKey("switchboard", Switchboard)


def create_server(desk: Desk) -> web.Application:
    """The application; whoever runs it owns the desk's workers."""
    app = web.Application(
        client_max_size=transcriptions.MOST_BYTES + _SPARE_BYTES, middlewares=[_tell_refusals]
    )
    app[_SWITCHBOARD] = Switchboard(desk)
    app.add_routes([web.get("/health", health), web.get("/v1/local/timings", recent_timings)])
    for root in ("/v1", "/openai/v1"):  # the latter is where Azure has them
        app.add_routes(
            [
                web.get(f"{root}/models", models),
                web.get(f"{root}/realtime", realtime),
                web.post(f"{root}/audio/transcriptions", _at_desk(transcriptions.create)),
                web.post(f"{root}/chat/completions", _at_desk(chat.create)),
                web.post(f"{root}/audio/speech", _at_desk(speech.create)),
            ]
        )
    app.on_shutdown.append(_say_goodbye)
    return app


def _at_desk(
    create: Callable[[web.Request, Desk], Awaitable[web.Response]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        return await create(request, request.app[_SWITCHBOARD].desk)

    return handle


@web.middleware
async def _tell_refusals(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Whatever is wrong, in the API's own shape."""
    try:
        return await handler(request)
    except Refused as error:
        return web.json_response(error.as_answer(), status=error.status)
    except WorkerLost as error:
        failure = {"message": str(error), "type": "server_error", "param": None, "code": None}
        return web.json_response({"error": failure}, status=500)
    except web.HTTPException as error:  # no such address, wrong method, too large
        if error.status < 400:
            raise
        refused = Refused(error.reason.lower().replace(" ", "_"), f"{error.reason}.", None, error.status)
        return web.json_response(refused.as_answer(), status=error.status)


async def health(request: web.Request) -> web.Response:
    return web.json_response(
        {
            "status": "ok",
            "sessions": len(request.app[_SWITCHBOARD].sockets),
            "stand_in": {"ears": "pocketsphinx", "voice": "espeak-ng", "mind": "scripted"},
        }
    )


async def models(_request: web.Request) -> web.Response:
    model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "answerline"}
    return web.json_response({"object": "list", "data": [model]})


async def recent_timings(request: web.Request) -> web.Response:
    """Not of OpenAI's API: ``now`` and the moments of recent turns, on the same clock."""
    turns = request.app[_SWITCHBOARD].desk.timings.as_json()
    return web.json_response({"now": time.monotonic(), "turns": turns})


async def realtime(request: web.Request) -> web.StreamResponse:
    """The realtime socket. Any credentials are accepted; any model's name is."""
    sockets = request.app[_SWITCHBOARD].sockets
    if len(sockets) >= MOST_SESSIONS:
        error = {"type": "requests", "code": "rate_limit_exceeded", "message": "Too many sessions."}
        return web.json_response({"error": error}, status=429)
    socket = web.WebSocketResponse(
        protocols=("realtime",), heartbeat=_HEARTBEAT_S, max_msg_size=MOST_BYTES, compress=False
    )
    await socket.prepare(request)
    sockets.add(socket)
    try:
        await _converse(request, socket)
    except ConnectionResetError:
        log.debug("a client left in the middle of an answer")
    except Exception:  # the session's edge: this one ends, the others go on
        log.exception("a session failed")
        await socket.close(code=WSCloseCode.INTERNAL_ERROR)
    finally:
        sockets.discard(socket)
    return socket


async def _converse(request: web.Request, socket: web.WebSocketResponse) -> None:
    async def send(event: dict[str, Any]) -> None:
        # aiohttp writes a whole message before it first waits, so that senders never interleave
        await socket.send_str(json.dumps({"event_id": new_id("event"), **event}, separators=(",", ":")))

    if "realtime=v1" in request.headers.get("OpenAI-Beta", ""):
        await send(
            Refused("beta_api_shape_disabled", "The Realtime beta API is gone; use GA.").as_event(None)
        )
        await socket.close(code=_BETA_SHAPE)
        return
    session = Session(request.query.get("model") or MODEL, request.app[_SWITCHBOARD].desk, send)
    log.info("session %s opened", session.id)
    try:
        await session.open()
        async for message in socket:
            await session.receive(_parsed(message))
    finally:
        await session.close()
        log.info("session %s closed", session.id)


def _parsed(message: WSMessage) -> Any:
    """A message's JSON; None, which no session takes for an event, if it is none."""
    if message.type is not WSMsgType.TEXT:
        return None
    try:
        return json.loads(message.data)
    except ValueError:
        return None


async def _say_goodbye(app: web.Application) -> None:
    for socket in list(app[_SWITCHBOARD].sockets):
        await socket.close(code=WSCloseCode.GOING_AWAY, message=b"the server is stopping")

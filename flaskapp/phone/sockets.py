"""Carrier WebSockets in: checked before the handshake is answered, then served until the call is over."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, cast

import flask_sock
from flask import Blueprint, Response, abort, current_app, g, request
from flask.sansio.blueprints import BlueprintSetupState
from websockets.datastructures import Headers
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from werkzeug.exceptions import BadRequest

from flaskapp.access import check_signature, checked_call_sid, is_local
from flaskapp.config import Settings
from flaskapp.observability import bound_call
from flaskapp.phone.events import StreamStarted
from flaskapp.phone.resumption import BROKEN_OFF, past_of, take_up
from flaskapp.phone.rtmt_audio_handler import RTMTAudioHandler
from flaskapp.phone.wire import Wire
from flaskapp.store.live import LiveStore
from flaskapp.store.scribe import Scribe
from flaskapp.tickets import Tickets

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 64 << 10
GUNICORN = "gunicorn -c gunicorn.conf.py wsgi:app"

sockets = Blueprint("sockets", __name__)
sock = flask_sock.Sock()


class ServerSocket:
    """What flask-sock makes of a request, on gunicorn's raw socket with our wire.

    flask-sock's own writes without a lock and without bounds; it looks this
    name up for every request.
    """

    mode = "gunicorn"

    def __init__(self, environ: dict[str, Any], **_: Any) -> None:
        handshake = ServerProtocol()
        answer = handshake.accept(Request(environ.get("RAW_URI", "/"), _headers(environ)))
        if handshake.handshake_exc is not None:
            raise BadRequest("This is no WebSocket handshake.")
        # gunicorn has read the request: what follows are frames from the first byte on.
        protocol = ServerProtocol(state=State.OPEN, max_size=MAX_MESSAGE_BYTES)
        self.wire = Wire(environ["gunicorn.socket"], protocol)
        self.wire.accept(answer)

    def close(self) -> None:
        self.wire.close()
        self.wire.dispose()


flask_sock.Server = ServerSocket


class Streams:
    """How many streams a worker has, each from its check before the handshake to its socket's end."""

    def __init__(self) -> None:
        self._count = 0
        self._guard = threading.Lock()

    def enter(self, most: int | None) -> bool:
        """One more, at once; False if there are ``most`` already."""
        with self._guard:
            if most is not None and self._count >= most:
                return False
            self._count += 1
            return True

    def leave(self) -> None:
        with self._guard:
            self._count -= 1


@sockets.record_once
def _begin_to_count(state: BlueprintSetupState) -> None:
    state.app.extensions["streams"] = Streams()


def _headers(environ: dict[str, Any]) -> Headers:
    names = (name for name in environ if name.startswith("HTTP_"))
    return Headers([(name[5:].replace("_", "-").title(), environ[name]) for name in names])


@sockets.before_request
def _check() -> tuple[Response, int] | None:
    """Everything that can be refused before the 101 is."""
    if "gunicorn.socket" not in request.environ:
        abort(501, f"WebSockets are served by gunicorn only: {GUNICORN}")
    check_signature()
    checked_call_sid((request.view_args or {}).get("call_sid"))
    if current_app.extensions["drain"].is_set():
        abort(503, "This worker is about to end.")
    if current_app.extensions["rtmt"] is None:
        abort(503, "No AI engine is configured.")
    _find_room((request.view_args or {}).get("call_sid", ""))
    return None


def _find_room(call_sid: str) -> None:
    """MAX_CALLS is about new calls: one whose stream broke off, or was handed over, is always taken up.

    Whoever is refused here was let in by a webhook a moment ago, as others were: the carrier asks next
    what follows, and is told to record.
    """
    own = current_app.extensions
    streams, most = cast(Streams, own["streams"]), cast(Settings, own["settings"]).max_calls
    if not streams.enter(most):
        if cast(LiveStore, own["live_store"]).recall(call_sid).get("state") not in BROKEN_OFF:
            log.warning("A stream is refused: this worker is full", extra={"call_sid": call_sid})
            own["metrics"].fallbacks.labels("full").inc()
            abort(503, "This worker has no room for another call.")
        streams.enter(None)
    g.has_room = True


@sockets.teardown_request
def _make_room(error: BaseException | None) -> None:
    if g.pop("has_room", False):
        cast(Streams, current_app.extensions["streams"]).leave()


def stream_audio(ws: ServerSocket, call_sid: str, ticket: str = "") -> None:
    """Twilio Media Streams, both ways; the ticket comes in the path or as ``<Parameter>``."""
    own = current_app.extensions
    metrics = own["metrics"].websockets.labels("carrier")
    handler, tickets = cast(RTMTAudioHandler, own["rtmt"]), cast(Tickets, own["tickets"])
    live, scribe = cast(LiveStore, own["live_store"]), cast(Scribe, own["scribe"])
    known, past = live.recall(call_sid), past_of(call_sid, live, own["audio"], time.time())
    called, caller = known.get("called", ""), known.get("caller", "")
    local = is_local()

    def admit(started: StreamStarted) -> None:
        given = ticket or started.parameters.get("ticket", "")
        if given or not local:
            tickets.spend(given, call_sid)
        take_up(call_sid, live, scribe.note)

    metrics.inc()
    try:
        with bound_call(call_sid):
            handler.serve(ws.wire, call_sid, called=called, caller=caller, admit=admit, past=past)
    except Exception:  # the call's edge: what escapes here would be written into the stream as HTTP
        log.exception("A call's socket failed", extra={"call_sid": call_sid})
        ws.wire.close(1011, "internal error")
    finally:
        metrics.dec()


sock.route("/stream-audio/<call_sid>", bp=sockets)(stream_audio)
sock.route("/stream-audio/<call_sid>/<ticket>", bp=sockets, endpoint="stream_audio_ticket")(stream_audio)

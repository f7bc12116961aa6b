"""WebSockets of Twilio and the browser phone: checked before the 101, served until the call is over."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import cast

from flask import Blueprint, Response, abort, current_app, request

from flaskapp.access import (
    SIGNATURE,
    check_signature,
    checked_call_sid,
    is_foreign_page,
    is_local,
    is_operator,
)
from flaskapp.phone.carriers.twilio import BrowserStream, TwilioStream
from flaskapp.phone.consent import TOLD_BY, consent_due, consent_heard
from flaskapp.phone.events import StreamStarted
from flaskapp.phone.giving_way import give_way
from flaskapp.phone.resumption import past_of, take_up
from flaskapp.phone.room import counts_streams, find_room, keep_room
from flaskapp.phone.rtmt_audio_handler import RTMTAudioHandler
from flaskapp.phone.server_socket import ServerSocket, need_gunicorn, sock
from flaskapp.phone.wire import Wire
from flaskapp.store.live import LiveStore
from flaskapp.store.scribe import Scribe
from flaskapp.tickets import Tickets

log = logging.getLogger(__name__)

sockets = Blueprint("sockets", __name__)
counts_streams(sockets)


@sockets.before_request
def _check() -> tuple[Response, int] | None:
    """Everything that can be refused before the 101 is."""
    need_gunicorn()
    if not _is_operators_page():
        check_signature()
    checked_call_sid((request.view_args or {}).get("call_sid"))
    if current_app.extensions["drain"].is_set():
        abort(503, "This worker is about to end.")
    if current_app.extensions["rtmt"] is None:
        abort(503, "No AI engine is configured.")
    find_room((request.view_args or {}).get("call_sid", ""))
    return None


def _is_operators_page() -> bool:
    """Whether the browser phone dials: its page carries the operator's proof, and no foreign one may."""
    return SIGNATURE not in request.headers and not is_foreign_page() and is_operator()


def stream_audio(ws: ServerSocket, call_sid: str, ticket: str = "") -> None:
    """Twilio Media Streams, both ways; the ticket comes in the path or as ``<Parameter>``."""
    metrics = current_app.extensions["metrics"].websockets.labels("carrier")
    try:
        serve = _service(call_sid, ticket)
    except Exception:  # the call's edge: what escapes here would be written into the stream as HTTP
        log.exception("A call's socket failed", extra={"call_sid": call_sid})
        ws.wire.close(1011, "internal error")
        return
    metrics.inc()
    ws.leave_to(serve, call_sid, metrics.dec, keep_room())


def _service(call_sid: str, ticket: str) -> Callable[[Wire], None]:
    """Serves this call when its request is over."""
    own = current_app.extensions
    handler, tickets = cast(RTMTAudioHandler, own["rtmt"]), cast(Tickets, own["tickets"])
    live, scribe = cast(LiveStore, own["live_store"]), cast(Scribe, own["scribe"])
    seen = live.look(call_sid)
    known, past = seen.known, past_of(call_sid, live, own["audio"], time.time(), seen)
    called, caller = known.get("called", ""), known.get("caller", "")
    consent = consent_due(known, own["settings"].consent_text)
    local, is_browser = is_local(), known.get("carrier") == BrowserStream.name
    told = {name: known[name] for name in TOLD_BY if name in known}  # of all else the call keeps nothing

    def admit(started: StreamStarted) -> None:
        give_way()
        given = ticket or started.parameters.get("ticket", "")
        if given or not local:
            tickets.spend(given, call_sid)
        take_up(call_sid, live, scribe.note)
        consent_heard(call_sid, told, live)

    def serve(wire: Wire) -> None:
        give_way()
        carrier = BrowserStream() if is_browser else TwilioStream()
        handler.serve(
            wire,
            call_sid,
            called=called,
            caller=caller,
            carrier=carrier,
            admit=admit,
            past=past,
            consent=consent,
        )

    return serve


sock.route("/stream-audio/<call_sid>", bp=sockets)(stream_audio)
sock.route("/stream-audio/<call_sid>/<ticket>", bp=sockets, endpoint="stream_audio_ticket")(stream_audio)

"""Carrier webhooks in, carrier documents out."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any, cast

from flask import Blueprint, Response, abort, current_app, request

from flaskapp.access import carrier_signed, checked_call_sid, origin, socket_origin
from flaskapp.phone import documents
from flaskapp.phone.rtmt_audio_handler import RTMTAudioHandler
from flaskapp.phone.sockets import sockets
from flaskapp.problems import register_problems
from flaskapp.redaction import mask_number
from flaskapp.store.history import RANKS, CallChanged, CallOpened
from flaskapp.store.live import LiveStore
from flaskapp.store.scribe import Scribe
from flaskapp.tickets import Tickets

log = logging.getLogger(__name__)

STREAMS_PER_CALL = 2

MAX_BODY_BYTES = 64 << 10
MAX_FIELDS = 1000

hooks = Blueprint("hooks", __name__)


@hooks.before_request
def _limit() -> None:
    """Webhooks are small; whatever is not is none."""
    request.max_content_length = MAX_BODY_BYTES
    if len(request.form) > MAX_FIELDS:
        abort(413, f"More than {MAX_FIELDS} fields.")


def build_blueprint() -> Blueprint:
    """All of the phone's routes, to be mounted at ``/phone``."""
    phone = Blueprint("phone", __name__, url_prefix="/phone")
    phone.register_blueprint(hooks)
    phone.register_blueprint(sockets)
    register_problems(phone)
    return phone


def _part(name: str) -> Any:
    return current_app.extensions[name]


def _twiml(document: str) -> Response:
    return Response(document, mimetype="text/xml")


@hooks.post("/incoming-call-streaming")
@carrier_signed
def incoming_call_streaming() -> Response:
    """A call comes in: join it to a live stream."""
    call_sid = checked_call_sid(request.values.get("CallSid"))
    caller, called = request.values.get("From", ""), request.values.get("To", "")
    log.info("Received streaming call from %s", mask_number(caller), extra={"call_sid": call_sid})
    opened = CallOpened(call_sid, "twilio", caller, called, "live", datetime.now(UTC))
    cast(Scribe, _part("scribe")).note(opened)
    cast(LiveStore, _part("live_store")).remember(call_sid, state="ringing", called=called)
    return _twiml(_join(call_sid, called))


@hooks.post("/stream-ended/<call_sid>")
@carrier_signed
def stream_ended(call_sid: str) -> Response:
    """The live stream is over: the carrier asks what next."""
    return _twiml(_what_next(checked_call_sid(call_sid)))


@hooks.post("/fallback")
@carrier_signed
def fallback() -> Response:
    """Something of ours did not answer the carrier: go on with the call if there is one."""
    call_sid = checked_call_sid(request.values.get("CallSid"))
    error = request.values.get("ErrorCode", "")
    log.warning("Fallback after carrier error %s", error or "-", extra={"call_sid": call_sid})
    _part("metrics").fallbacks.labels("carrier_error").inc()
    return _twiml(_what_next(call_sid))


@hooks.post("/call-status")
@carrier_signed
def call_status() -> tuple[str, int]:
    """Where a call stands, in any order and any number of times."""
    call_sid = checked_call_sid(request.values.get("CallSid"))
    fields: dict[str, Any] = {}
    if (status := request.values.get("CallStatus", "")) in RANKS:
        fields["status"] = status
    if (sequence := request.values.get("SequenceNumber", "")).isdecimal():
        fields["status_sequence"] = min(int(sequence), 1_000_000)
    if fields:
        cast(Scribe, _part("scribe")).note(CallChanged(call_sid, fields))
    return "", 204


@hooks.post("/stream-status/<call_sid>")
@carrier_signed
def stream_status(call_sid: str) -> tuple[str, int]:
    """What the carrier thinks of the stream; its errors are worth a line."""
    call_sid = checked_call_sid(call_sid)
    if error := request.values.get("StreamError", ""):
        log.warning("Stream error: %s", error[:200], extra={"call_sid": call_sid})
    return "", 204


def _join(call_sid: str, called: str) -> str:
    handler = cast(RTMTAudioHandler | None, _part("rtmt"))
    if handler is None:
        log.error("No AI engine is configured: the caller hears an apology", extra={"call_sid": call_sid})
        _part("metrics").fallbacks.labels("no_engine").inc()
        return documents.apology()
    cast(LiveStore, _part("live_store")).count(call_sid, "streams")
    ticket = cast(Tickets, _part("tickets")).for_stream(call_sid)
    return documents.stream(call_sid, ticket, origin(), socket_origin())


def _what_next(call_sid: str) -> str:
    """What ended well ends the call; a stream that never lived is tried again, once; else we apologise."""
    known = cast(LiveStore, _part("live_store")).recall(call_sid)
    if request.values.get("CallStatus") == "completed":
        return documents.hang_up()
    if known.get("state") == "ended" and known.get("needs_fallback") != "1":
        return documents.hang_up()
    if known.get("state") != "ended" and int(known.get("streams", "0")) < STREAMS_PER_CALL:
        return _join(call_sid, known.get("called", ""))
    return documents.apology()

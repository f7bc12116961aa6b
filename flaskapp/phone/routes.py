"""Carrier webhooks in, carrier documents out."""

from __future__ import annotations

import logging
from typing import Any, cast

from flask import Blueprint, Response, abort, request

from flaskapp.access import carrier_signed, checked_call_sid
from flaskapp.phone.ai_integration import AIVoiceIntegration
from flaskapp.phone.next_step import HANG_UP, Step, Then
from flaskapp.phone.recorded import path, perform, record_instead, recorded
from flaskapp.phone.registry import begin, has_lines, is_over, known_call, live_store, note, over, part, whole
from flaskapp.phone.sockets import sockets
from flaskapp.phone.uploads import uploads
from flaskapp.problems import register_problems
from flaskapp.redaction import mask_number
from flaskapp.store.history import RANKS, TERMINAL, CallChanged

log = logging.getLogger(__name__)

STREAMS_PER_CALL = 2
JOIN = Step((), Then.STREAM)

MAX_BODY_BYTES = 64 << 10
MAX_FIELDS = 1000

hooks = Blueprint("hooks", __name__)


@hooks.before_request
@recorded.before_request
def _limit() -> None:
    """Webhooks are small; whatever is not is none."""
    request.max_content_length = MAX_BODY_BYTES
    if len(request.form) > MAX_FIELDS:
        abort(413, f"More than {MAX_FIELDS} fields.")


def build_blueprint() -> Blueprint:
    """All of the phone's routes, to be mounted at ``/phone``."""
    phone = Blueprint("phone", __name__, url_prefix="/phone")
    phone.register_blueprint(hooks)
    phone.register_blueprint(recorded)
    phone.register_blueprint(uploads)
    phone.register_blueprint(sockets)
    register_problems(phone)
    return phone


@hooks.post("/incoming-call-streaming")
@carrier_signed
def incoming_call_streaming() -> Response:
    """A call comes in: join it to a live stream."""
    call_sid = checked_call_sid(request.values.get("CallSid"))
    caller = mask_number(request.values.get("From", ""))
    log.info("Received streaming call from %s", caller, extra={"call_sid": call_sid})
    if is_over(call_sid):
        return perform(call_sid, HANG_UP)
    known = begin(call_sid, "live")
    live_store().remember(call_sid, wants_stream="1")
    if why := cast(AIVoiceIntegration, part("desk")).why_no_stream():
        log.error("No live service (%s): the call is recorded", why, extra={"call_sid": call_sid})
        part("metrics").fallbacks.labels(why).inc()
        opening = path(known).no_assistant() if why == "no_engine" else path(known).opening()
        return record_instead(call_sid, known, opening)
    return perform(call_sid, JOIN)


@hooks.post("/stream-ended/<call_sid>")
@carrier_signed
def stream_ended(call_sid: str) -> Response:
    """The live stream is over: the carrier asks what next."""
    return _what_next(checked_call_sid(call_sid))


@hooks.post("/fallback")
@carrier_signed
def fallback() -> Response:
    """Something of ours did not answer the carrier: go on with the call if there is one."""
    call_sid = checked_call_sid(request.values.get("CallSid"))
    error = request.values.get("ErrorCode", "")
    log.warning("Fallback after carrier error %s", error or "-", extra={"call_sid": call_sid})
    part("metrics").fallbacks.labels("carrier_error").inc()
    return _what_next(call_sid)


@hooks.post("/call-status")
@carrier_signed
def call_status() -> tuple[str, int]:
    """Where a call stands, in any order and any number of times."""
    call_sid = checked_call_sid(request.values.get("CallSid"))
    fields: dict[str, Any] = {}
    if (status := request.values.get("CallStatus", "")) in RANKS:
        fields["status"] = status
    if (sequence := request.values.get("SequenceNumber", "")).isdecimal():
        fields["status_sequence"] = whole(sequence, 1_000_000)
    if fields:
        note(CallChanged(call_sid, fields))
    if fields.get("status") in TERMINAL:
        over(call_sid, "caller_hung_up")
    return "", 204


@hooks.post("/stream-status/<call_sid>")
@carrier_signed
def stream_status(call_sid: str) -> tuple[str, int]:
    """What the carrier thinks of the stream; its errors are worth a line."""
    call_sid = checked_call_sid(call_sid)
    if error := request.values.get("StreamError", ""):
        log.warning("Stream error: %s", error[:200], extra={"call_sid": call_sid})
    return "", 204


def _what_next(call_sid: str) -> Response:
    """What ended well ends the call; a stream that never lived is tried again, once; else it is recorded."""
    known = known_call(call_sid)
    has_ended = known.get("state") == "ended"
    if request.values.get("CallStatus") == "completed":
        over(call_sid, "caller_hung_up")
        return perform(call_sid, HANG_UP)
    if has_ended and known.get("needs_fallback") != "1":
        return perform(call_sid, HANG_UP)
    why = cast(AIVoiceIntegration, part("desk")).why_no_stream()
    wants_stream = known.get("wants_stream") == "1" and known.get("path") != "recorded"
    if wants_stream and not has_ended and not why and int(known.get("streams", "0")) < STREAMS_PER_CALL:
        return perform(call_sid, JOIN)
    if wants_stream and not has_ended and int(known.get("streams", "0")) >= STREAMS_PER_CALL:
        live_store().count(call_sid, "falls")  # the stream never came about
        live_store().remember(call_sid, fell_at_ms=str(live_store().elapsed_ms(call_sid)))
    if not known and is_over(call_sid):
        return perform(call_sid, HANG_UP)
    if not known:
        known = begin(call_sid, "recorded")
        return perform(call_sid, path(known).opening())
    return record_instead(call_sid, known, _pick_up(call_sid, known, why))


def _pick_up(call_sid: str, known: dict[str, str], why: str) -> Step:
    """How the recording path begins in the middle of a call."""
    if why == "no_engine":
        return path(known).no_assistant()
    if pending := known.get("pending_turn"):
        return path(known).picking_up(pending)
    return path(known).cut_off() if has_lines(call_sid) else path(known).opening()

"""Carrier webhooks in, carrier documents out."""

from __future__ import annotations

import logging
from typing import Any, cast

from flask import Blueprint, Response, abort, request

from flaskapp.access import carrier_signed, checked_call_sid
from flaskapp.phone import allowance
from flaskapp.phone.admission import looked_up, refusal
from flaskapp.phone.agent import Agent, Agents
from flaskapp.phone.ai_integration import AIVoiceIntegration
from flaskapp.phone.going_on import broke_off, expect, may_be_live
from flaskapp.phone.leftovers import UNDER_WAY, Leftovers
from flaskapp.phone.next_step import HANG_UP, Step, Then
from flaskapp.phone.recorded import ask_again, path, perform, record_instead, recorded
from flaskapp.phone.registry import begin, has_lines, is_over, known_call, live_store, note, over, part, whole
from flaskapp.phone.sockets import sockets
from flaskapp.phone.transferred import transferred
from flaskapp.phone.uploads import uploads
from flaskapp.problems import register_problems
from flaskapp.redaction import mask_number
from flaskapp.store.history import RANKS, TERMINAL, CallChanged

log = logging.getLogger(__name__)

JOIN = Step((), Then.STREAM)

MAX_BODY_BYTES = 64 << 10
MAX_FIELDS = 1000

hooks = Blueprint("hooks", __name__)


@hooks.before_request
@recorded.before_request
@transferred.before_request
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
    phone.register_blueprint(transferred)
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
    known, before = looked_up(call_sid)
    if before is not None:
        return perform(call_sid, before)
    if part("drain").is_set():
        return ask_again(call_sid, {})
    numbers = (request.values.get("From", ""), request.values.get("To", ""))
    if (refused := refusal(call_sid, *numbers)) is not None:
        return perform(call_sid, refused)
    ticket = known.get("ticket", "")
    known = begin(call_sid, "live", wants_stream="1")
    if why := cast(AIVoiceIntegration, part("desk")).why_no_stream():
        log.error("No live service (%s): the call is recorded", why, extra={"call_sid": call_sid})
        part("metrics").fallbacks.labels(why).inc()
        opening = path(known).no_assistant() if why == "no_engine" else path(known).opening()
        return record_instead(call_sid, known, opening)
    return perform(call_sid, JOIN, ticket=ticket)


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
    """What ended well ends the call; what broke off goes on live where it can; all else is recorded."""
    known = known_call(call_sid)
    if request.values.get("CallStatus") == "completed":
        over(call_sid, "caller_hung_up")
        return perform(call_sid, HANG_UP)
    if known.get("state") == "ended" and known.get("needs_fallback") != "1":
        return perform(call_sid, HANG_UP)
    if known.get("state") in ("transferring", "dialling") and (dialled := _dial(call_sid, known)) is not None:
        return dialled
    if known.get("state") == "live":
        known = broke_off(call_sid, known)
    why = cast(AIVoiceIntegration, part("desk")).why_no_stream()
    if may_be_live(known) and why == "draining":
        return ask_again(call_sid, known)
    if may_be_live(known) and (not why or (why == "full" and known.get("state") in UNDER_WAY)):
        return _join(call_sid, known)  # MAX_CALLS is about new ones
    if not known and is_over(call_sid):
        return perform(call_sid, HANG_UP)
    if not known:
        known = begin(call_sid, "recorded")
        return perform(call_sid, path(known).opening())
    known = _fallen(call_sid, known)
    ending = allowance.ending(call_sid, known, _agent(known), path(known))
    return record_instead(call_sid, known, ending or _pick_up(call_sid, known, why))


def _join(call_sid: str, known: dict[str, str]) -> Response:
    """A stream; that an earlier one broke off is known until the next one lives."""
    response = perform(call_sid, JOIN)
    if known.get("state") in UNDER_WAY:
        live_store().remember(call_sid, state="moving")
        expect(call_sid, somebody=True)
    return response


def _dial(call_sid: str, known: dict[str, str]) -> Response | None:
    """Dial the person to whom the agent transfers the caller; None if there is nobody to be dialled now."""
    destination = known.get("destination", "")
    number = _agent(known).transfer_numbers.get(destination, "")
    if not number or "/transfer-ended/" in request.values.get("ErrorUrl", ""):
        return None
    expect(call_sid, somebody=False)
    return perform(call_sid, Step((), Then.DIAL, destination=destination, number=number))


def _agent(known: dict[str, str]) -> Agent:
    return cast(Agents, part("agents")).for_number(known.get("called", ""))


def _fallen(call_sid: str, known: dict[str, str]) -> dict[str, str]:
    """The call leaves the live path without a live leg's own end."""
    if known.get("state") in UNDER_WAY:
        pending = cast(Leftovers, part("leftovers")).fall(call_sid, known)
        expect(call_sid, somebody=False)
        return {**known, "pending_turn": pending}
    if known.get("wants_stream") == "1" and known.get("path") != "recorded" and known.get("state") != "ended":
        live_store().count(call_sid, "falls")  # the stream never came about
        live_store().remember(call_sid, fell_at_ms=str(live_store().elapsed_ms(call_sid)))
    return known


def _pick_up(call_sid: str, known: dict[str, str], why: str) -> Step:
    """How the recording path begins in the middle of a call."""
    if why == "no_engine":
        return path(known).no_assistant()
    if pending := known.get("pending_turn"):
        return path(known).picking_up(pending)
    return path(known).cut_off() if has_lines(call_sid) else path(known).opening()

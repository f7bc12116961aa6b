"""What became of a transfer: the call is over, or the caller is back and goes on with the agent."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import cast

from flask import Blueprint, Response, request

from flaskapp.access import carrier_signed, checked_call_sid
from flaskapp.phone.agent import Agents
from flaskapp.phone.ai_integration import AIVoiceIntegration
from flaskapp.phone.next_step import HANG_UP, JOIN
from flaskapp.phone.recorded import ask_again, document, path, perform, record_instead
from flaskapp.phone.registry import known_call, live_store, note, over, part
from flaskapp.store.history import CallChanged, EventHappened

log = logging.getLogger(__name__)

REACHED = ("completed", "answered")
#: Why nobody was reached, by what the carrier says of the dialled call. Source: Twilio docs, "TwiML <Dial>".
WHY = {
    "busy": "the line is busy",
    "no-answer": "nobody answered",
    "failed": "the number could not be reached",
    "canceled": "the attempt was called off",
}

transferred = Blueprint("transferred", __name__)


@transferred.post("/transfer-ended/<call_sid>")
@carrier_signed
def transfer_ended(call_sid: str) -> Response:
    """The dialled call is over, or never came about; told again, it changes nothing."""
    call_sid = checked_call_sid(call_sid)
    known, became = known_call(call_sid), request.values.get("DialCallStatus", "")
    if not known or (known.get("is_over") and not known.get("dialled")):
        return document(call_sid, HANG_UP)
    if became in REACHED:  # also where the call's status came first, which knows of no transfer
        return _gone(call_sid, known, "transferred")
    if known.get("is_over") or request.values.get("CallStatus") == "completed":
        return _gone(call_sid, known, "caller_hung_up")
    return _back(call_sid, known, WHY.get(became, "it did not work"))


def _gone(call_sid: str, known: dict[str, str], why: str) -> Response:
    """The caller is with somebody else, or nowhere: the call's books are closed."""
    ended = {
        "ended_reason": why,
        "ended_at": datetime.now(UTC),
        "duration_ms": live_store().elapsed_ms(call_sid),
    }
    began = datetime.fromtimestamp(float(known["began"]), UTC) if "began" in known else None
    note(CallChanged(call_sid, ended, began), _happened(call_sid, known))
    live_store().remember(call_sid, state="ended", needs_fallback="0", reason=why, dialled="")
    over(call_sid, why)
    return document(call_sid, HANG_UP)


def _back(call_sid: str, known: dict[str, str], why: str) -> Response:
    """The caller is still there: live if he was before and may be, else he is recorded."""
    why_not = cast(AIVoiceIntegration, part("desk")).why_no_stream()
    wants_stream = known.get("wants_stream") == "1"
    if wants_stream and why_not == "draining":
        return ask_again(call_sid, known)
    is_live = wants_stream and not why_not
    step = JOIN if is_live else path(known).transfer_failed()
    attempt = request.values.get("DialCallSid", "")[:64] or known.get("dials", "")
    if not live_store().first(call_sid, f"dial:{attempt}"):
        return document(call_sid, step)  # told again: the same answer, and nothing else
    destination = _destination(known)
    log.warning("Transfer to %s: %s", destination, why, extra={"call_sid": call_sid})
    part("metrics").faults.labels("transfer_failed").inc()
    note(_happened(call_sid, known))
    told = {"dialled": "", "destination": "", "pending_turn": ""}
    if is_live:
        live_store().remember(call_sid, note=_sentence(destination, why), **told)
        return perform(call_sid, step)
    live_store().remember(call_sid, state="recorded", needs_fallback="0", **told)
    return record_instead(call_sid, known, step)


def _destination(known: dict[str, str]) -> str:
    """The name of who was dialled, if it is one that the agent has."""
    named = request.args.get("destination", "") or known.get("dialled", "")
    agent = cast(Agents, part("agents")).for_number(known.get("called", ""))
    return named if named in agent.transfer_numbers else "person"


def _happened(call_sid: str, known: dict[str, str]) -> EventHappened:
    """For the call's history: who was dialled, and what came of it."""
    became = request.values.get("DialCallStatus", "")
    detail = {"destination": _destination(known), "became": became if became in (*REACHED, *WHY) else "?"}
    return EventHappened(call_sid, live_store().elapsed_ms(call_sid), "transfer", detail)


def _sentence(destination: str, why: str) -> str:
    """What the engine is told first, and answers to."""
    return (
        f'The transfer to "{destination}" did not work: {why}. The caller is back on the line and has'
        " heard only ringing. Say so, apologise briefly, and offer to take a message or to help otherwise."
        " Do not greet again."
    )

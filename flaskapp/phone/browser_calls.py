"""Calls from the browser phone: begun by an operator, and led on when their stream is over."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

from flaskapp.phone.agent import Agents
from flaskapp.phone.carriers.twilio import BrowserStream
from flaskapp.phone.going_on import broke_off, expect
from flaskapp.phone.leaving import close, goes_on, leaves
from flaskapp.phone.leftovers import HANDED_OVER, TRANSFERRED
from flaskapp.phone.registry import begin, known_call, live_store, part
from flaskapp.phone.resumption import cost_usd

log = logging.getLogger(__name__)

BROWSER = BrowserStream.name
GONE = "caller_hung_up"
HANDSHAKE_S = 20.0
#: What the phone is told where no stream can be had, by ``AIVoiceIntegration.why_no_stream``.
WHY_NOT = MappingProxyType(
    {
        "no_engine": "No AI engine is configured. Put OPENAI_API_KEY or the AZURE_OPENAI_ settings into .env"
        " and start again; `make run` without them brings a stand-in. Phone calls hear an apology meanwhile.",
        "engine_down": "The AI engine does not answer. Phone calls are recorded and answered later;"
        " try again in a moment.",
        "full": "This server has as many calls as MAX_CALLS allows. Try again when one has ended.",
        "draining": "This server is about to end, and another takes over. Try again in a few seconds.",
    }
)


@dataclass(frozen=True)
class Next:
    """What follows a stream's end.

    Attributes:
        then: "stream" (another one takes the call on), "transfer" (a person would be dialled now), "record"
            (live AI cannot serve: a caller would be recorded now), "over".
        destination: to whom it is transferred, by the agent's name for them.
        reason: why the call ended, as its history has it.
    """

    then: str
    destination: str = ""
    reason: str = ""


def begin_call(called: str) -> str:
    """A call rings, as a carrier's webhook has it ring: its SID.

    Args:
        called: the number that the browser "dials"; it chooses the agent.
    """
    call_sid = f"BR{secrets.token_hex(16)}"
    log.info("Received streaming call from %s", BROWSER, extra={"call_sid": call_sid})
    begin(call_sid, "live", BROWSER, BROWSER, called)
    live_store().remember(call_sid, wants_stream="1", state="moving", needs_fallback="0", pending_turn="")
    live_store().count(call_sid, "streams")
    expect(call_sid, somebody=True, within_s=HANDSHAKE_S)  # a page that is closed now dials no stream
    return call_sid


def is_browsers(call_sid: str) -> bool:
    """Whether there is such a call, and the browser phone's; for a minute after its end, too."""
    return live_store().recall(call_sid).get("carrier") == BROWSER


def what_next(call_sid: str, caller_is_gone: bool = False) -> Next:
    """The stream is over, or never came about: the same as ``routes.stream_ended`` says in documents."""
    known = known_call(call_sid)
    state = known.get("state", "")
    if not known or known.get("is_over") or (state == "ended" and known.get("needs_fallback") != "1"):
        return Next("over", reason=known.get("reason", ""))
    if caller_is_gone:
        close(call_sid, known, GONE)
        return Next("over", reason=GONE)
    if state == "transferring":
        leaves(call_sid, known, TRANSFERRED, BROWSER)
        return Next("transfer", known.get("destination", ""), TRANSFERRED)
    if state == "live":
        known = broke_off(call_sid, known)
    if goes_on(call_sid, known, HANDSHAKE_S):
        return Next("stream")
    why = known.get("reason") or HANDED_OVER  # no flow goes on: what ended the stream ends the call
    leaves(call_sid, known, why, BROWSER)
    return Next("record", reason=why)


def cost_so_far(call_sid: str) -> float:
    """Of a call in progress or just over, in USD."""
    return cost_usd(live_store().recall(call_sid))


def callable_numbers() -> tuple[tuple[str, str], ...]:
    """Whom the browser may call: (number, who answers); the first is what callers get by default."""
    agents = cast(Agents, part("agents"))
    own = part("settings").twilio_phone_number
    others = ((f"+{digits}", agent.name) for digits, agent in agents.by_number.items())
    return ((own, agents.for_number(own).name), *(each for each in others if each[0] != own))

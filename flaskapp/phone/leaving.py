"""Where a caller goes whom no document of ours leads: on to another stream, or out of our books."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

from flaskapp.phone.ai_integration import AIVoiceIntegration
from flaskapp.phone.going_on import expect, may_be_live, may_be_live_again
from flaskapp.phone.leftovers import TRANSFERRED, UNDER_WAY, Leftovers, closing_status
from flaskapp.phone.registry import live_store, note, over, part
from flaskapp.store.history import CallChanged


def close(call_sid: str, known: Mapping[str, str], why: str) -> None:
    """Nothing is left to be done; the carrier sends no word of its own of how a call stands."""
    note(CallChanged(call_sid, {"status": closing_status(known)}))
    over(call_sid, why)


def goes_on(call_sid: str, known: dict[str, str], within_s: float) -> bool:
    """Whether the caller shall be joined to a stream once more; if so, one is expected.

    Args:
        within_s: so long its handshake may take.
    """
    why = cast(AIVoiceIntegration, part("desk")).why_no_stream()
    state = known.get("state")
    # A worker that is about to end does not answer the handshake: another one does.
    is_served = why in ("", "draining") or (why == "full" and state in UNDER_WAY)
    if not (may_be_live(known) and is_served) and not (
        state == "ended" and may_be_live_again(call_sid, known)
    ):
        return False
    live_store().count(call_sid, "streams")
    if state != "ended":  # of one that ended, what was said is understood already
        live_store().remember(call_sid, state="moving", needs_fallback="0", pending_turn="")
    expect(call_sid, somebody=True, within_s=within_s)
    return True


def leaves(call_sid: str, known: dict[str, str], why: str, carrier: str) -> None:
    """The caller is somebody else's from here on: what he said is understood, and the books are closed."""
    live = live_store()
    if known.get("state") == "moving":
        cast(Leftovers, part("leftovers")).fall(call_sid, known, wants_reply=False)
    ended: dict[str, Any] = {
        "ended_reason": why,
        "ended_at": datetime.now(UTC),
        "duration_ms": live.elapsed_ms(call_sid),
        "status": closing_status(known),
    }
    began = datetime.fromtimestamp(float(known["began"]), UTC) if "began" in known else None
    note(CallChanged(call_sid, ended, began))
    if why != TRANSFERRED:  # which is counted where its stream ends
        part("metrics").calls.labels(carrier, "live", why).inc()
    live.remember(call_sid, state="ended", needs_fallback="0", reason=why)
    expect(call_sid, somebody=False)
    over(call_sid, why)

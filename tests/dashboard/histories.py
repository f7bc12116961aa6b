"""Calls as the history may have them, for pages to show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from flaskapp.store.history import CallChanged, CallOpened, EventHappened, History, TurnSaved

CALLER, CALLED = "+14155550123", "+15559870000"
HOSTILE = "<img src=x onerror=alert(1)>&\"'"


def turn(call_sid: str, position: int, speaker: str, text: str, start_ms: int, **more: Any) -> TurnSaved:
    told = {"mode": "live", "interrupted": False, "is_final": True, **more}
    end_ms = told.pop("end_ms", start_ms + 1500)
    return TurnSaved(call_sid, f"i{position}", position, speaker, text, start_ms, end_ms, **told)


def opened(
    call_sid: str, at: datetime | None = None, carrier: str = "twilio", mode: str = "live"
) -> CallOpened:
    return CallOpened(call_sid, carrier, CALLER, CALLED, mode, at or datetime.now(UTC))


def ended(call_sid: str, why: str = "goodbye", at: datetime | None = None, **more: Any) -> CallChanged:
    over = {
        "status": "completed",
        "ended_at": at or datetime.now(UTC),
        "ended_reason": why,
        "duration_ms": 21500,
    }
    return CallChanged(call_sid, over | more)


def write_whole_call(history: History, call_sid: str = "CAwhole") -> None:
    """A call in which everything happened that a page has something to say about."""
    began = datetime.now(UTC) - timedelta(seconds=30)
    spent = {"input_tokens": 1200, "output_tokens": 345}
    history.write(
        [
            opened(call_sid, began),
            CallChanged(call_sid, {"engine": "openai", "model": "a-model"}),
            CallChanged(call_sid, {"usage": spent, "cost_usd": 0.0123}),
            turn(call_sid, 0, "agent", "Good day.", 900),
            turn(call_sid, 1, "caller", f"When do you open? {HOSTILE}", 3000, noticed_ms=510, words_ms=620),
            turn(
                call_sid, 2, "agent", "We open at nine", 5300, end_ms=6800,
                engine_ms=780, bridge_ms=2, heard_ms=140, interrupted=True,
                generated="We open at nine except on Mondays",
            ),
            turn(call_sid, 3, "caller", "And on Mondays?", 6700, noticed_ms=500, words_ms=1900),
            turn(call_sid, 4, "agent", "We are closed on Mondays.", 9700, engine_ms=1420, bridge_ms=3),
            turn(call_sid, 5, "caller", "A recorded question", 13000, mode="recorded"),
            EventHappened(call_sid, 6700, "barge_in", {"heard_ms": [1500]}),
            EventHappened(call_sid, 9000, "tool_called", {"name": "opening_hours"}),
            EventHappened(call_sid, 9300, "tool_answered", {"name": "opening_hours", "took_ms": 300}),
            EventHappened(call_sid, 12000, "engine_lost", {"fault": True, "detail": HOSTILE}),
            ended(call_sid, outcome="answered"),
        ]
    )  # fmt: skip

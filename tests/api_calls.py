"""A history with some calls in it, for tests of what is told of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from flaskapp.store.history import (
    CallChanged,
    CallOpened,
    EventHappened,
    History,
    RecordingChanged,
    TurnSaved,
)

BEGAN = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
CALLER, CALLED = "+15551230001", "+15559870001"


def open_calls(history: History, count: int, **of_each: Any) -> list[str]:
    """So many calls, one a minute; their ids, the oldest first."""
    names = [f"CA{number:03}" for number in range(count)]
    for number, name in enumerate(names):
        at = BEGAN + timedelta(minutes=number)
        carrier = "exotel" if number % 2 else "twilio"
        history.write([CallOpened(name, carrier, CALLER, CALLED, "live", at)])
        if of_each:
            history.write([CallChanged(name, of_each)])
    return names


def line(call_sid: str, position: int, speaker: str, text: str, **of_it: Any) -> TurnSaved:
    """One line, a second after the one before."""
    told = {
        "start_ms": position * 1000,
        "end_ms": position * 1000 + 900,
        "mode": "live",
        "interrupted": False,
        "is_final": True,
        **of_it,
    }
    return TurnSaved(call_sid, f"item_{position}", position, speaker, text, **told)


def conversation(history: History, call_sid: str = "CA1") -> str:
    """A call that had everything: a barge-in, a function, a fault, a recording, a message."""
    ended = {
        "status": "completed",
        "ended_reason": "message_left",
        "ended_at": BEGAN + timedelta(seconds=61),
        "duration_ms": 61_000,
        "outcome": "message",
        "message": {"text": "=Please call me back.", "name": "", "callback": ""},
        "engine": "openai",
        "model": "gpt-realtime-2.1",
        "usage": {"input_tokens": 120, "transcription_seconds": 1.5},
        "cost_usd": 0.0421,
    }
    history.write(
        [
            CallOpened(call_sid, "twilio", CALLER, CALLED, "both", BEGAN),
            line(call_sid, 0, "agent", "Hello, how can I help you?"),
            line(call_sid, 1, "caller", "What are your opening <hours> & days?\n\nPlease --> tell"),
            line(call_sid, 2, "agent", "We are open from", interrupted=True, engine_ms=300, bridge_ms=4),
            line(call_sid, 3, "agent", "Nobody heard this", interrupted=True, mode="recorded"),
            line(call_sid, 4, "agent", "Goodbye.", engine_ms=900, bridge_ms=6),
            EventHappened(call_sid, 1500, "tool_called", {"name": "opening_hours"}),
            EventHappened(call_sid, 1550, "tool_answered", {"name": "opening_hours", "took_ms": 40}),
            EventHappened(call_sid, 1600, "tool_called", {"name": "opening_hours"}),
            EventHappened(call_sid, 2500, "barge_in", {"heard_ms": [500]}),
            EventHappened(call_sid, 2600, "engine_lost", {"fault": True, "detail": ""}),
            EventHappened(call_sid, 2700, "engine_lost", {"fault": True, "detail": "1006"}),
            RecordingChanged(
                call_sid,
                "RE1",
                {"status": "waiting", "source": "recording", "at_ms": 5000, "duration_ms": 2500},
            ),
            CallChanged(call_sid, ended),
        ]
    )
    return call_sid

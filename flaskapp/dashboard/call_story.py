"""A call as its page tells it: what was said, and what happened between the lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flaskapp.phone.reasons import reason

Row = Mapping[str, Any]
AT_ONCE_MS = 50


@dataclass(frozen=True)
class Said:
    """One speaker's line.

    Attributes:
        unheard: the words of a reply that were generated and not heard.
        heard_ms: how long it was heard, of a line that was cut off.
        is_growing: it is being spoken.
    """

    key: str
    speaker: str
    text: str
    start_ms: int
    end_ms: int
    mode: str
    unheard: str
    was_cut: bool
    heard_ms: int
    is_growing: bool
    latency_ms: int | None


@dataclass(frozen=True)
class Noted:
    """Something that happened; ``kind``: "interruption", "tool", "key", "fault" or "note"."""

    key: str
    at_ms: int
    kind: str
    words: str


@dataclass(frozen=True)
class Note:
    """How an event is told: its kind on the page, and its words."""

    kind: str
    words: Callable[[Row], str]


def _heard(detail: Row) -> str:
    heard = detail.get("heard_ms") or [0]
    return f"The caller interrupted after {sum(heard) / 1000:.1f} s of the answer"


def _answered(detail: Row) -> str:
    did = "could not do it" if detail.get("failed") else "answered"
    took_ms = detail.get("took_ms", 0)
    when = f"after {took_ms / 1000:.1f} s" if took_ms >= AT_ONCE_MS else "at once"
    return f"{detail.get('name', 'A function')} {did} {when}"


def _keys(detail: Row) -> str:
    many = detail.get("keys", 1)
    return f"The caller pressed {many} keys" if many != 1 else "The caller pressed a key"


def _transfer(detail: Row) -> str:
    became = str(detail.get("became", "?")).replace("-", " ")
    return f"Handing over to {detail.get('destination', 'a person')}: {became}"


NOTES = {
    "barge_in": Note("interruption", _heard),
    "tool_called": Note("tool", lambda detail: f"The agent uses {detail.get('name', 'a function')}"),
    "tool_answered": Note("tool", _answered),
    "dtmf": Note("key", _keys),
    "silence": Note("note", lambda detail: "The caller was asked whether he is still there"),
    "hold": Note("note", lambda detail: "A short sound kept the caller company"),
    "session_renewed": Note("note", lambda detail: "A fresh session took the conversation on"),
    "transfer": Note("note", _transfer),
    "passthru": Note("note", lambda detail: "The carrier's flow told how the stream went"),
    "recording": Note("note", lambda detail: "The carrier has a recording"),
}


def story(turns: Sequence[Row], events: Sequence[Row]) -> list[Said | Noted]:
    """Lines in their order, and each event before the first line that begins after it."""
    told: list[Said | Noted] = []
    notes = [_noted(at, event) for at, event in enumerate(sorted(events, key=lambda each: each["at_ms"]))]
    for line in (_said(turn) for turn in turns):
        while notes and notes[0].at_ms < line.start_ms:
            told.append(notes.pop(0))
        told.append(line)
    return [*told, *notes]


def _said(turn: Row) -> Said:
    generated, text = turn.get("generated") or "", turn["text"]
    has_latency = turn["engine_ms"] is not None
    return Said(
        key=f"line-{turn['item']}",
        speaker=turn["speaker"],
        text=text,
        start_ms=turn["start_ms"],
        end_ms=turn["end_ms"],
        mode=turn["mode"],
        unheard=" ".join(generated.split()[len(text.split()) :]) if generated else "",
        was_cut=bool(turn["interrupted"]),
        heard_ms=max(turn["end_ms"] - turn["start_ms"], 0),
        is_growing=not turn["is_final"],
        latency_ms=turn["engine_ms"] + (turn["bridge_ms"] or 0) if has_latency else None,
    )


def _noted(at: int, event: Row) -> Noted:
    detail = event["detail"] if isinstance(event["detail"], dict) else {}
    key = f"note-{at}-{event['at_ms']}-{event['kind']}"
    if detail.get("fault"):
        more = f" ({detail['detail']})" if detail.get("detail") else ""
        return Noted(key, event["at_ms"], "fault", f"{reason(event['kind']).words}{more}")
    known = NOTES.get(event["kind"])
    if known is None:
        return Noted(key, event["at_ms"], "note", reason(event["kind"]).words)
    return Noted(key, event["at_ms"], known.kind, known.words(detail))

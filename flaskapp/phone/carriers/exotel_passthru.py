"""What an Exotel flow reports at its Passthru applets, in whichever shape it comes.

Source: Exotel's "Passthru applet" and "Working with the Stream and Voicebot
applets": a GET with ``Stream[StreamSID]=...``, the same as a form or as one
JSON text called ``Stream``; elsewhere a JSON body. Which of them an account
gets its pages do not agree on, nor on how names are spelt.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

MOST_PAIRS = 200
DEEPEST = 3
LONGEST = 2000  # characters of one value
COMPLETED, FAILED, CANCELLED = "completed", "failed", "cancelled"
USER, BOT, NOBODY = "user", "bot", "NA"
_STATUSES = {"completed": COMPLETED, "failed": FAILED, "cancelled": CANCELLED, "canceled": CANCELLED}
_WHO = {"user": USER, "caller": USER, "customer": USER, "bot": BOT, "na": NOBODY}
#: Where a field may be, the best place first; ``stream`` is what the applet before says of its stream.
_PLACES: Mapping[str, tuple[str, ...]] = {
    "call_sid": ("callsid", "stream.callsid"),
    "stream_sid": ("stream.streamsid", "stream.sid", "streamsid"),
    "status": ("stream.status", "streamstatus"),
    "disconnected_by": ("stream.disconnectedby", "disconnectedby"),
    "duration_s": ("stream.duration", "streamduration"),
    "error": ("stream.error", "stream.detailedstatus", "error", "detailedstatus"),
    "recording_url": ("recordingurl", "stream.recordingurl"),
    "caller": ("callfrom", "from"),
    "called": ("callto", "to"),
    "event_type": ("eventtype", "stream.eventtype"),
}


@dataclass(frozen=True, slots=True)
class Passthru:
    """A report; a field that it does not have is empty.

    Attributes:
        status: how the stream ended: completed, failed or cancelled.
        disconnected_by: user, bot or NA.
        duration_s: of the stream.
        error: why it failed, in Exotel's words.
        recording_url: of the stream, or of what the caller left in a voicemail.
        event_type: of a report that comes at another time than after a stream (stream-start).
    """

    call_sid: str = ""
    stream_sid: str = ""
    status: str = ""
    disconnected_by: str = ""
    duration_s: int = 0
    error: str = ""
    recording_url: str = ""
    caller: str = ""
    called: str = ""
    event_type: str = ""

    @property
    def caller_is_gone(self) -> bool:
        """Whether it was the caller who ended the stream: nobody is left on the line."""
        return self.disconnected_by == USER or (self.status == CANCELLED and self.disconnected_by != BOT)

    @property
    def tells_of_stream(self) -> bool:
        return bool(self.status or self.stream_sid)


def read(pairs: Iterable[tuple[str, str]], body: str = "") -> Passthru:
    """The report that a request brings; never raises.

    Args:
        pairs: of its query, then of its form; the first that says something counts.
        body: what is no form: JSON, or anything else, which is ignored.
    """
    found: dict[str, str] = {}
    for name, value in pairs:
        _add(found, _path(name), value)
    _add(found, (), _parsed(body))
    told = {field: _first(found, places) for field, places in _PLACES.items()}
    duration = re.match(r"\d{1,9}", told["duration_s"])
    return Passthru(
        **{
            name: text
            for name, text in told.items()
            if name not in ("duration_s", "status", "disconnected_by")
        },
        status=_STATUSES.get(told["status"].lower(), ""),
        disconnected_by=_WHO.get(told["disconnected_by"].lower(), ""),
        duration_s=int(duration[0]) if duration else 0,
    )


def _add(found: dict[str, str], path: tuple[str, ...], value: Any) -> None:
    """One value at its place, or all that are inside it."""
    if isinstance(value, str) and path and value.lstrip().startswith("{"):
        value = _parsed(value)
    if isinstance(value, dict):
        for name, inner in list(value.items())[:MOST_PAIRS] if len(path) < DEEPEST else ():
            _add(found, (*path, *_path(str(name))), inner)
    elif _is_readable(value, path) and len(found) < MOST_PAIRS:
        found.setdefault(".".join(path), "")
        found[".".join(path)] = found[".".join(path)] or str(value).strip()[:LONGEST]


def _is_readable(value: Any, path: tuple[str, ...]) -> bool:
    """Text and whole numbers; only how long something took may be a fraction."""
    if isinstance(value, float):
        return path[-1:] == ("duration",) and math.isfinite(value)
    return isinstance(value, str | int) and not isinstance(value, bool)


def _path(name: str) -> tuple[str, ...]:
    """``Stream[StreamSID]``, ``stream.stream_sid`` -> ("stream", "streamsid")."""
    parts = re.split(r"[\[\].]+", name[:LONGEST])
    return tuple(part.replace("_", "").replace("-", "").strip().lower() for part in parts if part)[:DEEPEST]


def _parsed(text: str) -> Any:
    if not text.lstrip().startswith("{"):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # no JSON, or a tower of brackets
        return None


def _first(found: Mapping[str, str], places: Iterable[str]) -> str:
    return next((found[place] for place in places if found.get(place)), "")

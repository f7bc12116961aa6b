"""Why calls end and what came of them, in words that a person understands."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from flaskapp.phone.ailments import AILMENTS


class Ending(StrEnum):
    """How well a call ended: as it should, at a limit that somebody set, or because something failed."""

    FINE = "fine"
    LIMIT = "limit"
    FAILED = "failed"


@dataclass(frozen=True)
class Reason:
    """Why a call ended.

    Attributes:
        words: one sentence without its full stop.
    """

    words: str
    ending: Ending


#: Faults that calls end of when nothing helps; what they are is said once, in ``ailments.py``.
_FATAL = (
    *("carrier_lost", "carrier_silent", "carrier_malformed", "no_start", "media_before_start", "wrong_call"),
    *("second_stream", "not_admitted", "flood", "unsupported_format"),
    *("engine_rejected", "engine_unreachable", "engine_lost", "engine_slow", "engine_stalled"),
    *("engine_fault", "engine_format", "engine_malformed", "engine_refused_session"),
    *("session_expired", "reply_failed", "worker_lost"),
)
REASONS = {
    "caller_hung_up": Reason("The caller hung up", Ending.FINE),
    "goodbye": Reason("Both said goodbye", Ending.FINE),
    "transferred": Reason("The caller was handed over to a person", Ending.FINE),
    "transferring": Reason("The caller was being handed over to a person", Ending.FINE),
    "message_left": Reason("The caller left a message", Ending.FINE),
    "caller_silent": Reason("The caller said nothing any more", Ending.FINE),
    "max_duration": Reason("The time for the call was up", Ending.LIMIT),
    "max_cost": Reason("The call had reached its price", Ending.LIMIT),
    "busy": Reason("There was no room for the call, and it was refused", Ending.LIMIT),
    "moved": Reason("Another worker took the call over", Ending.FINE),
    "replaced": Reason("Another stream took the call over", Ending.FINE),
    "handed_over": Reason("The carrier's flow went on with the caller", Ending.FINE),
    "shutting_down": Reason("The server was stopped", Ending.FINE),
    "operator": Reason("The operator ended the call", Ending.FINE),
    **{name: Reason(AILMENTS[name].what, Ending.FAILED) for name in _FATAL},
}
UNKNOWN = Reason("", Ending.FINE)
#: What came of a call.
OUTCOMES = {
    "answered": "answered",
    "transferred": "handed over",
    "message": "message left",
    "rejected": "refused",
    "limit": "at its limit",
    "lost": "lost",
    "nothing_said": "nothing said",
}


def reason(name: str | None) -> Reason:
    """What is known of a reason; of one that has no words here, its name."""
    if not name:
        return UNKNOWN
    return REASONS.get(name) or Reason(name.replace("_", " ").capitalize(), Ending.FINE)


FAILURES = frozenset(name for name, each in REASONS.items() if each.ending is Ending.FAILED)

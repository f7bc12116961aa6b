"""When each step of recent turns happened, so that a bench can tell the engine's share of a delay."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass, field

KEPT = 200


@dataclass
class Turn:
    """The moments of one caller's turn, in seconds of ``time.monotonic()``.

    On Linux that clock is the machine's, so another process may compare. None
    is a step that did not happen: a greeting has no caller to wait for.
    """

    item_id: str | None = None
    voice_ended_at: float | None = None  # its last voiced audio arrived
    decided_at: float | None = None  # it was decided to be over
    heard_at: float | None = None  # its transcription was ready
    ears: str = ""  # the model that understood it: desk, free, or nothing


@dataclass
class Timing:
    """The moments of one response, and those of the turn that it answers."""

    response_id: str
    session_id: str
    turn: Turn = field(default_factory=Turn)
    first_audio_at: float | None = None  # its first sound was sent
    done_at: float | None = None
    status: str = "in_progress"

    def summary(self) -> str:
        """For the log: milliseconds of each step since the caller's last voiced audio."""
        start = self.turn.voice_ended_at
        if start is None:
            return f"{self.response_id} {self.status}, no voice was waited for"
        steps = {
            "decided": self.turn.decided_at,
            "heard": self.turn.heard_at,
            "first audio": self.first_audio_at,
        }
        told = (f"{name} {(at - start) * 1000:.0f} ms" for name, at in steps.items() if at is not None)
        return f"{self.response_id} {self.status}: {', '.join(told)}"


class Timings:
    """The last 200 responses of all sessions."""

    def __init__(self) -> None:
        self._recent: deque[Timing] = deque(maxlen=KEPT)

    def begin(self, response_id: str, session_id: str, turn: Turn | None) -> Timing:
        timing = Timing(response_id, session_id, turn or Turn())
        self._recent.append(timing)
        return timing

    def as_json(self) -> list[dict[str, object]]:
        """Oldest first, a turn's moments beside its response's."""
        flat = []
        for timing in self._recent:
            record = asdict(timing)
            flat.append({**record.pop("turn"), **record})
        return flat

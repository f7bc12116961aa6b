"""The caller's audio on its way in: kept while nobody listens yet, and no more than a phone call brings."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, fields
from typing import Any

from flaskapp.phone import events as ev

EARLY_MS = 10_000
FLOOD_BURST_MS = 10_000
FLOOD_RATE = 2.0
FLOOD_WITHIN_S = 5.0


@dataclass(slots=True)
class Intake:
    """Pace and early audio of one stream; times are seconds since the call began."""

    began_at: float = 0.0
    last_at: float = 0.0
    received_ms: float = 0.0
    dropped_ms: float = 0.0
    excess_since: float | None = None
    early: deque[ev.CallerAudio] = field(default_factory=deque)
    early_ms: float = 0.0

    def starts(self, at: float) -> None:
        self.began_at = self.last_at = at

    def within_pace(self, audio: ev.CallerAudio, at: float) -> bool:
        """Whether to take this slice: twice real time after a burst of ten seconds, no more."""
        self.last_at = at
        due_ms = FLOOD_BURST_MS + FLOOD_RATE * 1000 * (at - self.began_at)
        received_ms = self.received_ms + audio.duration_ms
        if received_ms > due_ms:
            self.dropped_ms += audio.duration_ms
            return False
        self.received_ms = received_ms
        if self.excess_since is not None and received_ms < due_ms - 1000:
            self.excess_since = None
        return True

    def excess_begins(self, at: float) -> bool:
        """Whether this is the first slice too many."""
        if self.excess_since is not None:
            return False
        self.excess_since = at
        return True

    def is_flood(self, at: float) -> bool:
        """Whether too much has come for too long."""
        return self.excess_since is not None and at - self.excess_since > FLOOD_WITHIN_S

    def keep(self, audio: ev.CallerAudio) -> float:
        """Keep a slice for later; ms of the oldest that had to go for it."""
        self.early.append(audio)
        self.early_ms += audio.duration_ms
        dropped_ms = 0.0
        while self.early_ms > EARLY_MS:
            oldest = self.early.popleft().duration_ms
            self.early_ms -= oldest
            dropped_ms += oldest
        self.dropped_ms += dropped_ms
        return dropped_ms

    def take(self) -> list[ev.CallerAudio]:
        """What was kept, oldest first; it is kept no longer."""
        kept = list(self.early)
        self.early.clear()
        self.early_ms = 0.0
        return kept

    def to_dict(self) -> dict[str, Any]:
        """All of it but the audio."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "early"}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Intake:
        return cls(**{**data, "early_ms": 0.0})

"""Which calls somebody asks the history for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flaskapp.store.tables import Call


@dataclass(frozen=True)
class Wanted:
    """Calls that are all of this; None: whatever it is. Begun at or after `since`, and before `until`."""

    carrier: str | None = None
    mode: str | None = None
    status: str | None = None
    outcome: str | None = None
    ended_reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[Any]:
        """The same in SQL."""
        equal = ("carrier", "mode", "status", "outcome", "ended_reason")
        found = [
            getattr(Call, name) == getattr(self, name) for name in equal if getattr(self, name) is not None
        ]
        if self.since is not None:
            found.append(Call.started_at >= self.since)
        if self.until is not None:
            found.append(Call.started_at < self.until)
        return found


ANY = Wanted()

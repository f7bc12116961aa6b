"""What is still to be told about calls that are over: a row each, claimed by one at a time until it is done.

A claim moves the row's ``due_at`` forward. Whoever claimed it and is killed
loses it to somebody else at that time; whoever is late finds it moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, bindparam, select, update

from flaskapp.store.tables import Call, Delivery
from flaskapp.store.writing import write

LEASE = timedelta(seconds=60)
#: Asked every second: made once.
_DUE = (
    select(Call.call_sid, Delivery.due_at)
    .join(Delivery, Delivery.call_id == Call.id)
    .where(Delivery.due_at <= bindparam("now"))
    .order_by(Delivery.due_at)
    .limit(bindparam("most"))
)


@dataclass(frozen=True)
class Due:
    """One claimed row.

    Attributes:
        event_id: what the receiver knows it by.
        attempts: how often it was sent before.
        last_error: why that was in vain; empty if it was not, or never was.
        until: the claim's end; it is the claim's own mark, too.
        created_at: when the call was over.
    """

    call_sid: str
    event_id: str
    attempts: int
    last_error: str
    until: datetime
    created_at: datetime


class Deliveries:
    """All rows of ``deliveries``; its methods raise ``sqlalchemy.exc.SQLAlchemyError`` without a database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def due(self, now: datetime, limit: int = 100) -> list[tuple[str, datetime]]:
        """Calls about which something is to be done by now, and since when; the longest due first."""
        with self._engine.connect() as connection:
            rows = connection.execute(_DUE, {"now": now, "most": limit})
            return [(row.call_sid, row.due_at) for row in rows]

    def of(self, call_sid: str) -> dict[str, Any] | None:
        """One call's row, or None."""
        with self._engine.connect() as connection:
            row = connection.execute(_row(call_sid)).mappings().first()
        return dict(row) if row else None

    def claim(self, call_sid: str, now: datetime, lease: timedelta = LEASE) -> Due | None:
        """Take on a call's row for a while: None if it is not due, or in somebody's hands."""
        row = self.of(call_sid)
        if row is None or row["due_at"] is None or row["due_at"] > now:
            return None
        until = now + lease
        is_as_it_was = (Delivery.id == row["id"]) & (Delivery.due_at == row["due_at"])
        if not self._update(is_as_it_was, due_at=until):
            return None
        return Due(
            call_sid, row["event_id"], row["attempts"], row["last_error"] or "", until, row["created_at"]
        )

    def postpone(self, due: Due, to: datetime) -> None:
        """Not now: it is due again then. Nothing was sent."""
        self._update(_held(due), due_at=to)

    def failed(self, due: Due, error: str, to: datetime) -> None:
        """It was sent in vain: it is due again then."""
        self._update(_held(due), due_at=to, last_error=error, attempts=due.attempts + 1)

    def accepted(self, due: Due, now: datetime) -> None:
        """It was sent and accepted; whoever holds it by now need not send it any more."""
        done = {"due_at": None, "accepted_at": now, "last_error": None, "attempts": due.attempts + 1}
        self._update(Delivery.event_id == due.event_id, **done)

    def given_up(self, due: Due, error: str, now: datetime) -> None:
        """Nothing more will be sent."""
        self._update(_held(due), due_at=None, given_up_at=now, last_error=error)

    def _update(self, condition: Any, **values: Any) -> bool:
        """Whether there was such a row."""
        statement = update(Delivery).where(condition).values(**values)
        return write(self._engine, lambda connection: connection.execute(statement).rowcount == 1)


def _row(call_sid: str) -> Any:
    return select(Delivery.__table__).join(Call, Call.id == Delivery.call_id).where(Call.call_sid == call_sid)


def _held(due: Due) -> Any:
    """The row, as long as the claim is ours."""
    return (Delivery.event_id == due.event_id) & (Delivery.due_at == due.until)

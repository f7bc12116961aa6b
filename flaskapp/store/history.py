"""Calls as they are remembered: entries in, in one transaction each time; plain dicts out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from importlib import import_module
from typing import Any

from flask import Flask
from sqlalchemy import Engine, Select, and_, delete, func, not_, or_, select
from sqlalchemy.engine import Connection

from flaskapp.config import INSTANCE, Settings
from flaskapp.phone.giving_way import pause
from flaskapp.store import database
from flaskapp.store.deliveries import Deliveries
from flaskapp.store.migrations import init_migrations
from flaskapp.store.statements import (
    CLOSED_RECORDINGS,
    OPEN_RECORDINGS,
    RANKS,
    TERMINAL,
    CallChanged,
    CallOpened,
    CallOver,
    Entry,
    EventHappened,
    OpenLinesWithdrawn,
    RecordingChanged,
    Statement,
    TraceKept,
    TurnSaved,
    id_of,
    statements,
)
from flaskapp.store.tables import Call, Delivery, Event, Recording, Trace, Turn, db
from flaskapp.store.wanted import ANY, Wanted
from flaskapp.store.writing import write

__all__ = [
    "CLOSED_RECORDINGS",
    "OPEN_RECORDINGS",
    "RANKS",
    "TERMINAL",
    "CallChanged",
    "CallOpened",
    "CallOver",
    "Entry",
    "EventHappened",
    "History",
    "OpenLinesWithdrawn",
    "RecordingChanged",
    "TraceKept",
    "TurnSaved",
    "init_history",
]

#: Between so many rows frames pass.
AT_ONCE = 250
OF_A_CALL: tuple[Any, ...] = (Turn, Event, Recording, Trace, Delivery)


class History:
    """What is known of every call. Safe to use from any greenlet or thread, in a request or not.

    Attributes:
        deliveries: what is still to be told about calls that are over.
    """

    def __init__(self, app: Flask) -> None:
        with app.app_context():
            self._engine: Engine = db.engine
        self.deliveries = Deliveries(self._engine)
        # The one of the two dialects that is loaded.
        self._insert = import_module(f"sqlalchemy.dialects.{self._engine.dialect.name}").insert

    def write(self, entries: Iterable[Entry]) -> None:
        """All of it or nothing, in the given order; writing the same entries again changes nothing.

        Raises:
            ValueError: a field that calls do not have, or a status that no carrier sends.
            sqlalchemy.exc.SQLAlchemyError: the database is away, or locked for more than five seconds.
        """
        todo = [statement for entry in entries for statement in statements(self._insert, entry)]
        if todo:
            write(self._engine, partial(_execute, todo))

    def call(self, call_sid: str) -> dict[str, Any] | None:
        """One call's columns, or None."""
        rows = self._rows(select(Call.__table__).where(Call.call_sid == call_sid))
        return rows[0] if rows else None

    def calls(
        self, after: str | int | None = None, limit: int = 50, wanted: Wanted = ANY
    ) -> list[dict[str, Any]]:
        """The newest calls first.

        Args:
            after: the last call_sid of the page before; or its `id`, which is good if it is removed, too.
        """
        query = select(Call.__table__).where(*wanted.conditions()).order_by(Call.id.desc()).limit(limit)
        if after is not None:
            query = query.where(Call.id < (after if isinstance(after, int) else id_of(after)))
        return self._rows(query)

    def turns(self, call_sid: str) -> list[dict[str, Any]]:
        """A call's turns in the order in which they were spoken; what was withdrawn is none."""
        is_withdrawn = and_(Turn.text == "", Turn.is_final.is_(True))
        query = (
            select(Turn.__table__)
            .where(Turn.call_id == id_of(call_sid), not_(is_withdrawn))
            .order_by(Turn.position, Turn.id)
        )
        return _without(self._rows(query), "id", "call_id")

    def events(self, call_sid: str) -> list[dict[str, Any]]:
        """A call's events as they happened: at_ms, kind, detail."""
        query = (
            select(Event.__table__).where(Event.call_id == id_of(call_sid)).order_by(Event.at_ms, Event.id)
        )
        return _without(self._rows(query), "id", "call_id", "digest")

    def trace(self, call_sid: str) -> bytes | None:
        """What the legs of a call said, as it is packed; None where nothing was kept."""
        rows = self._rows(select(Trace.body).where(Trace.call_id == id_of(call_sid)))
        return rows[0]["body"] if rows else None

    def recording(self, recording_sid: str) -> dict[str, Any] | None:
        """One recording's columns and its call's `call_sid` and `called`, or None."""
        rows = self._recordings(Recording.recording_sid == recording_sid)
        return rows[0] if rows else None

    def recordings(self, call_sid: str) -> list[dict[str, Any]]:
        """A call's recordings, the first first."""
        return self._recordings(Call.call_sid == call_sid)

    def open_recordings(self, now: datetime, limit: int = 50) -> list[dict[str, Any]]:
        """Recordings that are not at their end and are due to be tried (again), the oldest first."""
        is_due = or_(Recording.next_try_at.is_(None), Recording.next_try_at <= now)
        return self._recordings(Recording.status.in_(OPEN_RECORDINGS), is_due, limit=limit)

    def untold(self, since: datetime, until: datetime, limit: int = 50) -> list[str]:
        """Calls that began in that time and are over by the carrier's word, which nobody else has said."""
        query = (
            select(Call.call_sid)
            .outerjoin(Delivery, Delivery.call_id == Call.id)
            .where(Call.started_at.between(since, until), Call.status.in_(TERMINAL), Delivery.id.is_(None))
            .limit(limit)
        )
        return [row["call_sid"] for row in self._rows(query)]

    def ringing(self, since: datetime, until: datetime, limit: int = 200) -> list[str]:
        """Calls that began in that time, of whose end nobody has said anything, nor their carrier of more."""
        is_open = Call.started_at.between(since, until), Call.status == "ringing", Call.ended_at.is_(None)
        query = select(Call.call_sid).where(*is_open).order_by(Call.id).limit(limit)
        return [row["call_sid"] for row in self._rows(query)]

    def old(self, before: datetime, after_id: int = 0, limit: int = 100) -> list[tuple[int, str]]:
        """Calls that ended before a moment, the oldest first: each row's id and the call's.

        A row that knows no time is as old as the rows around it.

        Args:
            after_id: the last id of the page before.
        """
        then = func.coalesce(Call.ended_at, Call.started_at)
        newest = select(func.max(Call.id)).where(then < before).scalar_subquery()
        is_old = or_(then < before, and_(then.is_(None), Call.id < newest))
        query = select(Call.id, Call.call_sid).where(is_old, Call.id > after_id).order_by(Call.id)
        return [(row["id"], row["call_sid"]) for row in self._rows(query.limit(limit))]

    def erase(self, call_sid: str) -> int:
        """Delete a call and all that is known of it: how many rows.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database is away, or locked for more than five seconds.
        """
        children = [delete(table).where(table.call_id == id_of(call_sid)) for table in OF_A_CALL]
        todo = [*children, delete(Call).where(Call.call_sid == call_sid)]
        return write(self._engine, lambda connection: sum(connection.execute(each).rowcount for each in todo))

    def _recordings(self, *conditions: Any, limit: int | None = None) -> list[dict[str, Any]]:
        query = (
            select(Recording.__table__, Call.call_sid, Call.called)
            .join(Call, Call.id == Recording.call_id)
            .where(*conditions)
            .order_by(Recording.id)
            .limit(limit)
        )
        return _without(self._rows(query), "id", "call_id")

    def _rows(self, query: Select[*tuple[Any, ...]]) -> list[dict[str, Any]]:
        with self._engine.connect() as connection:
            found: list[dict[str, Any]] = []
            for part in connection.execute(query).mappings().partitions(AT_ONCE):
                found += [dict(row) for row in part]
                if len(part) == AT_ONCE:
                    pause()
            return found


def init_history(app: Flask, settings: Settings) -> None:
    """Gives the app its database, `flask db ...` and `app.extensions["history"]`."""
    url = settings.database_url
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = database.engine_options(url)
    database.make_room(url, INSTANCE)
    db.init_app(app)
    with app.app_context():
        database.prepare(db.engine)
    init_migrations(app, db)
    app.extensions["history"] = History(app)


def _without(rows: Sequence[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in names} for row in rows]


def _execute(todo: Sequence[Statement], connection: Connection) -> None:
    for each in todo:
        statement, values = each if isinstance(each, tuple) else (each, None)
        connection.execute(statement, values)

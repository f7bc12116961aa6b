"""Calls as they are remembered: entries in, in one transaction each time; plain dicts out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from importlib import import_module
from typing import Any

from flask import Flask
from sqlalchemy import Engine, Insert, Select, Update, and_, case, func, not_, or_, select, true, update

from flaskapp.config import INSTANCE, Settings
from flaskapp.store import database
from flaskapp.store.deliveries import Deliveries
from flaskapp.store.migrations import init_migrations
from flaskapp.store.tables import Call, Delivery, Event, Recording, Turn, db
from flaskapp.store.writing import write

STATUSES = {"queued": 0, "initiated": 1, "ringing": 2, "in-progress": 3}
TERMINAL = ("completed", "busy", "failed", "no-answer", "canceled")
RANKS = STATUSES | dict.fromkeys(TERMINAL, 4)
# What became of a recording: claimed, then perhaps waiting for a long time, then one of the last.
OPEN_RECORDINGS = {"claimed": 0, "waiting": 1}
CLOSED_RECORDINGS = (
    *("answered", "understood", "silent"),
    *("blocked_url", "too_large", "not_audio", "absent", "failed"),
)
RECORDING_RANKS = OPEN_RECORDINGS | dict.fromkeys(CLOSED_RECORDINGS, 2)
SAME_CALL = timedelta(minutes=1)  # clocks of two machines differ by less


@dataclass(frozen=True)
class CallOpened:
    """A carrier brought a call. Numbers as given; `at` with its time zone."""

    call_sid: str
    carrier: str
    caller: str
    called: str
    mode: str
    at: datetime


@dataclass(frozen=True)
class CallChanged:
    """New values for columns of `calls`; `status` and `status_sequence` only ever rise.

    `began` is when the call began of which that is said. Where the row is of a call that has ended, and
    began more than a minute before, a webhook of that one has come again: nothing but the status is taken.
    """

    call_sid: str
    fields: dict[str, Any]
    began: datetime | None = None


@dataclass(frozen=True)
class TurnSaved:
    """One speaker's turn as it stands; a later one with the same `item` replaces it."""

    call_sid: str
    item: str
    position: int
    speaker: str
    text: str
    start_ms: int
    end_ms: int
    mode: str
    interrupted: bool
    is_final: bool
    engine_ms: int | None = None
    bridge_ms: int | None = None


@dataclass(frozen=True)
class EventHappened:
    """Something worth remembering, `at_ms` after the call began. `detail` is JSON."""

    call_sid: str
    at_ms: int
    kind: str
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RecordingChanged:
    """New values for columns of `recordings`; `status` only rises, and once it is a last one it stays.

    A null takes nothing back, but an `error` that is over, and a `next_try_at`.
    """

    call_sid: str
    recording_sid: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class CallOver:
    """A call is over for good, and what follows is due at `due_at`; the first to say it is right."""

    call_sid: str
    event_id: str
    at: datetime
    due_at: datetime


@dataclass(frozen=True)
class OpenLinesWithdrawn:
    """Lines that a dead worker left open, and of which nobody else knows but for those that are `kept`."""

    call_sid: str
    kept: tuple[str, ...] = ()


Entry = (
    CallOpened | CallChanged | TurnSaved | EventHappened | RecordingChanged | CallOver | OpenLinesWithdrawn
)


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
        statements = [statement for entry in entries for statement in self._statements(entry)]
        if statements:
            write(self._engine, lambda connection: [connection.execute(each) for each in statements])

    def call(self, call_sid: str) -> dict[str, Any] | None:
        """One call's columns, or None."""
        rows = self._rows(select(Call.__table__).where(Call.call_sid == call_sid))
        return rows[0] if rows else None

    def calls(self, after: str | None = None, limit: int = 50) -> list[dict[str, Any]]:
        """The newest calls first; `after` is the last call_sid of the page before."""
        query = select(Call.__table__).order_by(Call.id.desc()).limit(limit)
        if after is not None:
            query = query.where(Call.id < _id_of(after))
        return self._rows(query)

    def turns(self, call_sid: str) -> list[dict[str, Any]]:
        """A call's turns in the order in which they were spoken; what was withdrawn is none."""
        is_withdrawn = and_(Turn.text == "", Turn.is_final.is_(True))
        query = (
            select(Turn.__table__)
            .where(Turn.call_id == _id_of(call_sid), not_(is_withdrawn))
            .order_by(Turn.position, Turn.id)
        )
        return _without(self._rows(query), "id", "call_id")

    def events(self, call_sid: str) -> list[dict[str, Any]]:
        """A call's events as they happened: at_ms, kind, detail."""
        query = (
            select(Event.__table__).where(Event.call_id == _id_of(call_sid)).order_by(Event.at_ms, Event.id)
        )
        return _without(self._rows(query), "id", "call_id", "digest")

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
            return [dict(row) for row in connection.execute(query).mappings()]

    def _statements(self, entry: Entry) -> Sequence[Insert | Update]:
        return STATEMENTS[type(entry)](self._insert, entry)


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


Inserter = Callable[[Any], Any]


def _opened(insert: Inserter, entry: CallOpened) -> list[Insert]:
    """The first to say it is right: a webhook that comes again opens nothing new."""
    values = _storable(asdict(entry))
    values["started_at"] = values.pop("at")
    statement = insert(Call).values(status="ringing", **values)
    known = {name: func.coalesce(getattr(Call, name), statement.excluded[name]) for name in values}
    return [_upsert_call(statement, known | {"status": _higher_status(statement)})]


def _changed(insert: Inserter, entry: CallChanged) -> list[Insert]:
    status = _checked(Call, entry.fields, {"id", "call_sid"}, RANKS, "queued")
    values = _storable(entry.fields) | {"call_sid": entry.call_sid, "status": status}
    statement = insert(Call).values(**values)
    changes = {name: statement.excluded[name] for name in entry.fields}
    if entry.began is not None:
        is_echo = and_(Call.ended_at.is_not(None), Call.started_at < entry.began - SAME_CALL)
        changes = {name: case((is_echo, getattr(Call, name)), else_=new) for name, new in changes.items()}
    if "status_sequence" in changes:
        changes["status_sequence"] = _larger(Call.status_sequence, statement.excluded.status_sequence)
    return [_upsert_call(statement, changes | {"status": _higher_status(statement)})]


def _turn(insert: Inserter, entry: TurnSaved) -> list[Insert]:
    """What is final stays final, and a measured time is not unmeasured."""
    values = _storable(asdict(entry))
    statement = insert(Turn).values(call_id=_id_of(values.pop("call_sid")), **values)
    changes = {name: statement.excluded[name] for name in values if name != "item"}
    for name in ("engine_ms", "bridge_ms"):
        changes[name] = func.coalesce(statement.excluded[name], getattr(Turn, name))
    newer = or_(Turn.is_final.is_(False), statement.excluded.is_final.is_(True))
    upsert = statement.on_conflict_do_update(index_elements=["call_id", "item"], set_=changes, where=newer)
    return [_known(insert, entry.call_sid), upsert]


def _event(insert: Inserter, entry: EventHappened) -> list[Insert]:
    detail = _storable(entry.detail)
    said = json.dumps([entry.at_ms, entry.kind, detail], sort_keys=True)
    statement = insert(Event).values(
        call_id=_id_of(entry.call_sid),
        at_ms=entry.at_ms,
        kind=entry.kind,
        detail=detail,
        digest=blake2b(said.encode(), digest_size=16).hexdigest(),
    )
    unseen = statement.on_conflict_do_nothing(index_elements=["call_id", "digest"])
    return [_known(insert, entry.call_sid), unseen]


def _recording(insert: Inserter, entry: RecordingChanged) -> list[Insert]:
    """The last status is the truth: what comes after it is an echo, unless it says the same.

    An echo adds what was unknown: two may write at once, and each knows something else.
    """
    kept = {"id", "call_id", "recording_sid"}
    status = _checked(Recording, entry.fields, kept, RECORDING_RANKS, "claimed")
    values = _storable(entry.fields) | {"recording_sid": entry.recording_sid, "status": status}
    statement = insert(Recording).values(
        **{"created_at": datetime.now(UTC), **values}, call_id=_id_of(entry.call_sid)
    )
    if not entry.fields:
        upsert = statement.on_conflict_do_nothing(index_elements=["recording_sid"])
        return [_known(insert, entry.call_sid), upsert]
    rises: Any = true()
    if "status" in entry.fields:
        said, known = statement.excluded.status, Recording.status
        rises = or_(said == known, _rank(said, RECORDING_RANKS) > _rank(known, RECORDING_RANKS))
    changes = {}
    for name in entry.fields:
        new, old = statement.excluded[name], getattr(Recording, name)
        is_state = name in ("status", "error", "next_try_at")
        newer, older = (new, old) if is_state else (func.coalesce(new, old), func.coalesce(old, new))
        changes[name] = case((rises, newer), else_=older)
    upsert = statement.on_conflict_do_update(index_elements=["recording_sid"], set_=changes)
    return [_known(insert, entry.call_sid), upsert]


def _over(insert: Inserter, entry: CallOver) -> list[Insert]:
    statement = insert(Delivery).values(
        call_id=_id_of(entry.call_sid),
        event_id=entry.event_id,
        due_at=entry.due_at,
        attempts=0,
        created_at=entry.at,
    )
    unsaid = statement.on_conflict_do_nothing(index_elements=["call_id"])
    return [_known(insert, entry.call_sid), unsaid]


def _withdrawn(insert: Inserter, entry: OpenLinesWithdrawn) -> list[Update]:
    is_open = and_(Turn.call_id == _id_of(entry.call_sid), Turn.is_final.is_(False))
    return [update(Turn).where(is_open, Turn.item.not_in(entry.kept)).values(text="", is_final=True)]


STATEMENTS: Mapping[type, Callable[[Inserter, Any], Sequence[Insert | Update]]] = {
    CallOpened: _opened,
    CallChanged: _changed,
    TurnSaved: _turn,
    EventHappened: _event,
    RecordingChanged: _recording,
    CallOver: _over,
    OpenLinesWithdrawn: _withdrawn,
}


def _checked(
    table: Any, fields: Mapping[str, Any], kept: set[str], ranks: Mapping[str, int], first: str
) -> str:
    """The status among an entry's fields, or the one that a new row has.

    Raises:
        ValueError: the table has no such column, or `kept` it for itself, or there is no such status.
    """
    name = table.__tablename__
    unknown = fields.keys() - table.__table__.columns.keys() | fields.keys() & kept
    if unknown:
        raise ValueError(f"{name} have no {', '.join(sorted(unknown))}")
    status = str(fields.get("status", first))
    if status not in ranks:
        raise ValueError(f"{status!r} is no status of a {name[:-1]}; these are: {', '.join(ranks)}")
    return status


def _known(insert: Inserter, call_sid: str) -> Insert:
    """A row for a call that nobody opened: its words are kept all the same."""
    statement = insert(Call).values(call_sid=call_sid, status="queued")
    return statement.on_conflict_do_nothing(index_elements=["call_sid"])


def _upsert_call(statement: Any, changes: Mapping[str, Any]) -> Insert:
    return statement.on_conflict_do_update(index_elements=["call_sid"], set_=dict(changes))


def _id_of(call_sid: str) -> Any:
    return select(Call.id).where(Call.call_sid == call_sid).scalar_subquery()


def _higher_status(statement: Any) -> Any:
    """Callbacks come in any order: a status gives way only to a higher one, a terminal one to none."""
    new, old = statement.excluded.status, Call.status
    return case((_rank(new, RANKS) > _rank(old, RANKS), new), else_=old)


def _rank(status: Any, ranks: Mapping[str, int]) -> Any:
    return case(dict(ranks), value=status, else_=-1)


def _larger(old: Any, new: Any) -> Any:
    return case((func.coalesce(old, -1) > func.coalesce(new, -1), old), else_=new)


def _storable(value: Any) -> Any:
    """The same, without what no database keeps: NUL, and halves of surrogate pairs."""
    if isinstance(value, str):
        return value.replace("\0", "").encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_storable(name): _storable(each) for name, each in value.items()}
    return [_storable(each) for each in value] if isinstance(value, (list, tuple)) else value


def _without(rows: Sequence[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in names} for row in rows]

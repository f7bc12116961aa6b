"""What the history is told, and the statements that write it; those that every call needs are made once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from hashlib import blake2b
from typing import Any

from sqlalchemy import Insert, Update, and_, bindparam, case, func, or_, select, true, update

from flaskapp.store.tables import Call, Delivery, Event, Recording, Trace, Turn

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
    heard_ms: int | None = None
    noticed_ms: int | None = None
    words_ms: int | None = None
    generated: str = ""


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


@dataclass(frozen=True)
class TraceKept:
    """All that the legs of a call said, as ``traces.py`` packs it; a later one replaces it."""

    call_sid: str
    body: bytes


Entry = (
    CallOpened | CallChanged | TurnSaved | EventHappened | RecordingChanged | CallOver | OpenLinesWithdrawn
    | TraceKept
)  # fmt: skip


Inserter = Callable[[Any], Any]
#: A statement that is made once, for making it takes longer than carrying it out, and one entry's values.
Prepared = tuple[Insert, dict[str, Any]]
Statement = Insert | Update | Prepared
OF_CALL = "of_call"
OPENED = ("call_sid", "carrier", "caller", "called", "mode", "started_at")
CHANGES_KEPT = 64  # far more than anybody asks for
SAVED = tuple(each.name for each in fields(TurnSaved) if each.name != "call_sid")
MEASURED = ("engine_ms", "bridge_ms", "heard_ms", "noticed_ms", "words_ms")


def statements(insert: Inserter, entry: Entry) -> Sequence[Statement]:
    """What writes an entry, in order.

    Args:
        insert: the dialect's own.

    Raises:
        ValueError: a field that calls do not have, or a status that no carrier sends.
    """
    return STATEMENTS[type(entry)](insert, entry)


def _opened(insert: Inserter, entry: CallOpened) -> list[Prepared]:
    values = {**_storable(asdict(entry)), "started_at": entry.at}
    return [(_call_insert(insert), {f"new_{name}": values[name] for name in OPENED})]


@cache
def _call_insert(insert: Inserter) -> Insert:
    """The first to say it is right: a webhook that comes again opens nothing new."""
    statement = insert(Call).values(status="ringing", **_binds(OPENED))
    known = {name: func.coalesce(getattr(Call, name), statement.excluded[name]) for name in OPENED}
    return _upsert_call(statement, known | {"status": _higher_status(statement)})


def _changed(insert: Inserter, entry: CallChanged) -> list[Prepared]:
    status = _checked(Call, entry.fields, {"id", "call_sid"}, RANKS, "queued")
    values = {**_storable(entry.fields), "call_sid": entry.call_sid, "status": status}
    if entry.began is not None:
        values["began"] = entry.began - SAME_CALL
    statement = _call_change(insert, tuple(entry.fields), entry.began is not None)
    return [(statement, {f"new_{name}": value for name, value in values.items()})]


@lru_cache(CHANGES_KEPT)
def _call_change(insert: Inserter, names: tuple[str, ...], tells_began: bool) -> Insert:
    """For all changes of the same columns."""
    statement = insert(Call).values(**_binds(dict.fromkeys(("call_sid", "status", *names))))
    changes = {name: statement.excluded[name] for name in names}
    if tells_began:
        is_echo = and_(Call.ended_at.is_not(None), Call.started_at < bindparam("new_began"))
        changes = {name: case((is_echo, getattr(Call, name)), else_=new) for name, new in changes.items()}
    if "status_sequence" in changes:
        changes["status_sequence"] = _larger(Call.status_sequence, statement.excluded.status_sequence)
    return _upsert_call(statement, changes | {"status": _higher_status(statement)})


def _turn(insert: Inserter, entry: TurnSaved) -> list[Prepared]:
    values = {name: _storable(getattr(entry, name)) for name in SAVED}
    return [_known(insert, entry.call_sid), (_turn_upsert(insert), _bound(entry.call_sid, values))]


@cache
def _turn_upsert(insert: Inserter) -> Insert:
    """What is final stays final, and a measured time is not unmeasured."""
    statement = insert(Turn).values(call_id=_bound_id(), **_binds(SAVED))
    changes = {name: statement.excluded[name] for name in SAVED if name != "item"}
    for name in MEASURED:
        changes[name] = func.coalesce(statement.excluded[name], getattr(Turn, name))
    newer = or_(Turn.is_final.is_(False), statement.excluded.is_final.is_(True))
    return statement.on_conflict_do_update(index_elements=["call_id", "item"], set_=changes, where=newer)


def _event(insert: Inserter, entry: EventHappened) -> list[Prepared]:
    detail = _storable(entry.detail)
    said = json.dumps([entry.at_ms, entry.kind, detail], sort_keys=True)
    digest = blake2b(said.encode(), digest_size=16).hexdigest()
    values = {"at_ms": entry.at_ms, "kind": entry.kind, "detail": detail, "digest": digest}
    return [_known(insert, entry.call_sid), (_event_insert(insert), _bound(entry.call_sid, values))]


@cache
def _event_insert(insert: Inserter) -> Insert:
    statement = insert(Event).values(call_id=_bound_id(), **_binds(("at_ms", "kind", "detail", "digest")))
    return statement.on_conflict_do_nothing(index_elements=["call_id", "digest"])


def _recording(insert: Inserter, entry: RecordingChanged) -> list[Insert | Prepared]:
    """The last status is the truth: what comes after it is an echo, unless it says the same.

    An echo adds what was unknown: two may write at once, and each knows something else.
    """
    kept = {"id", "call_id", "recording_sid"}
    status = _checked(Recording, entry.fields, kept, RECORDING_RANKS, "claimed")
    values = _storable(entry.fields) | {"recording_sid": entry.recording_sid, "status": status}
    statement = insert(Recording).values(
        **{"created_at": datetime.now(UTC), **values}, call_id=id_of(entry.call_sid)
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


def _over(insert: Inserter, entry: CallOver) -> list[Insert | Prepared]:
    statement = insert(Delivery).values(
        call_id=id_of(entry.call_sid),
        event_id=entry.event_id,
        due_at=entry.due_at,
        attempts=0,
        created_at=entry.at,
    )
    unsaid = statement.on_conflict_do_nothing(index_elements=["call_id"])
    return [_known(insert, entry.call_sid), unsaid]


def _withdrawn(insert: Inserter, entry: OpenLinesWithdrawn) -> list[Update]:
    is_open = and_(Turn.call_id == id_of(entry.call_sid), Turn.is_final.is_(False))
    return [update(Turn).where(is_open, Turn.item.not_in(entry.kept)).values(text="", is_final=True)]


def _trace(insert: Inserter, entry: TraceKept) -> list[Insert | Prepared]:
    statement = insert(Trace).values(call_id=id_of(entry.call_sid), body=entry.body)
    changes = {"body": statement.excluded.body}
    return [
        _known(insert, entry.call_sid),
        statement.on_conflict_do_update(index_elements=["call_id"], set_=changes),
    ]


STATEMENTS: Mapping[type, Callable[[Inserter, Any], Sequence[Statement]]] = {
    CallOpened: _opened,
    CallChanged: _changed,
    TurnSaved: _turn,
    EventHappened: _event,
    RecordingChanged: _recording,
    CallOver: _over,
    OpenLinesWithdrawn: _withdrawn,
    TraceKept: _trace,
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


def _known(insert: Inserter, call_sid: str) -> Prepared:
    """A row for a call that nobody opened: its words are kept all the same."""
    return _known_insert(insert), _bound(call_sid, {})


@cache
def _known_insert(insert: Inserter) -> Insert:
    statement = insert(Call).values(call_sid=bindparam(OF_CALL), status="queued")
    return statement.on_conflict_do_nothing(index_elements=["call_sid"])


def _binds(names: Iterable[str]) -> dict[str, Any]:
    return {name: bindparam(f"new_{name}") for name in names}


def _bound(call_sid: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {OF_CALL: call_sid, **{f"new_{name}": value for name, value in values.items()}}


def _bound_id() -> Any:
    return select(Call.id).where(Call.call_sid == bindparam(OF_CALL)).scalar_subquery()


def _upsert_call(statement: Any, changes: Mapping[str, Any]) -> Insert:
    return statement.on_conflict_do_update(index_elements=["call_sid"], set_=dict(changes))


def id_of(call_sid: str) -> Any:
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

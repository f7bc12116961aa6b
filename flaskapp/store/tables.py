"""The tables of a call's history."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    JSON,
    DateTime,
    Double,
    ForeignKey,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Constraints have names of their own, so that a migration can drop them on any database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


db = SQLAlchemy(model_class=Base)


class UTCDateTime(TypeDecorator[datetime]):
    """A moment in UTC; SQLite forgets time zones, so it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuses naive times: nobody could tell which clock they came from."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The same moment, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Call(db.Model):  # type: ignore[name-defined]
    """What one caller experienced. Numbers are kept as given; unknown fields are null."""

    __tablename__ = "calls"

    id: Mapped[int] = mapped_column(primary_key=True)
    call_sid: Mapped[str] = mapped_column(String(64), unique=True)
    carrier: Mapped[str | None] = mapped_column(String(32))
    mode: Mapped[str | None] = mapped_column(String(16))
    caller: Mapped[str | None] = mapped_column(Text)
    called: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(16))
    ended_reason: Mapped[str | None] = mapped_column(Text)
    started_at: Mapped[datetime | None] = mapped_column(UTCDateTime, index=True)
    ended_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    duration_ms: Mapped[int | None]
    engine: Mapped[str | None] = mapped_column(String(32))
    model: Mapped[str | None] = mapped_column(Text)
    usage: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    status_sequence: Mapped[int | None]
    outcome: Mapped[str | None] = mapped_column(String(16))
    message: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    cost_usd: Mapped[float | None] = mapped_column(Double)


class Turn(db.Model):  # type: ignore[name-defined]
    """One speaker's turn. Times are milliseconds since the call began, or lengths in milliseconds.

    Of an agent's: `engine_ms` from the caller's last word to the first audio here, `bridge_ms` until it was
    sent on, `heard_ms` from there until it was played; `generated`: all the words, where less was heard. Of a
    caller's, from his last word: `noticed_ms` until the engine saw that he had stopped, `words_ms` until his
    words were there. Null: not measured.
    """

    __tablename__ = "turns"
    __table_args__ = (UniqueConstraint("call_id", "item"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    call_id: Mapped[int] = mapped_column(ForeignKey("calls.id", ondelete="CASCADE"))
    item: Mapped[str] = mapped_column(String(255))
    position: Mapped[int]
    speaker: Mapped[str] = mapped_column(String(16))
    text: Mapped[str] = mapped_column(Text)
    start_ms: Mapped[int]
    end_ms: Mapped[int]
    mode: Mapped[str] = mapped_column(String(16))
    interrupted: Mapped[bool]
    is_final: Mapped[bool]
    engine_ms: Mapped[int | None]
    bridge_ms: Mapped[int | None]
    heard_ms: Mapped[int | None]
    noticed_ms: Mapped[int | None]
    words_ms: Mapped[int | None]
    generated: Mapped[str | None] = mapped_column(Text)


class Recording(db.Model):  # type: ignore[name-defined]
    """What one caller said without being heard live: a carrier's recording, or a part of our own buffer.

    `source` says which; `position` and `at_ms` are its place in the call, `next_try_at` is when it is
    worth trying again, as long as `status` is not the last one.
    """

    __tablename__ = "recordings"

    id: Mapped[int] = mapped_column(primary_key=True)
    recording_sid: Mapped[str] = mapped_column(String(64), unique=True)
    call_id: Mapped[int] = mapped_column(ForeignKey("calls.id", ondelete="CASCADE"), index=True)
    status: Mapped[str] = mapped_column(String(32), index=True)
    duration_ms: Mapped[int | None]
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)
    source: Mapped[str | None] = mapped_column(String(16))
    account_sid: Mapped[str | None] = mapped_column(String(64))
    position: Mapped[int | None]
    at_ms: Mapped[int | None]
    attempts: Mapped[int | None]
    next_try_at: Mapped[datetime | None] = mapped_column(UTCDateTime)


class Event(db.Model):  # type: ignore[name-defined]
    """Something that happened in a call, `at_ms` milliseconds after it began."""

    __tablename__ = "events"
    __table_args__ = (UniqueConstraint("call_id", "digest"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    call_id: Mapped[int] = mapped_column(ForeignKey("calls.id", ondelete="CASCADE"))
    at_ms: Mapped[int]
    kind: Mapped[str] = mapped_column(String(64))
    detail: Mapped[dict[str, Any]] = mapped_column(JSON)
    # Of the event itself: the same one written twice is still one.
    digest: Mapped[str] = mapped_column(String(32))


class Trace(db.Model):  # type: ignore[name-defined]
    """What the two legs of a call that is over said to each other, but for the audio.

    `body` is zlib's, of lines of JSON: see `store/traces.py`.
    """

    __tablename__ = "traces"
    __table_args__ = (UniqueConstraint("call_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    call_id: Mapped[int] = mapped_column(ForeignKey("calls.id", ondelete="CASCADE"))
    body: Mapped[bytes] = mapped_column(LargeBinary)


class Delivery(db.Model):  # type: ignore[name-defined]
    """What is still to be done about a call that is over: its outcome settled, its operator told.

    `due_at` is when that is tried (again), null once it is done or given up; `event_id` is what the
    receiver knows the event by, the same at every attempt.
    """

    __tablename__ = "deliveries"
    __table_args__ = (UniqueConstraint("call_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    call_id: Mapped[int] = mapped_column(ForeignKey("calls.id", ondelete="CASCADE"))
    event_id: Mapped[str] = mapped_column(String(64))
    due_at: Mapped[datetime | None] = mapped_column(UTCDateTime, index=True)
    attempts: Mapped[int]
    last_error: Mapped[str | None] = mapped_column(Text)
    accepted_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    given_up_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)

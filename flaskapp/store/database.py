"""How the app talks to its database: SQLite or PostgreSQL, never holding up the calls."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from flaskapp.store.aside import aside

# SQLite waits inside C code, beside the event loop: briefly, for there are few threads to wait in.
# Whoever writes asks again after sleeping.
SQLITE_WAIT_MS = 20
BEGIN_WRITING = "BEGIN IMMEDIATE"
#: An execution option, true: SQLite reads so much for its first row that frames would wait for it.
LONG = "reads_much"
CHECKOUT_S = 2
CONNECT_S = 3
BUSY = ("database is locked", "database table is locked", "database schema is locked")
# Deadlock, serialization failure, lock not available: the same work succeeds when tried again.
BUSY_STATES = ("40P01", "40001", "55P03")


class PatientConnection(sqlite3.Connection):
    """The only moments of a transaction in which SQLite waits for the disk, and for others, are its ends."""

    def commit(self) -> None:
        """Now and then all that was committed is carried from the log to its place, and synced."""
        aside(super().commit)


def engine_options(url: str) -> dict[str, Any]:
    """What SQLAlchemy is told: a checkout waits two seconds at most, and no error quotes what was written."""
    always: dict[str, Any] = {"hide_parameters": True}
    if make_url(url).get_backend_name() == "sqlite":
        own = {"pool_timeout": CHECKOUT_S, "connect_args": {"factory": PatientConnection}}
        return {**always, **own} if is_file(url) else always
    connect = {"connect_timeout": CONNECT_S}
    return {**always, "pool_timeout": CHECKOUT_S, "pool_pre_ping": True, "connect_args": connect}


def is_file(url: str) -> bool:
    """Whether the database is an SQLite file."""
    address = make_url(url)
    return address.get_backend_name() == "sqlite" and address.database not in (None, "", ":memory:")


def file_of(url: str, instance: Path) -> Path | None:
    """The SQLite file that is meant, whether or not it is there; None: the database is no file."""
    return instance / str(make_url(url).database) if is_file(url) else None


def in_short(error: Exception) -> str:
    """An error as a log may tell it: a database's words may be a caller's, so of its errors only the kind."""
    kind = type(error).__name__
    return kind if isinstance(error, SQLAlchemyError) else f"{kind}: {error}"


def make_room(url: str, instance: Path) -> None:
    """The folder that an SQLite file lies in."""
    if file := file_of(url, instance):
        file.parent.mkdir(parents=True, exist_ok=True)


def prepare(engine: Engine, changes: bool = True) -> None:
    """SQLite with readers beside its one writer, foreign keys, and transactions that SQLAlchemy begins.

    Args:
        changes: else its file stays as it is, though readers may then have to wait for the writer.
    """
    if engine.dialect.name != "sqlite":
        return
    event.listen(engine, "connect", _open_sqlite)
    if changes:
        event.listen(engine, "connect", _have_a_log)
    event.listen(engine, "begin", _begin_sqlite)
    event.listen(engine, "do_execute", _long_aside)


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that will write, and says so to SQLite at once: a reader cannot become a writer
    while another one writes, however long it waits."""
    with engine.execution_options(writes=True).begin() as connection:
        yield connection


def is_busy(error: OperationalError) -> bool:
    """Whether the same transaction may succeed in a moment."""
    state = getattr(error.orig, "sqlstate", None)
    return state in BUSY_STATES or str(error.orig).startswith(BUSY)


def _open_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {SQLITE_WAIT_MS}")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _have_a_log(connection: Any, _record: Any) -> None:
    """The file remembers it."""
    connection.execute("PRAGMA journal_mode = WAL").close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql(BEGIN_WRITING if writes else "BEGIN")


def _long_aside(cursor: sqlite3.Cursor, statement: str, parameters: Any, context: Any) -> bool:
    """Somebody else may be writing, or much has to be read first; whether this was done here."""
    is_long = context is not None and context.execution_options.get(LONG)
    if statement != BEGIN_WRITING and not is_long:
        return False
    aside(cursor.execute, statement, parameters)
    return True

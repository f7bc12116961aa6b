"""Brings the database up to date, or says why it is not; what the Procfile's `release` runs."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from flaskapp.config import INSTANCE, Settings, load_settings
from flaskapp.observability import configure_logging
from flaskapp.phone.errors import ConfigurationError
from flaskapp.redaction import Redactor
from flaskapp.store import database, migrations

# honcho starts `release` beside the others instead of before them, and ends all when one of them ends.
HONCHO = "HONCHO_PROCESS_NAME"
RELEASED_WITHIN_S = 60.0
BEHIND = "The database is empty or older than the app: run `flask db upgrade`"


def trouble(settings: Settings, migrate: bool) -> str | None:
    """One line about what is wrong with the database, with its remedy; None if nothing is.

    Args:
        migrate: run what is pending, instead of complaining about it.
    """
    try:
        if migrate:
            _migrate(settings)
        return BEHIND if _is_behind(settings.database_url) else None
    except (SQLAlchemyError, OSError) as error:
        said = str(getattr(error, "orig", None) or error).strip().splitlines()
        why = Redactor(settings.secrets().values())(said[0] if said else type(error).__name__)
        return f"The database does not answer ({why}): start it, or correct DATABASE_URL"


def check(settings: Settings) -> None:
    """What the server does before it has workers, in a process of its own, which ends.

    Raises:
        SystemExit: the database is not as it must be; one line has said why.
    """
    if problem := _checked(settings):
        print(problem, file=sys.stderr)
        sys.exit(1)


def _migrate(settings: Settings) -> None:
    from flask import Flask
    from flask_migrate import upgrade

    from flaskapp.store.history import init_history

    app = Flask("flaskapp")
    init_history(app, settings)
    with app.app_context():
        upgrade()


def _is_behind(url: str) -> bool:
    with opened(url) as engine:
        return migrations.is_behind(engine)


@contextmanager
def opened(url: str, changes: bool = True) -> Iterator[Engine]:
    """A database, with as little of the app as possible: the server's start waits for it.

    Args:
        changes: else no folder is made for an SQLite file, and one that is there stays as it is.
    """
    if changes:
        database.make_room(url, INSTANCE)
    address = make_url(url)
    if file := database.file_of(url, INSTANCE):
        address = address.set(database=str(file))
    engine = create_engine(address, **database.engine_options(url))
    database.prepare(engine, changes)
    try:
        yield engine
    finally:
        engine.dispose()


def main(arguments: list[str]) -> int:
    """`python -m flaskapp.store.migrate [--check]`: 0 up to date, 1 with one line that says why not."""
    try:
        settings = load_settings()
        configure_logging(settings.log_level, settings.log_format, settings.secrets().values())
        logging.getLogger("alembic").setLevel(logging.WARNING)
        problem = _checked(settings) if "--check" in arguments else trouble(settings, migrate=True)
    except ConfigurationError as error:
        problem = str(error)
    if problem:
        print(problem, file=sys.stderr)
    elif os.environ.get(HONCHO, "").startswith("release."):
        print("The database is up to date. This process stays, or honcho would end the others.", flush=True)
        signal.pause()
    return 1 if problem else 0


def _checked(settings: Settings) -> str | None:
    """Under honcho `release` may still be at work: then its end is waited for."""
    give_up_at = time.monotonic() + (RELEASED_WITHIN_S if HONCHO in os.environ else 0.0)
    while (problem := trouble(settings, migrate=False)) == BEHIND and time.monotonic() < give_up_at:
        time.sleep(0.5)
    return problem


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Brings the database up to date, or says why it is not; what the Procfile's `release` runs."""

from __future__ import annotations

import logging
import sys

from flask import Flask
from flask_migrate import upgrade
from sqlalchemy.exc import SQLAlchemyError

from flaskapp.config import Settings, load_settings
from flaskapp.observability import configure_logging
from flaskapp.phone.errors import ConfigurationError
from flaskapp.redaction import Redactor
from flaskapp.store import database
from flaskapp.store.history import init_history
from flaskapp.store.tables import db

BEHIND = "The database is empty or older than the app: run `flask db upgrade`"


def trouble(settings: Settings, migrate: bool) -> str | None:
    """One line about what is wrong with the database, with its remedy; None if nothing is.

    Args:
        migrate: run what is pending, instead of complaining about it.
    """
    app = Flask("flaskapp")
    try:
        init_history(app, settings)
        with app.app_context():
            if migrate:
                upgrade()
            return BEHIND if database.is_behind(db.engine) else None
    except (SQLAlchemyError, OSError) as error:
        said = str(getattr(error, "orig", None) or error).strip().splitlines()
        why = Redactor(settings.secrets().values())(said[0] if said else type(error).__name__)
        return f"The database does not answer ({why}): start it, or correct DATABASE_URL"


def main(arguments: list[str]) -> int:
    """`python -m flaskapp.store.migrate [--check]`: 0 up to date, 1 with one line that says why not."""
    try:
        settings = load_settings()
        configure_logging(settings.log_level, settings.log_format, settings.secrets().values())
        logging.getLogger("alembic").setLevel(logging.WARNING)
        problem = trouble(settings, migrate="--check" not in arguments)
    except ConfigurationError as error:
        problem = str(error)
    if problem:
        print(problem, file=sys.stderr)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

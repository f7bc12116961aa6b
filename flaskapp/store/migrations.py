"""Which migrations there are, and which the database has seen; alembic itself comes when a command asks."""

from __future__ import annotations

from typing import Any

import click
from flask import Flask
from sqlalchemy import Engine, inspect, text

from flaskapp.store.revisions import MIGRATIONS, newest

__all__ = ["MIGRATIONS", "init_migrations", "is_behind", "newest"]


def init_migrations(app: Flask, db: Any) -> None:
    """Gives the app ``flask db ...``, and what that needs, without alembic until somebody uses it."""
    app.extensions["migrate"] = _LateMigrate(app, db)
    app.cli.add_command(_LateCommands("db", help="Perform database migrations."))


class _LateMigrate:
    """Stands for Flask-Migrate until a command needs it: no worker does, and it is a tenth of a start."""

    def __init__(self, app: Flask, db: Any) -> None:
        self._app, self._db = app, db

    def __getattr__(self, name: str) -> Any:
        from flask_migrate import Migrate

        Migrate(self._app, self._db, directory=str(MIGRATIONS), render_as_batch=True)
        return getattr(self._app.extensions["migrate"], name)


class _LateCommands(click.Group):
    """Stands for Flask-Migrate's commands until one of them is called."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        from flask_migrate.cli import db

        return db.make_context(*arguments, **options)


def is_behind(engine: Engine) -> bool:
    """Whether migrations wait to be run (`flask db upgrade`); every start asks, so alembic is left out of it.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database is away.
    """
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return True
        return set(connection.scalars(text("SELECT version_num FROM alembic_version"))) != newest()

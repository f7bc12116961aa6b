"""How Alembic reaches the app's database; `flask db ...` runs it."""

from __future__ import annotations

from typing import Any

from alembic import context
from flask import current_app
from sqlalchemy import text

from flaskapp.store.tables import UTCDateTime

# Two machines that deploy at once take turns: any number will do, as long as it is this one.
MIGRATION_LOCK = 5117


def _options() -> dict[str, Any]:
    migrate = current_app.extensions["migrate"]
    return {"target_metadata": migrate.db.metadata, "render_item": _spell, **migrate.configure_args}


def _spell(kind: str, item: object, _autogen: object) -> str | bool:
    """A new migration names SQLAlchemy's own types: the app's may change after it."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UTCDateTime) else False


def migrate_offline() -> None:
    """Prints the SQL instead of running it (`flask db upgrade --sql`)."""
    url = current_app.config["SQLALCHEMY_DATABASE_URI"]
    context.configure(url=url, literal_binds=True, **_options())
    with context.begin_transaction():
        context.run_migrations()


def migrate_online() -> None:
    """Runs the steps in one transaction."""
    engine = current_app.extensions["migrate"].db.engine.execution_options(writes=True)
    with engine.connect() as connection:
        context.configure(connection=connection, **_options())
        with context.begin_transaction():
            if connection.dialect.name == "postgresql":
                connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
            context.run_migrations()


if context.is_offline_mode():
    migrate_offline()
else:
    migrate_online()

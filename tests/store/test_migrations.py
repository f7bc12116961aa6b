"""The migrations make the tables that the models describe, on both databases, and take them back."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask import Flask
from flask_migrate import downgrade, upgrade
from sqlalchemy import inspect

from flaskapp.config import load_settings
from flaskapp.store import database
from flaskapp.store.history import init_history
from flaskapp.store.tables import db


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request, tmp_path):
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/calls.sqlite3"
    else:
        url = request.getfixturevalue("postgres_database")
    app = Flask("migrations")
    init_history(app, load_settings({"DATABASE_URL": url, "SECRET_KEY": "test"}, env_file=None))
    with app.app_context():
        yield db.engine
        db.engine.dispose()


def test_models_and_migrations_agree(engine):
    upgrade()
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), db.metadata)
    assert differences == []


def test_pending_migrations_are_seen(engine):
    assert database.is_behind(engine)
    upgrade()
    assert not database.is_behind(engine)
    upgrade()


def test_every_step_can_be_taken_back(engine):
    upgrade()
    downgrade(revision="base")
    assert inspect(engine).get_table_names() == ["alembic_version"]

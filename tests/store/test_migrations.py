"""The migrations make the tables that the models describe, on both databases, and take them back."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask_migrate import downgrade, upgrade
from sqlalchemy import inspect, text

from flaskapp.store import migrations
from flaskapp.store.tables import db


@pytest.fixture
def engine(bare_app):
    return db.engine


def test_models_and_migrations_agree(engine):
    upgrade()
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), db.metadata)
    assert differences == []


def test_pending_migrations_are_seen(engine):
    assert migrations.is_behind(engine)
    upgrade()
    assert not migrations.is_behind(engine)
    upgrade()


def test_the_newest_are_those_that_alembic_finds():
    assert migrations.newest() == set(ScriptDirectory(str(migrations.MIGRATIONS)).get_heads()) != set()


def test_a_database_of_another_version_of_the_app_is_behind_or_ahead(engine):
    upgrade(revision="0001")
    assert migrations.is_behind(engine)
    upgrade()
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert migrations.is_behind(engine)


def test_every_step_can_be_taken_back(engine):
    upgrade()
    downgrade(revision="base")
    assert inspect(engine).get_table_names() == ["alembic_version"]


def test_recordings_of_before_keep_their_rows_on_the_way_up_and_down(engine):
    upgrade(revision="0001")
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO calls (id, call_sid, status) VALUES (1, 'CA1', 'completed')"))
        connection.execute(
            text(
                "INSERT INTO recordings (recording_sid, call_id, status, created_at)"
                " VALUES ('RE1', 1, 'answered', '2026-11-21 12:00:00')"
            )
        )
    for step in (upgrade, lambda: downgrade(revision="0001"), upgrade):
        step()
        with engine.connect() as connection:
            row = connection.execute(text("SELECT recording_sid, call_id, status FROM recordings")).all()
        assert row == [("RE1", 1, "answered")]


def test_calls_of_before_keep_their_turns_on_the_way_up_and_down(engine):
    upgrade(revision="0002")
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO calls (id, call_sid, status) VALUES (1, 'CA1', 'completed')"))
        connection.execute(
            text(
                "INSERT INTO turns (call_id, item, position, speaker, text, start_ms, end_ms, mode,"
                " interrupted, is_final) VALUES (1, 'a', 0, 'caller', 'hello', 0, 900, 'live', false, true)"
            )
        )
    for step in (upgrade, lambda: downgrade(revision="0002"), upgrade):
        step()
        with engine.connect() as connection:
            kept = connection.execute(
                text("SELECT call_sid, text FROM turns JOIN calls ON calls.id = call_id")
            )
            assert kept.all() == [("CA1", "hello")]

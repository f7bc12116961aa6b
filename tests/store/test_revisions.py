"""A server's start asks an SQLite file by itself which migrations it has seen."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import pytest

from flaskapp.store.revisions import is_known_to_be_new, newest
from tests.conftest import PROJECT


@pytest.fixture
def file(tmp_path):
    return tmp_path / "some calls.sqlite3"


def seen(file, *revisions):
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.executemany("INSERT INTO alembic_version VALUES (?)", [(each,) for each in revisions])
    connection.close()


def test_a_file_that_has_seen_all_migrations_is_known_to_be_new(file):
    seen(file, *newest())
    assert is_known_to_be_new(f"sqlite:///{file}")
    assert is_known_to_be_new(f"sqlite:///{file.name}", file.parent), "a name lies in the instance's folder"


def test_of_a_file_that_is_old_or_empty_or_none_at_all_nothing_is_known(file):
    assert not is_known_to_be_new(f"sqlite:///{file}")
    assert not file.exists(), "looking makes no file"
    seen(file, "0001")
    assert not is_known_to_be_new(f"sqlite:///{file}")
    file.write_bytes(b"")
    assert not is_known_to_be_new(f"sqlite:///{file}")
    file.write_bytes(b"no database" * 1000)
    assert not is_known_to_be_new(f"sqlite:///{file}")


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg://127.0.0.1:1/calls", "sqlite://", "sqlite:///:memory:", "sqlite:///a?b=c"]
)
def test_of_other_databases_nothing_is_known(url):
    assert not is_known_to_be_new(url)


def test_nothing_large_is_loaded_for_it():
    script = "import sys, flaskapp.store.revisions; print(*({'flask', 'sqlalchemy'} & {*sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == []

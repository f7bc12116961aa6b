"""An app with nothing but its database, SQLite and PostgreSQL in turn; Redis, inside this process or not."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from flask import Flask

from flaskapp.config import load_settings
from flaskapp.store.feed import Feed
from flaskapp.store.history import init_history
from flaskapp.store.live import Connections, connect
from flaskapp.store.tables import db
from tests.store.feeds import Names


@pytest.fixture(params=["sqlite", "postgres"])
def bare_app(request, tmp_path) -> Iterator[Flask]:
    """Inside its context; the database is empty."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/calls.sqlite3"
    else:
        url = request.getfixturevalue("postgres_database")
    app = history_app(url)
    with app.app_context():
        yield app
        db.engine.dispose()


def history_app(url: str) -> Flask:
    """A Flask app with `app.extensions["history"]` and no more."""
    app = Flask("history")
    init_history(app, load_settings({"DATABASE_URL": url, "SECRET_KEY": "tests"}, env_file=None))
    return app


@pytest.fixture(params=["inside", "server"])
def connections(request) -> Connections:
    """An empty Redis: inside this process, and a real one."""
    url = request.getfixturevalue("redis_server") if request.param == "server" else ""
    connections = connect(url)
    connections.text.flushall()
    return connections


@pytest.fixture
def real_connections(redis_server) -> Connections:
    """An empty Redis server."""
    connections = connect(redis_server)
    connections.text.flushall()
    return connections


@pytest.fixture
def redis(connections):
    """That of one call's feed, whose name nobody else has."""
    Names.sid = f"CA{secrets.token_hex(6)}"
    return connections.text


@pytest.fixture
def feed(redis) -> Feed:
    return Feed(redis)

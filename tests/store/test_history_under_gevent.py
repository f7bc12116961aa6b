"""A database that keeps a writer waiting does not keep the calls of the same worker waiting."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading

import psycopg
import pytest

from tests.conftest import PROJECT, environment_of, flask

LOCKED_S = 1.0
# Writes one status while a ticker, as every call's pace does, wakes up each 5 ms; prints how long the
# write took and how late the ticker was at worst.
WORKER = """
from gevent import monkey; monkey.patch_all()
import gevent, sys, time
from flask import Flask
from flaskapp.config import load_settings
from flaskapp.store.history import CallChanged, init_history

app = Flask("worker")
init_history(app, load_settings())
history = app.extensions["history"]
history.call("CA1")
late = [0.0]

def tick():
    while True:
        before = time.monotonic()
        gevent.sleep(0.005)
        late[0] = max(late[0], time.monotonic() - before - 0.005)

print("ready", flush=True)
sys.stdin.readline()
gevent.spawn(tick)
began = time.monotonic()
history.write([CallChanged("CA1", {"status": "completed"})])
print(time.monotonic() - began, late[0], flush=True)
"""


@pytest.fixture
def wait_and_lateness(tmp_path):
    """Runs the worker against a database while `lock` holds it; gives both figures, in seconds."""

    def measure(url: str, lock, release) -> tuple[float, float]:
        environment = environment_of(tmp_path, {"DATABASE_URL": url})
        assert flask("db", "upgrade", environment=environment, cwd=tmp_path).returncode == 0
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            cwd=PROJECT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert worker.stdout.readline() == "ready\n"
        lock()
        timer = threading.Timer(LOCKED_S, release)
        timer.start()
        said, _ = worker.communicate("go\n", timeout=60)
        timer.join()
        waited_s, late_s = map(float, said.split())
        return waited_s, late_s

    return measure


def test_a_locked_sqlite_holds_up_nobody_else(tmp_path, wait_and_lateness):
    path = tmp_path / "calls.sqlite3"
    others: list[sqlite3.Connection] = []

    def lock() -> None:
        others.append(sqlite3.connect(path, isolation_level=None, check_same_thread=False))
        others[0].execute("BEGIN IMMEDIATE")

    waited_s, late_s = wait_and_lateness(f"sqlite:///{path}", lock, lambda: others[0].close())
    assert LOCKED_S * 0.8 < waited_s < 30
    # SQLite may hold 20 ms; had it waited in C, everybody would have been as late as the writer.
    assert late_s < waited_s * 0.6


def test_a_locked_row_of_postgres_holds_up_nobody_else(postgres_database, wait_and_lateness):
    other = psycopg.connect(postgres_database)

    def lock() -> None:
        other.execute("INSERT INTO calls (call_sid, status) VALUES ('CA1', 'ringing')")

    waited_s, late_s = wait_and_lateness(postgres_database, lock, other.commit)
    assert LOCKED_S * 0.8 < waited_s < 30
    assert late_s < waited_s * 0.6
    assert other.execute("SELECT status FROM calls").fetchall() == [("completed",)]
    other.close()

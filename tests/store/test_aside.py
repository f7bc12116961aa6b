"""What waits in C waits beside the event loop, which goes on: else nobody could end what it waits for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from flaskapp.store.aside import THREADS, aside
from tests.conftest import PROJECT, environment_of, flask

# Frames, in the place of a call's: each is sent when the one before has come. Who holds the loop stops them.
FRAMES = """
from gevent import monkey; monkey.patch_all()
import ctypes, socket, sqlite3, sys
import gevent

ours, theirs = socket.socketpair()
passed = [0]
def pass_on(source):
    source.send(source.recv(100))
    passed[0] += 1
watchers = [gevent.get_hub().loop.io(each.fileno(), 1) for each in (ours, theirs)]
for watcher, source in zip(watchers, (ours._sock, theirs._sock)):
    watcher.start(pass_on, source)
ours._sock.send(b"frame")
gevent.sleep(0.01)
"""
WAITING = (
    FRAMES
    + """
from flaskapp.store.aside import aside
before = passed[0]
aside(ctypes.CDLL(None).usleep, 500_000)
print(passed[0] - before)
"""
)
# Whoever holds the database lets go as soon as a thousand frames have passed.
HOLDING = (
    FRAMES
    + """
from flaskapp.store import database

def let_go(other):
    until = passed[0] + 1000
    while passed[0] < until: gevent.sleep(0.01)
    other.close()
"""
)
BEGINNING = (
    HOLDING
    + """
from flask import Flask
from flaskapp.config import load_settings
from flaskapp.store.history import CallChanged, init_history

database.SQLITE_WAIT_MS = 30_000
app = Flask("worker")
init_history(app, load_settings())
history = app.extensions["history"]
other = sqlite3.connect(sys.argv[1], isolation_level=None)
other.execute("BEGIN IMMEDIATE")
gevent.spawn(let_go, other)
history.write([CallChanged("CA1", {"status": "completed"})])
print(history.call("CA1")["status"])
"""
)
# Where there is no log, whoever commits waits for those who read.
COMMITTING = (
    HOLDING
    + """
ours_too, other = (
    sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30, check_same_thread=False, factory=each)
    for each in (database.PatientConnection, sqlite3.Connection)
)
ours_too.execute("CREATE TABLE words (word)")
other.execute("BEGIN")
other.execute("SELECT * FROM words").fetchall()
gevent.spawn(let_go, other)
ours_too.execute("BEGIN IMMEDIATE")
ours_too.execute("INSERT INTO words VALUES ('yes')")
ours_too.commit()
print(*ours_too.execute("SELECT word FROM words").fetchone())
"""
)


def said_by(script: str, *arguments: str, environment: dict[str, str] | None = None) -> str:
    """What a process that gevent has patched prints."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_frames_pass_while_something_waits_aside():
    assert int(said_by(WAITING)) > 10


def test_a_disk_that_hangs_keeps_the_database_from_nothing():
    script = f"""
from gevent import monkey; monkey.patch_all()
import gevent, os
from flaskapp.store.aside import aside, at_the_disk
never, end = os.pipe()
read = monkey.get_original("os", "read")
hung = [gevent.spawn(at_the_disk, read, never, 1) for _ in range({THREADS})]
gevent.sleep(0.1)
with gevent.Timeout(60):
    print(aside(divmod, 7, 2), flush=True)
os._exit(0)
"""
    assert said_by(script) == "(3, 1)"


def test_whoever_begins_to_write_into_sqlite_holds_no_frame_up(tmp_path):
    path = tmp_path / "calls.sqlite3"
    environment = environment_of(tmp_path, {"DATABASE_URL": f"sqlite:///{path}"})
    assert flask("db", "upgrade", environment=environment, cwd=tmp_path).returncode == 0
    assert said_by(BEGINNING, str(path), environment=environment) == "completed"


def test_whoever_commits_to_sqlite_holds_no_frame_up(tmp_path):
    assert said_by(COMMITTING, str(tmp_path / "words.sqlite3")) == "yes"


def test_where_threads_are_threads_it_is_simply_called():
    assert aside(divmod, 7, 2) == (3, 1)


def test_what_is_raised_aside_is_raised_here():
    with pytest.raises(ZeroDivisionError):
        aside(divmod, 7, 0)


def test_what_is_raised_aside_is_told_to_nobody_else():
    """A database that is locked is asked again: no reason for gevent to print where that was."""
    script = """
from gevent import monkey; monkey.patch_all()
from flaskapp.store.aside import aside
try:
    aside(divmod, 7, 0)
except ZeroDivisionError:
    print("raised")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("raised", "")

"""Work in rounds begins when it is woken, by an event loop too, and ends when nothing waits."""

from __future__ import annotations

import subprocess
import sys
from collections import deque

from redis.exceptions import ConnectionError as NoConnection

from flaskapp.store.rounds import Rounds
from tests.conftest import PROJECT

WITHIN_S = 30.0
# Wakes it from a callback of the event loop, in which nothing may wait; prints what was worked off.
IN_A_CALLBACK = """
from gevent import monkey; monkey.patch_all()
import gevent
from flaskapp.store.rounds import Rounds

waiting, done = [1], []
rounds = Rounds("test", lambda: done.append(waiting.pop()), lambda: bool(waiting), 0.01)
gevent.get_hub().loop.run_callback(rounds.wake)
gevent.sleep(0.05)
print(rounds.settle(20), done)
"""


def test_all_that_waits_is_worked_off_and_what_comes_later_too():
    waiting: deque[int] = deque([1, 2])
    done: list[int] = []
    rounds = Rounds("test", lambda: done.append(waiting.popleft()), lambda: bool(waiting), 0.001)
    rounds.wake()
    assert rounds.settle(WITHIN_S)
    waiting.append(3)
    rounds.wake()
    assert rounds.settle(WITHIN_S)
    assert done == [1, 2, 3]


def test_what_redis_does_not_take_is_tried_again():
    attempts: list[int] = []
    waiting = [1]

    def work() -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise NoConnection("refused")
        waiting.clear()

    rounds = Rounds("test", work, lambda: bool(waiting), 0.001)
    rounds.wake()
    assert rounds.settle(WITHIN_S)
    assert len(attempts) == 2


def test_what_nobody_foresaw_does_not_keep_what_follows_from_being_done(caplog):
    done: list[int] = []
    waiting = deque([0, 1])
    rounds = Rounds("test", lambda: done.append(1 // waiting.popleft()), lambda: bool(waiting), 0.001)
    rounds.wake()
    assert rounds.settle(WITHIN_S)
    assert done == [1]
    assert "Test stumbled: ZeroDivisionError" in caplog.text


def test_an_event_loops_callback_may_wake_it():
    done = subprocess.run(
        [sys.executable, "-c", IN_A_CALLBACK],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout.split("\n")[0], done.stderr) == ("True [1]", "")

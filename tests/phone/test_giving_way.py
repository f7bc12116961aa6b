"""Work beside frames in a web worker, where threads are greenlets: between two pieces the loop looks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from flaskapp.phone import giving_way
from flaskapp.phone.giving_way import give_way
from tests.conftest import PROJECT

#: Thirty greenlets, each with six pieces of work that take longer than may be done in a row: prints who did
#: a piece in which of the loop's turns.
PIECES = """
from gevent import monkey; monkey.patch_all()
import gevent, json, time
from flaskapp.phone.giving_way import BUSY_S, give_way

loop, done = gevent.get_hub().loop, []

def work(who):
    for _ in range(6):
        give_way()
        done.append([loop.iteration, who])
        until = time.perf_counter() + 2 * BUSY_S
        while time.perf_counter() < until: pass

gevent.joinall([gevent.spawn(work, who) for who in range(30)])
print(json.dumps(done))
"""

#: Fifty short pieces of one, beside ten whose pieces take long: prints in how many turns the fifty were done.
SHORT = """
from gevent import monkey; monkey.patch_all()
import gevent, json, time
from flaskapp.phone.giving_way import BUSY_S, give_way

loop, turns = gevent.get_hub().loop, set()

def work():
    while True:
        give_way()
        until = time.perf_counter() + 2 * BUSY_S
        while time.perf_counter() < until: pass

def short():
    for _ in range(50):
        give_way()
        turns.add(loop.iteration)

for _ in range(10): gevent.spawn(work)
gevent.sleep(0.1)
gevent.spawn(short).join()
print(json.dumps(len(turns)))
"""

#: The event loop itself must not wait, whatever it is called for.
IN_THE_LOOP = """
from gevent import monkey; monkey.patch_all()
import gevent, json, time
from flaskapp.phone.giving_way import BUSY_S, give_way

seen = []

def called():
    for _ in range(3):
        give_way()
        time_is = time.perf_counter() + 2 * BUSY_S
        while time.perf_counter() < time_is: pass
        seen.append(gevent.get_hub().loop.iteration)

watcher = gevent.get_hub().loop.timer(0.001)
watcher.start(called)
while not seen: gevent.sleep(0.01)
print(json.dumps(seen))
"""

#: Three hundred who wait for a turn of their own: prints how often greenlets were switched to in all.
WAITERS = """
from gevent import monkey; monkey.patch_all()
import gevent, greenlet, json, time
from flaskapp.phone.giving_way import BUSY_S, give_way

switches = 0

def count(event, args):
    global switches
    switches += 1

def work():
    give_way()
    until = time.perf_counter() + 2 * BUSY_S
    while time.perf_counter() < until: pass

works = [gevent.spawn(work) for _ in range(300)]
greenlet.settrace(count)
gevent.joinall(works)
print(json.dumps(switches))
"""

#: Two of those who wait are killed: prints who went on.
GONE = """
from gevent import monkey; monkey.patch_all()
import gevent, json, time
from flaskapp.phone.giving_way import BUSY_S, give_way

went_on = []

def work(who):
    give_way()
    until = time.perf_counter() + 2 * BUSY_S
    while time.perf_counter() < until: pass
    went_on.append(who)

works = [gevent.spawn(work, who) for who in range(20)]
gevent.sleep(0)
gevent.killall([works[10], works[19]], block=False)
gevent.joinall(works)
gevent.spawn(work, "later").join()
print(json.dumps(went_on))
"""


def printed_by(script: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.system
def test_of_many_works_one_is_done_then_the_loop_looks():
    done = printed_by(PIECES)
    assert len(done) == 30 * 6
    assert max(Counter(turn for turn, _ in done).values()) == 1


@pytest.mark.system
def test_nobody_is_passed_over():
    order = [who for _, who in printed_by(PIECES)]
    places = [[place for place, each in enumerate(order) if each == who] for who in range(30)]
    waits = [after - before for own in places for before, after in pairwise(own)]
    assert max(waits) <= 2 * 30


@pytest.mark.system
def test_whoever_was_asked_uses_up_the_turn_that_he_was_given():
    assert printed_by(SHORT) < 25, "a turn for each piece is a pass of all others for each"


@pytest.mark.system
def test_whoever_waits_costs_nothing_until_it_is_his_turn():
    assert printed_by(WAITERS) < 10 * 300, "each looked again and again"


@pytest.mark.system
def test_whoever_waits_may_be_killed_and_holds_up_nobody():
    assert printed_by(GONE) == [*range(10), *range(11, 19), "later"]


@pytest.mark.system
def test_the_event_loop_itself_does_not_wait():
    turns = printed_by(IN_THE_LOOP)
    assert len(turns) == 3
    assert len(set(turns)) == 1


def test_without_an_event_loop_nobody_waits():
    for _ in range(3):
        give_way()
    assert giving_way._turns is None, "no loop, no turn of it"

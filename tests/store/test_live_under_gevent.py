"""In a web worker, where threads are greenlets, the stores hold no call up, even if Redis hangs."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from tests.conftest import PROJECT

pytestmark = pytest.mark.system

#: Of a second's ticks; where somebody waits in the event loop's place there is one or none.
MANY = 10

# A ticker, as every call's pace does, wakes up each 5 ms, and counts.
TICKER = """
from gevent import monkey; monkey.patch_all()
import gevent, sys, time
from flaskapp.store.audio import AudioBuffer
from flaskapp.store.jobs import Jobs
from flaskapp.store.keeper import Keeper
from flaskapp.store.live import LiveStore, connect
from flaskapp.store.turns import Outcome, Turn, TurnBook

ticks = [0]

def tick():
    while True:
        gevent.sleep(0.005)
        ticks[0] += 1

class Bridge:
    heard_until_ms = 0
    cost_usd = 0.0
    usage = {}
    base_ms = 0
    def __init__(self): self.at = 0
    def take_audio(self):
        self.at += 1000
        return self.at - 1000, b"x" * 8000
    def take_lines(self): return []
    def take_memo(self): return None
    def is_still(self): return False

connections = connect(sys.argv[1])
buffer, live, book = AudioBuffer(connections), LiveStore(connections), TurnBook(connections)
keeper = Keeper(buffer, live)
"""
HANGING = (
    TICKER
    + """
for number in range(20):
    keeper.follow(f"CA{number}", Bridge())
gevent.spawn(tick)
released = keeper.release("CA0")
ticked = ticks[0]
print(released, *(keeper.release(f"CA{number}") for number in range(1, 3)), ticked)
"""
)
WORKING = (
    TICKER
    + """
done = []
def turn(call_sid, key):
    with book.holding(call_sid, key) as is_ours:
        time.sleep(1.5)
        done.append((is_ours, book.finish(call_sid, key, Outcome("answered"))))
        book.close(call_sid, key)

jobs = Jobs(sys.argv[1], connections, {"turn": turn})
jobs.prepare()
live.begin("CA1")
keeper.follow("CA1", Bridge())
book.claim(Turn("CA1", "RE1", "recording"))
gevent.spawn(tick)
jobs.run_here("turn", "CA1", "RE1")
assert book.wait("CA1", "RE1", 60) == Outcome("answered")
ticked = ticks[0]
assert keeper.release("CA1")
assert buffer.held("CA1").chunks >= 2
print(done[0], ticked)
"""
)

# Another process writes all the time; between two of its messages the keeper may do one thing, not many.
READING = (
    TICKER
    + """
import os, subprocess
from flaskapp.store import keeper as module
reading, writing = os.pipe()
script = "import os, time\\nwhile True: time.sleep(0.0005); os.write(1, b'x')"
other = subprocess.Popen([sys.executable, "-c", script], stdout=writing)
os.set_blocking(reading, False)
read = [0]
def on_readable():
    os.read(reading, 4096)
    read[0] += 1
watcher = gevent.get_hub().loop.io(reading, 1)
watcher.start(on_readable)
class Slow(Bridge):
    def take_audio(self):
        until = time.monotonic() + 0.002
        while time.monotonic() < until: pass
        taken_at.append(read[0])
        return super().take_audio()
taken_at = []
for number in range(40):
    keeper.follow(f"CA{number}", Slow())
while not read[0]: gevent.sleep(0.01)
while len(taken_at) < 40: gevent.sleep(0.01)
print(len(set(taken_at[:40])))
other.kill()
"""
)

# A leg's message takes its time to be cleaned, a reader to be told: in which of the loop's turns was each?
BURNS = """
loop = gevent.get_hub().loop
turns = []
def burn():
    turns.append(loop.iteration)
    until = time.perf_counter() + 0.002
    while time.perf_counter() < until: pass
"""
TRACING = (
    TICKER
    + BURNS
    + """
from flaskapp.store.traces import Traces
def redact(text):
    burn()
    return text
traces = Traces(connections.text, None, redact)
for number in range(20):
    traces.note(f"CA{number}", 0, "engine", False, b'{"type": "said", "text": "hello"}')
assert traces.settle(60)
print(len(turns), len(set(turns)))
"""
)
TELLING = (
    TICKER
    + BURNS
    + """
from types import SimpleNamespace
from flaskapp.phone.feed import Reader, Readers
from flaskapp.store.feed import Feed
class Line:
    waiting = SimpleNamespace(size=0, messages=0, stalled_s=0.0)
    def send(self, messages, droppable=False): burn()
feed = Feed(connections.text)
live.begin("CA1")
feed.line("CA1", "item", 0, "caller", "hello", True)
assert feed.settle(60)
readers = Readers(connections.text)
readers._readers = {Reader("CA1", 0, Line()) for _ in range(20)}
gevent.spawn(readers.round, time.monotonic()).get()
print(len(turns), len(set(turns)))
"""
)


def run(script: str, url: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, url],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_redis_that_hangs_delays_no_frame():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        *released, ticked = run(HANGING, f"redis://127.0.0.1:{silent.getsockname()[1]}/0").split()
    assert released == ["False"] * 3
    assert int(ticked) >= MANY, "a release waits for a second, and nobody waits with it"


def test_turns_jobs_and_the_keeper_work_in_greenlets(redis_server):
    said = run(WORKING, redis_server)
    assert said.startswith("(True, True)")
    assert int(said.split()[-1]) >= MANY, "a turn takes more than a second, and nobody waits for it"


def test_they_do_so_too_with_a_redis_inside_the_process():
    assert run(WORKING, "").startswith("(True, True)")


def test_a_round_of_the_keeper_lets_what_arrives_pass_between_two_calls(redis_server):
    assert int(run(READING, redis_server)) > 8, "frames wait until many calls were seen to"


@pytest.mark.parametrize("script", [TRACING, TELLING], ids=["what legs said", "many readers"])
def test_what_is_done_for_many_is_done_for_one_after_the_other(script):
    done, turns = map(int, run(script, "").split())
    assert done >= 20
    assert turns >= 18, "frames wait until many were seen to"

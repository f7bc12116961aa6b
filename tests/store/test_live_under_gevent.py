"""In a web worker, where threads are greenlets, the stores hold no call up, even if Redis hangs."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from tests.conftest import PROJECT

pytestmark = pytest.mark.system

# A ticker, as every call's pace does, wakes up each 5 ms; prints how late it was at worst.
TICKER = """
from gevent import monkey; monkey.patch_all()
import gevent, sys, time
from flaskapp.store.audio import AudioBuffer
from flaskapp.store.jobs import Jobs
from flaskapp.store.keeper import Keeper
from flaskapp.store.live import LiveStore, connect
from flaskapp.store.turns import Outcome, Turn, TurnBook

late = [0.0]

def tick():
    while True:
        before = time.monotonic()
        gevent.sleep(0.005)
        late[0] = max(late[0], time.monotonic() - before - 0.005)

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
print(*(keeper.release(f"CA{number}") for number in range(3)), late[0])
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
assert keeper.release("CA1")
assert buffer.held("CA1").chunks >= 2
gevent.sleep(0.1)
print(done[0], late[0])
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
        *released, late_s = run(HANGING, f"redis://127.0.0.1:{silent.getsockname()[1]}/0").split()
    assert released == ["False"] * 3
    assert float(late_s) < 0.5, "a release waits for a second, and nobody waits with it"


def test_turns_jobs_and_the_keeper_work_in_greenlets(redis_server):
    said = run(WORKING, redis_server)
    assert said.startswith("(True, True)")
    assert float(said.split()[-1]) < 0.5


def test_they_do_so_too_with_a_redis_inside_the_process():
    assert run(WORKING, "").startswith("(True, True)")


def test_a_round_of_the_keeper_lets_what_arrives_pass_between_two_calls(redis_server):
    assert int(run(READING, redis_server)) > 8, "frames wait until many calls were seen to"

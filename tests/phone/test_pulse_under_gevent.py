"""The calls' pulse in a web worker, where threads are greenlets: frames pass between two calls' clocks."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import PROJECT

pytestmark = pytest.mark.system

#: Something comes every half millisecond, and each call's tick takes two: prints how often, in forty
#: ticks, it was looked at what had come.
SLOW_TICKS = """
from gevent import monkey; monkey.patch_all()
import gevent, os, subprocess, sys, time
from flaskapp.phone.rtmt_audio_handler import RTMTAudioHandler

reading, writing = os.pipe()
script = "import os, time\\nwhile True: time.sleep(0.0005); os.write(1, b'x')"
other = subprocess.Popen([sys.executable, "-c", script], stdout=writing)
os.set_blocking(reading, False)
read, seen = [0], []

def on_readable():
    os.read(reading, 4096)
    read[0] += 1

watcher = gevent.get_hub().loop.io(reading, 1)
watcher.start(on_readable)

class Slow:
    def __init__(self):
        self.calm_until = [0.0]

    def tick(self, now):
        until = time.monotonic() + 0.002
        while time.monotonic() < until: pass
        seen.append(read[0])

handler = RTMTAudioHandler("http://127.0.0.1:1/v1", "model", "key")
while not read[0]: gevent.sleep(0.01)
for _ in range(40): handler._enter(Slow())
while len(seen) < 40: gevent.sleep(0.01)
print(len(set(seen[:40])))
other.kill()
"""


def test_the_pulse_lets_what_arrives_pass_between_two_calls():
    done = subprocess.run(
        [sys.executable, "-c", SLOW_TICKS],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 8, "frames wait until many calls were seen to"

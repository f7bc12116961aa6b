"""The turn engine in a patched worker: the same answers, at the same time, by greenlets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.fake_turns import FakeTurns, Fault

ROOT = Path(__file__).parents[2]
PROGRAM = """
from gevent import monkey
monkey.patch_all()
import gevent, sys, time
from flaskapp.config import load_settings
from flaskapp.phone.agent import Agent
from flaskapp.phone.audio import Wav
from flaskapp.phone.engines.turns import turn_engine
from flaskapp.phone.errors import EngineUnreachable

settings = load_settings({"OPENAI_BASE_URL": sys.argv[1], "OPENAI_API_KEY": "k"}, env_file=None)
engine = turn_engine(settings.engine, "k")
assert engine.is_alive(60.0)
ticks = []
ticking = gevent.spawn(lambda: [(ticks.append(1), gevent.sleep(0.01)) for _ in iter(int, 1)])
sound = lambda n: Wav(b"\\x10\\x27" * (4000 + n), 8000)
began = time.monotonic()
asked = [gevent.spawn(engine.answer, sound(n), [], Agent(), within_s=60) for n in range(10)]
gevent.joinall(asked, raise_error=True)
print("together", time.monotonic() - began < 10 * 1.0, len({each.value.transcript for each in asked}))
print("others went on", len(ticks) > 10)
try:
    engine.answer(sound(99), [], Agent(), within_s=1.0)
except EngineUnreachable:
    print("in time", True)
"""


def test_greenlets_share_an_engine_and_nothing_stands_still():
    with FakeTurns().running() as fake:
        fake.heard = lambda wav: f"words {len(wav)}"
        fake.faults = {"transcribe": [Fault(pause_s=1.0)] * 10 + [Fault(hang=True)]}
        ran = subprocess.run(
            [sys.executable, "-c", PROGRAM, fake.base_url],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    assert ran.stdout.splitlines() == ["together True 10", "others went on True", "in time True"], ran.stderr
    assert fake.offences == []

"""How soon a caller hears the agent once the greeting is known: from the stream's start to his ear.

    python bench/first_sound.py --calls 100 --at-once 5

The app runs as shipped, between the simulated phone network and the tests' own
engine, whose handshake is slow on purpose. The first call teaches it the
greeting; the others are measured. A fixed loop is timed before and after, so
that slow machines show.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "bench")]

from calibration import calibrate  # noqa: E402
from measure import percentile  # noqa: E402
from subjects import product  # noqa: E402

from flaskapp.phone.agent import GREETING  # noqa: E402
from flaskapp.simulator.background import BackgroundNetwork  # noqa: E402
from flaskapp.simulator.person import Script, Utterance  # noqa: E402
from flaskapp.simulator.sounds import tone  # noqa: E402
from flaskapp.simulator.spec import CallSpec  # noqa: E402
from tests.behaviour import Behaviour, Turn  # noqa: E402
from tests.fakes import FakeRealtime  # noqa: E402

SCRIPT = Script((Utterance(tone(0.8, 300), name="question"),), quiet_ms=300)


def measure(calls: int, at_once: int) -> dict[str, Any]:
    """Place the calls, and say when each was first heard."""
    before = calibrate()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hello-")))
        polite = Behaviour(reply_ms=1500, creates=(Turn(GREETING),))
        engine = stack.enter_context(FakeRealtime(polite).running())
        subject = product(stack, folder, int(engine.origin.rsplit(":", 1)[1]), None)
        network = stack.enter_context(BackgroundNetwork())
        url = f"http://127.0.0.1:{subject.port}/phone/incoming-call-streaming"
        spec = CallSpec(url=url, script=SCRIPT, seconds=30, signed=False)
        cold = network.place_call(spec)
        reports = []
        for start in range(0, calls, at_once):
            reports += network.place_calls([spec] * min(at_once, calls - start))
        asked = sum(len(session.of_type("response.create")) for session in engine.sessions[1:])
    warm = [report.first_sound_after_start_ms for report in reports if not report.failed]
    return {
        "calls": calls,
        "failed": [report.reason for report in reports if report.failed],
        "greetings_asked_for": asked,
        "cold_ms": cold.first_sound_after_start_ms,
        "warm_ms": {f"p{percent}": round(percentile(warm, percent), 1) for percent in (50, 95, 99, 100)},
        "calibration": [before, calibrate()],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    wanted = parser.parse_args()
    found = measure(wanted.calls, wanted.at_once)
    warm = ", ".join(f"{name} {value:g}" for name, value in found["warm_ms"].items())
    print("first sound after the stream's start, ms:")
    print(f"cold {found['cold_ms']:.0f}; warm, n={found['calls']}: {warm}")
    print(f"failed: {found['failed'] or 'none'}; greetings asked for again: {found['greetings_asked_for']}")
    print("a fixed loop took {:.1f} before and {:.1f} after".format(*found["calibration"]))
    if wanted.json:
        wanted.json.write_text(json.dumps(found, indent=2))
    return 1 if found["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())

"""From the caller's last word to the agent's first at the caller's ear: whose share is how much.

    python bench/turn_latency.py --calls 20 --seconds 30

The app runs as shipped, between the simulated phone network and the tests' own
engine, all on this machine's clock. Of every turn, the engine's share is from
the arrival of the caller's last voiced frame to its first audio going out (its
wait for silence included); ours is everything else: both directions, sockets
and all. A fixed loop is timed before and after, so that slow machines show.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "bench")]

from calibration import calibrate  # noqa: E402
from measure import percentile  # noqa: E402
from subjects import product  # noqa: E402

from flaskapp.simulator.background import BackgroundNetwork  # noqa: E402
from flaskapp.simulator.person import Script, Utterance  # noqa: E402
from flaskapp.simulator.report import Message  # noqa: E402
from flaskapp.simulator.sounds import tone  # noqa: E402
from flaskapp.simulator.spec import CallSpec  # noqa: E402
from tests.fakes import SILENT, FakeRealtime, Session  # noqa: E402

SCRIPT = Script((Utterance(tone(0.8, 300), name="question"),), repeat=True, quiet_ms=300)


@dataclass
class Line:
    """One call's media messages: caller frames (when, bytes so far, voiced), agent audio (when)."""

    frames: list[tuple[float, int, bool]] = field(default_factory=list)
    heard: list[float] = field(default_factory=list)
    said: int = 0

    def watch(self, message: Message) -> None:
        event = json.loads(message.text)
        if event["event"] != "media":
            return
        if message.direction == "received":
            self.heard.append(message.at)
            return
        audio = base64.b64decode(event["media"]["payload"])
        self.said += len(audio)
        voiced = sum(sample not in SILENT for sample in audio) > len(audio) // 2
        self.frames.append((message.at, self.said, voiced))


def turns(line: Line, session: Session) -> list[tuple[float, float]]:
    """(engine's share, our share) of every turn, in ms."""
    found = []
    deltas = session.sent_of_type("response.output_audio.delta")
    pairs = zip(line.frames, line.frames[1:], strict=False)
    for sent_at, so_far in [(a[0], a[1]) for a, b in pairs if a[2] and not b[2]]:
        arrived_at = next((at for at, size in session.arrivals if size >= so_far), None)
        answered_at = next((at for at, _ in deltas if arrived_at is not None and at > arrived_at), None)
        heard_at = next((at for at in line.heard if answered_at is not None and at > answered_at), None)
        if arrived_at is not None and answered_at is not None and heard_at is not None:
            engine = answered_at - arrived_at
            found.append((engine * 1000, (heard_at - sent_at - engine) * 1000))
    return found


def measure(calls: int, seconds: float) -> dict[str, Any]:
    """Place the calls and add up their turns."""
    before = calibrate()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="turns-")))
        engine = stack.enter_context(FakeRealtime().running())
        subject = product(stack, folder, int(engine.origin.rsplit(":", 1)[1]), None)
        network = stack.enter_context(BackgroundNetwork())
        url = f"http://127.0.0.1:{subject.port}/phone/incoming-call-streaming"
        lines: list[tuple[Line, Session]] = []
        futures = []
        for number in range(calls):
            line = Line()
            spec = CallSpec(url=url, script=SCRIPT, seconds=seconds, signed=False, watch=line.watch)
            futures.append(network.start(spec))
            engine.wait_for(lambda fake, number=number: len(fake.sessions) > number)
            lines.append((line, engine.sessions[number]))
        wait(futures)
        failed = [future.result().reason for future in futures if future.result().failed]
    shares = [share for line, session in lines for share in turns(line, session)]
    return {
        "calls": calls,
        "failed": failed,
        "turns": len(shares),
        "calibration": [before, calibrate()],
        "engine_ms": _summary([engine for engine, _ in shares]),
        "ours_ms": _summary([ours for _, ours in shares]),
    }


def _summary(values: Sequence[float]) -> dict[str, float]:
    return {f"p{percent}": round(percentile(values, percent), 2) for percent in (50, 95, 99, 100)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    wanted = parser.parse_args()
    found = measure(wanted.calls, wanted.seconds)
    print(f"{found['turns']} turns of {found['calls']} calls; failed: {found['failed'] or 'none'}")
    print(f"{'ms':<14}{'p50':>9}{'p95':>9}{'p99':>9}{'max':>9}")
    for name, label in (("engine_ms", "the engine's"), ("ours_ms", "ours")):
        print(f"{label:<14}" + "".join(f"{value:>9.1f}" for value in found[name].values()))
    print(f"a fixed loop took {found['calibration'][0]:.1f} before and {found['calibration'][1]:.1f} after")
    if wanted.json:
        wanted.json.write_text(json.dumps(found, indent=2))
    return 1 if found["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())

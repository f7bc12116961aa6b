"""Calls over Exotel at all three rates: whether every byte it was sent kept its rules, what callers heard.

    python bench/exotel_calls.py --calls 100 --at-once 20

gunicorn, Redis, an engine that replies at once; every second caller interrupts it. The simulated Exotel
counts each breach: sizes that are no multiple of 320, or below 3,200 or above 100,000 bytes; numbers that
do not rise by one; timestamps; more than 300 ms ahead of the ear. Exits with 1 if there is any.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "bench")]

from calibration import calibrate  # noqa: E402
from measure import percentile  # noqa: E402
from worker_kills import serve  # noqa: E402

from flaskapp.simulator.background import BackgroundNetwork  # noqa: E402
from flaskapp.simulator.person import Script, Utterance  # noqa: E402
from flaskapp.simulator.report import CallReport  # noqa: E402
from flaskapp.simulator.spec import CallSpec  # noqa: E402
from flaskapp.simulator.twilio.account import Account  # noqa: E402
from tests import servers  # noqa: E402
from tests.conftest import environment_of  # noqa: E402
from tests.fakes import Behaviour, FakeRealtime, tone  # noqa: E402

RATES_HZ = (8000, 16_000, 24_000)
SPELLINGS = ("snake", "camel")
ACCOUNT = Account(sid="AC" + "0" * 32, auth_token="bench")


def specs(url: str, calls: int, seconds: float) -> list[CallSpec]:
    """Every rate in both spellings; each second call interrupts."""
    said = Utterance(tone(900, 16, seed=3), name="chat")
    patient = Script((said,), repeat=True, quiet_ms=500)
    rude = replace(patient, utterances=(said, replace(said, interrupts_after_ms=700)))
    return [
        CallSpec(
            url=url,
            carrier="exotel",
            sample_rate_hz=RATES_HZ[number % 3],
            spelling=SPELLINGS[number % 2],
            script=rude if number % 2 else patient,
            seconds=seconds,
        )
        for number in range(calls)
    ]


def run(calls: int, at_once: int, seconds: float) -> list[CallReport]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="exotel-")))
        fake = stack.enter_context(FakeRealtime(Behaviour(reply_ms=2500)).running())
        settings = {
            "PORT": str(servers.free_port()),
            "LOCAL": "1",
            "REDIS_URL": stack.enter_context(servers.redis_server()),
            "OPENAI_BASE_URL": fake.base_url,
            "OPENAI_API_KEY": "sk-test",
            "AGENT_GREETING": "Hello.",
        }
        url, _ = serve(stack, folder, environment_of(folder, settings))
        network = stack.enter_context(BackgroundNetwork(ACCOUNT))
        wanted, reports = specs(url, calls, seconds), []
        for at in range(0, calls, at_once):
            reports += network.place_calls(wanted[at : at + at_once], spread_s=1.0)
            print(f"\r{len(reports)} of {calls} calls", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        return reports


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each call")
    wanted = parser.parse_args()
    before_us = calibrate()
    reports = run(wanted.calls, wanted.at_once, wanted.seconds)
    broken = sum((Counter(report.violations) for report in reports), Counter())
    chunks = sum(report.received_media for report in reports)
    print(f"{len(reports)} calls, {chunks} chunks; calibration {before_us:.0f}, then {calibrate():.0f} us")
    failed = [report.reason for report in reports if report.failed]
    print(f"rules broken: {dict(broken) or 'none'}; calls that failed: {failed or 'none'}")
    ahead = [report.ahead_ms for report in reports]
    runs_dry = sum(report.underruns for report in reports)
    print(f"ahead of the ear, most in a call: p50 {percentile(ahead, 50):.0f}, max {max(ahead):.0f} ms")
    print(f"ran dry inside a reply: {runs_dry} times, {sum(r.underrun_ms for r in reports):.0f} ms in all")
    latencies = [
        turn.latency_ms for report in reports for turn in report.turns if turn.latency_ms is not None
    ]
    shown = "".join(f"  p{each} {percentile(latencies, each):.0f}" for each in (50, 95, 99))
    print(f"caller stops -> agent heard, ms ({len(latencies)} turns):{shown}")
    return 1 if broken or not chunks else 0


if __name__ == "__main__":
    sys.exit(main())

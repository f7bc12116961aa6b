"""Thirty callers are recorded at the same moment: when each has his answer, and how fast the webhooks stay.

    python bench/thirty_at_once.py --calls 30

gunicorn with two workers, Redis, one background worker, and batch AI that takes half a second for each of its
two steps. Exits with 1 if somebody waits for more than five seconds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "bench")]

from measure import percentile  # noqa: E402
from worker_kills import ACCOUNT, TOKEN, serve  # noqa: E402

from tests import servers  # noqa: E402
from tests.conftest import environment_of  # noqa: E402
from tests.fake_turns import FakeTurns, Fault  # noqa: E402
from tests.hand_carrier import HandCarrier, Shelf, sid  # noqa: E402

STEP_S = 0.5
WITHIN_S = 5.0


def one(carrier: HandCarrier, number: int) -> float:
    """Seconds from the recording's end to the document with its answer."""
    call_sid = f"CA{number:06d}"
    began = time.monotonic()
    told = carrier.follow(call_sid, carrier.bring(call_sid, sid(number)))
    assert "open from nine" in told.said, told.body
    return time.monotonic() - began


def run(calls: int, rounds: int, jobs: str) -> tuple[list[float], list[float]]:
    """Answers' and webhooks' seconds; the first round warms up and does not count."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="thirty-")))
        shelf = stack.enter_context(Shelf(()))
        fake = stack.enter_context(FakeTurns().running())
        fake.always = {"transcribe": Fault(pause_s=STEP_S), "chat": Fault(pause_s=STEP_S)}
        settings = {
            "PORT": str(servers.free_port()),
            "LOCAL": "1",
            "WEB_CONCURRENCY": "2",
            "REDIS_URL": stack.enter_context(servers.redis_server()),
            "OPENAI_BASE_URL": fake.base_url,
            "OPENAI_API_KEY": "sk-test",
            "TWILIO_ACCOUNT_SID": ACCOUNT,
            "TWILIO_AUTH_TOKEN": TOKEN,
            "TWILIO_API_BASE_URL": shelf.url,
            **({"JOBS_AT_ONCE": jobs} if jobs else {}),
        }
        url, start = serve(stack, folder, environment_of(folder, settings))
        start()
        said = folder / "worker.log"
        servers.wait_until(lambda: "Waiting for jobs" in said.read_text(), "no background worker")
        carrier, answers = HandCarrier(url, shelf.url, ACCOUNT, TOKEN), []
        for turn in range(rounds + 1):
            numbers = range(turn * calls, (turn + 1) * calls)
            with ThreadPoolExecutor(calls) as lines:
                list(
                    lines.map(lambda number: carrier.post("/phone/incoming-call", f"CA{number:06d}"), numbers)
                )
                if turn == 1:
                    carrier.took.clear()
                found = list(lines.map(lambda number: one(carrier, number), numbers))
            answers += found if turn else []
        return answers, [seconds for _, seconds in carrier.took]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--calls", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", default="", help="JOBS_AT_ONCE, by default the app's")
    wanted = parser.parse_args()
    answers, webhooks = run(wanted.calls, wanted.rounds, wanted.jobs)
    print(f"{wanted.calls} at once, {wanted.rounds} rounds")
    print(f"{'seconds':<34}{'n':>6}{'p50':>8}{'p95':>8}{'p99':>8}{'max':>8}")
    for name, values in (("end of recording -> its answer", answers), ("a webhook's answer", webhooks)):
        cells = "".join(f"{percentile(values, each):>8.2f}" for each in (50, 95, 99, 100))
        print(f"{name:<34}{len(values):>6}{cells}")
    return 1 if max(answers) > WITHIN_S else 0


if __name__ == "__main__":
    sys.exit(main())

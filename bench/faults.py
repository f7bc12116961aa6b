"""What a caller hears while live AI fails: every failure, many calls at once, the app as shipped.

    python bench/faults.py --calls 20 --scene "7 dies in a reply" --show

Gunicorn with two workers, Redis and a background worker between the simulated carrier and engines
that fail on purpose (tests/system/faults.py). Measured at the caller's ear:

first sound: for failures to begin with (1-6) from the start of the stream; for those in mid-call
    (7-12) from the moment at which the app knew, as its history tells - of the failure, or that the
    caller waits - to the first sound that is not what was on the line already (50 ms and more after).
noticed: for those in mid-call, from the caller's last word before it to that moment.
silence: the longest stretch of the call in which neither side was heard.

A call is complete when each thing that was said is one line of its one transcript, and was answered.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "bench")]

from calibration import calibrate  # noqa: E402
from measure import percentile  # noqa: E402

from flaskapp.phone.audio import rms  # noqa: E402
from flaskapp.simulator.background import BackgroundNetwork  # noqa: E402
from flaskapp.simulator.report import CallReport  # noqa: E402
from flaskapp.simulator.spec import CallSpec  # noqa: E402
from flaskapp.simulator.twilio.account import Account  # noqa: E402
from tests import servers  # noqa: E402
from tests.conftest import environment_of, flask  # noqa: E402
from tests.fake_turns import FakeTurns  # noqa: E402
from tests.fakes import FakeRealtime  # noqa: E402
from tests.front_door import FrontDoor  # noqa: E402
from tests.system.faults import CALLER, SCENES, Verdict, judge  # noqa: E402

ACCOUNT = Account(sid="AC" + "1" * 32, auth_token="a" * 32)
IN_MID_CALL = ("7", "8", "9", "12")
FIRST_SOUND_MS, MEDIAN_MS, DEAD_AIR_MS = 3000, 1500, 4000
WRITTEN_WITHIN_S = 15.0
BLOCK_SAMPLES, BLOCK_MS = 2 * 80, 10  # of both tracks
ON_THE_WAY_MS = 50
AUDIBLE_RMS = 100


@dataclass(frozen=True)
class Heard:
    """One call: what became of it, and when the caller heard something; ms, None where it does not apply."""

    verdict: Verdict
    first_sound_ms: float | None
    noticed_ms: float | None
    turns: list[dict[str, Any]]


class House:
    """The app as shipped, between a carrier and AI that fails.

    Args:
        stack: ends all of it.
    """

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack, self._folder = stack, folder
        self.engine = stack.enter_context(FakeRealtime().running())
        self.batch = stack.enter_context(FakeTurns().running())
        self.door = stack.enter_context(FrontDoor(self.engine.origin, self.batch.origin).running())
        self.network = stack.enter_context(BackgroundNetwork(ACCOUNT))
        self.batch.heard = lambda wav: f"recorded words {hash(wav) & 0xFFFF}"
        self.url = self._serve()

    def _serve(self) -> str:
        port = servers.free_port()
        settings = {
            "PORT": str(port),
            "LOCAL": "1",
            "WEB_CONCURRENCY": "2",
            "REDIS_URL": self._stack.enter_context(servers.redis_server()),
            "OPENAI_BASE_URL": self.door.base_url,
            "OPENAI_API_KEY": "sk-test",
            "AGENT_GREETING": "Hello.",
            "TWILIO_ACCOUNT_SID": ACCOUNT.sid,
            "TWILIO_AUTH_TOKEN": ACCOUNT.auth_token,
            "TWILIO_API_BASE_URL": self.network.api_url,
        }
        environment = environment_of(self._folder, settings)
        migrated = flask("db", "upgrade", environment=environment, cwd=self._folder)
        assert migrated.returncode == 0, migrated.stderr
        self._python("web", environment, "gunicorn", "-c", str(PROJECT / "gunicorn.conf.py"), "wsgi:app")
        self._python("worker", environment, "flaskapp.worker")
        servers.wait_until(lambda: _is_up(port), "no app", 60)
        log = self._folder / "worker.log"
        servers.wait_until(lambda: "Waiting for jobs" in log.read_text(), "no background worker", 60)
        return f"http://127.0.0.1:{port}"

    def _python(self, name: str, environment: dict[str, str], *arguments: str) -> None:
        log = self._stack.enter_context((self._folder / f"{name}.log").open("wb"))
        command = [sys.executable, "-m", *arguments]
        process = subprocess.Popen(command, env=environment, cwd=self._folder, stdout=log, stderr=log)
        self._stack.callback(servers.stop, process)

    def hears(self, name: str, calls: int) -> list[Heard]:
        """So many callers at once meet this failure: what each heard."""
        SCENES[name].arrange(self.engine, self.door, calls)
        spec = CallSpec(
            url=f"{self.url}/phone/incoming-call-streaming",
            status_callback=f"{self.url}/phone/call-status",
            script=CALLER,
            seconds=100,
        )
        return [self._heard(name, report) for report in self.network.place_calls([spec] * calls)]

    def _heard(self, name: str, report: CallReport) -> Heard:
        deadline = time.monotonic() + WRITTEN_WITHIN_S
        while True:
            turns = self._rows("turns", report.call_sid, "is_final order by position")
            rows = self._rows("calls", report.call_sid)
            verdict = judge(name, report, turns, len(rows))
            if verdict.is_complete or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        if name.split()[0] not in IN_MID_CALL:
            return Heard(verdict, report.first_sound_after_start_ms, None, turns)
        kinds = "(json_extract(detail, '$.fault') or kind = 'hold') order by at_ms"
        known = [event["at_ms"] for event in self._rows("events", report.call_sid, kinds)]
        return Heard(verdict, *_in_mid_call(report, known), turns)

    def _rows(self, table: str, call_sid: str, condition: str = "1") -> list[dict[str, Any]]:
        join = "" if table == "calls" else f" join calls on calls.id = {table}.call_id"
        with sqlite3.connect(self._folder / "calls.sqlite3", timeout=10) as database:
            database.row_factory = sqlite3.Row
            query = f"select {table}.* from {table}{join} where call_sid = ? and {condition}"
            return [dict(row) for row in database.execute(query, (call_sid,))]


def _is_up(port: int) -> bool:
    """Whether the app answers; that the port is open says only that gunicorn has begun."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _in_mid_call(report: CallReport, known: list[float]) -> tuple[float | None, float | None]:
    """How long after the failure was known something was heard, and how long that took; ms."""
    if not known:
        return None, None
    said = [turn.spoke_until_ms for turn in report.turns if turn.spoke_until_ms <= known[0]]
    noticed = known[0] - said[-1] if said else None
    heard = next((at for at in _audible(report.stereo, known[0] + ON_THE_WAY_MS)), None)
    return None if heard is None else heard - known[0], noticed


def _audible(stereo: bytes, since_ms: float) -> Iterator[float]:
    """When the agent's side is heard; ms since the call began."""
    samples = memoryview(stereo).cast("h")
    for block in range(int(since_ms / BLOCK_MS), len(samples) // BLOCK_SAMPLES):
        at = block * BLOCK_SAMPLES
        agent = array("h", samples[at + 1 : at + BLOCK_SAMPLES].tolist()[::2])
        if rms(agent.tobytes()) >= AUDIBLE_RMS:
            yield block * BLOCK_MS


def measure(names: list[str], calls: int) -> dict[str, list[Heard]]:
    """Every failure in an office of its own, one after the other."""
    found = {}
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
            found[name] = House(stack, folder).hears(name, calls)
    return found


def _figures(values: list[float | None]) -> str:
    some = [value for value in values if value is not None]
    if not some:
        return f"{'-':>7}" * 3
    return "".join(f"{percentile(some, each):>7.0f}" for each in (50, 99, 100))


def show(name: str, heard: list[Heard]) -> None:
    """The transcripts, to be looked at."""
    for each in heard:
        print(f"\n{name}: {each.verdict.call_sid} {'' if each.verdict.is_complete else 'INCOMPLETE'}")
        for turn in each.turns:
            cut = " (cut)" if turn["interrupted"] else ""
            print(
                f"  {turn['position']:>3} {turn['start_ms'] / 1000:>6.2f}-{turn['end_ms'] / 1000:<6.2f}"
                f" {turn['speaker']:<6} {turn['mode']:<8} {turn['text']!r}{cut}"
            )


def table(found: dict[str, list[Heard]]) -> list[str]:
    """Print it; what must not be."""
    print(
        f"{'ms':<24}{'n':>4}{'first sound':>21}{'noticed':>21}{'silence':>21}{'complete':>10}{'one row':>9}"
    )
    print(f"{'':<28}" + f"{'p50':>7}{'p99':>7}{'max':>7}" * 3)
    wrong = []
    for name, heard in found.items():
        verdicts = [each.verdict for each in heard]
        complete, single = sum(v.is_complete for v in verdicts), sum(v.rows == 1 for v in verdicts)
        first = [each.first_sound_ms for each in heard]
        figures = _figures(first) + _figures([each.noticed_ms for each in heard])
        silence = [v.silence_ms for v in verdicts]
        print(f"{name:<24}{len(heard):>4}{figures}{_figures([*silence])}{complete:>10}{single:>9}")
        if complete < len(heard) or single < len(heard) or not all(v.is_answered for v in verdicts):
            wrong.append(f"{name}: a call is incomplete, unanswered or in two rows")
        sounds = [value for value in first if value is not None]
        if sounds and (max(sounds) > FIRST_SOUND_MS or percentile(sounds, 50) > MEDIAN_MS):
            print(f"{'':<24} first sound misses {FIRST_SOUND_MS} ms, or {MEDIAN_MS} in the median")
        if max(silence) > DEAD_AIR_MS:
            print(f"{'':<24} dead air misses {DEAD_AIR_MS} ms")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--calls", type=int, default=20, help="at once, of each failure")
    parser.add_argument("--scene", action="append", choices=list(SCENES), help="only this one (repeatable)")
    parser.add_argument("--show", action="store_true", help="print the transcripts")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    wanted = parser.parse_args()
    before = calibrate()
    found = measure(wanted.scene or list(SCENES), wanted.calls)
    after = calibrate()
    for name, heard in found.items() if wanted.show else ():
        show(name, heard)
    wrong = table(found)
    print(f"a fixed loop took {before:.1f} before and {after:.1f} after")
    if wanted.json:
        rows = {
            name: [{**asdict(each), "verdict": {**asdict(each.verdict), "modes": sorted(each.verdict.modes)}}
                   for each in heard]
            for name, heard in found.items()
        }  # fmt: skip
        wanted.json.write_text(json.dumps(rows, indent=1))
    for each in wrong:
        print(each)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

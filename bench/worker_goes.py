"""Workers die or are told to end under calls: what the callers notice, and what the history keeps.

    python bench/worker_goes.py --how kill --rounds 10 --calls 30
    python bench/worker_goes.py --how deploy --rounds 5 --calls 50

``kill``: SIGKILL to one of two workers. ``deploy``: SIGTERM to one of two whole
servers behind nginx, which is started again afterwards. PostgreSQL, Redis,
signed webhooks, callers who chat until their time is over. In each round every
caller must be served on, live; no line that was a second old may be lost or
doubled. Exits with 1 otherwise.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "bench")]

from calibration import calibrate  # noqa: E402
from measure import percentile  # noqa: E402
from sqlalchemy import create_engine, text  # noqa: E402

from flaskapp.simulator.background import BackgroundNetwork  # noqa: E402
from flaskapp.simulator.person import Script, Utterance  # noqa: E402
from flaskapp.simulator.report import CallReport  # noqa: E402
from flaskapp.simulator.sounds import tone  # noqa: E402
from flaskapp.simulator.spec import CallSpec  # noqa: E402
from flaskapp.simulator.twilio.account import Account  # noqa: E402
from tests import servers  # noqa: E402
from tests.behaviour import Behaviour  # noqa: E402
from tests.conftest import environment_of, flask  # noqa: E402
from tests.fakes import FakeRealtime  # noqa: E402
from tests.system import ledger  # noqa: E402
from tests.system.proxy import nginx  # noqa: E402

ACCOUNT = Account(sid="AC" + "4" * 32, auth_token="w" * 32)
CHAT = Script((Utterance(tone(0.9, 300), name="chat"),), repeat=True, quiet_ms=500)
TURNS = (
    "select turns.*, call_sid from turns join calls on calls.id = turns.call_id order by call_id, position"
)
LASTS_S = 40.0
WORTH_A_LOOK_MS = 2000.0


@dataclass
class Round:
    """What became of one round's callers."""

    number: int
    moved: int
    failed: list[str]
    recorded: int
    gone_after_s: float
    silences_ms: list[float] = field(default_factory=list)
    gaps_ms: list[float] = field(default_factory=list)
    longest_ms: float = 0.0


class House:
    """One or two servers on one database and one Redis, with an engine and a network around them."""

    def __init__(self, stack: ExitStack, count: int) -> None:
        self._stack = stack
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="goes-")))
        self.engine = stack.enter_context(
            FakeRealtime(Behaviour(reply_ms=1200, numbers_replies=True)).running()
        )
        self.network = stack.enter_context(BackgroundNetwork(ACCOUNT))
        self.database = stack.enter_context(servers.postgres_server())
        ports = [servers.free_port() for _ in range(count)]
        self.url = f"http://127.0.0.1:{ports[0] if count == 1 else servers.free_port()}"
        self._settings = {
            "WEB_CONCURRENCY": "2",
            "FLASK_BASE_URL": self.url,
            "REDIS_URL": stack.enter_context(servers.redis_server()),
            "DATABASE_URL": self.database,
            "OPENAI_BASE_URL": self.engine.base_url,
            "OPENAI_API_KEY": "sk-test",
            "TWILIO_ACCOUNT_SID": ACCOUNT.sid,
            "TWILIO_AUTH_TOKEN": ACCOUNT.auth_token,
            "TWILIO_API_BASE_URL": self.network.api_url,
        }
        migrated = flask("db", "upgrade", environment=self._environment(ports[0]), cwd=self._folder)
        assert migrated.returncode == 0, migrated.stderr
        self.ports = ports
        self.processes = [self.serve(port) for port in ports]
        if count > 1:
            stack.enter_context(nginx(self._folder, int(self.url.rsplit(":", 1)[1]), ports))

    def _environment(self, port: int) -> dict[str, str]:
        return environment_of(self._folder, {**self._settings, "PORT": str(port)})

    def serve(self, port: int) -> subprocess.Popen[bytes]:
        """A server under gunicorn, when it is ready."""
        log = self._stack.enter_context((self._folder / f"web-{port}.log").open("ab"))
        command = [sys.executable, "-m", "gunicorn", "-c", str(PROJECT / "gunicorn.conf.py"), "wsgi:app"]
        process = subprocess.Popen(
            command, env=self._environment(port), cwd=self._folder, stdout=log, stderr=log
        )
        self._stack.callback(servers.stop, process, patience_s=60)
        servers.wait_until(lambda: servers.answers(port), "no app", 60)
        servers.wait_until(lambda: len(ledger.workers_of(process.pid)) >= 2, "no workers", 60)
        time.sleep(3.0)  # its workers import
        return process

    def rows(self) -> list[Any]:
        engine = create_engine(self.database.replace("postgresql://", "postgresql+psycopg://"))
        with engine.connect() as connection:
            found = [dict(row) for row in connection.execute(text(TURNS)).mappings()]
        engine.dispose()
        return found

    def log(self) -> str:
        return "".join(each.read_text(errors="replace") for each in self._folder.glob("web-*.log"))


def play(house: House, number: int, calls: int, how: str, dice: random.Random) -> tuple[Round, float]:
    """Place the calls, have a worker go in the middle of them, and hear how it was."""
    known = len(house.engine.sessions)
    spec = CallSpec(
        url=house.url + "/phone/incoming-call-streaming",
        status_callback=house.url + "/phone/call-status",
        fallback_url=house.url + "/phone/fallback",
        script=CHAT,
        seconds=LASTS_S,
        record_stereo=False,
    )
    futures = []
    for _ in range(calls):
        futures.append(house.network.start(spec))
        time.sleep(0.1)

    def all_talk() -> bool:
        mine = house.engine.sessions[known : known + calls]
        return len(mine) == calls and all(each.replies >= 2 for each in mine)

    servers.wait_until(all_talk, "they do not talk", LASTS_S)
    time.sleep(dice.uniform(0.0, 3.0))
    went_at = time.monotonic()
    gone_after_s = (_kill if how == "kill" else _deploy)(house, number)
    reports: list[CallReport] = [future.result(LASTS_S + 120) for future in futures]
    moved = [report for report in reports if len(report.streams) > 1]
    handovers = [each for report in moved for each in report.handovers()]
    for report in moved:
        if max(each.silence_ms for each in report.handovers()) > WORTH_A_LOOK_MS:
            _describe(report)
    return (
        Round(
            number,
            len(moved),
            [report.reason for report in reports if report.failed],
            sum(bool(report.recordings) for report in reports),
            gone_after_s,
            [each.silence_ms for each in handovers],
            [each.resumed_ms - each.ended_ms for each in handovers],
            max(report.longest_silence_ms for report in reports),
        ),
        went_at,
    )


def _describe(report: CallReport) -> None:
    """What happened on a call whose caller waited for long."""
    print(f"  {report.call_sid}: {[(round(s.started_ms), round(s.ended_ms)) for s in report.streams]}")
    print(f"  quiet: {[(round(a), round(b)) for a, b in report.dead_air(1500)]}")
    turns = [
        (round(each.spoke_from_ms), round(each.spoke_until_ms), each.latency_ms) for each in report.turns
    ]
    print(f"  turns: {turns}")
    print(f"  hooks: {[(h.url[-40:], h.status, round(h.at_ms), round(h.took_ms)) for h in report.webhooks]}")


def _kill(house: House, number: int) -> float:
    victim = ledger.workers_of(house.processes[0].pid)[number % 2]
    os.kill(victim, signal.SIGKILL)
    return 0.0


def _deploy(house: House, number: int) -> float:
    """One of the servers ends, and comes back."""
    which, began = number % len(house.processes), time.monotonic()
    house.processes[which].send_signal(signal.SIGTERM)
    house.processes[which].wait(60)
    gone_after_s = time.monotonic() - began
    house.processes[which] = house.serve(house.ports[which])
    return gone_after_s


def run(how: str, rounds: int, calls: int, seed: int) -> dict[str, Any]:
    """All rounds, one after the other, and the books at the end."""
    before, dice = calibrate(), random.Random(seed)
    with ExitStack() as stack:
        house = House(stack, 2 if how == "deploy" else 1)
        played, lost = [], []
        for number in range(rounds):
            known = len(house.engine.sessions)
            one, went_at = play(house, number, calls, how, dice)
            time.sleep(3.0)  # the scribes write
            rows = house.rows()
            lost += ledger.lost(SimpleNamespace(sessions=house.engine.sessions[known:]), rows, went_at)
            doubled = ledger.doubled(rows)
            played.append(one)
            print(
                f"round {number}: {one.moved} of {calls} moved, {len(one.failed)} failed, "
                f"{one.recorded} recorded, lost {len(lost)}, doubled {len(doubled)}, "
                f"gone after {one.gone_after_s:.1f} s, "
                f"silence around it {max(one.silences_ms, default=0):.0f} ms",
                flush=True,
            )
        open_lines = [row["text"] for row in rows if not row["is_final"]]
        offences = [each for session in house.engine.sessions for each in session.offences]
        tracebacks = house.log().count("Traceback")
    silences = [each for one in played for each in one.silences_ms]
    return {
        "moved": sum(one.moved for one in played),
        "failed": [reason for one in played for reason in one.failed],
        "recorded": sum(one.recorded for one in played),
        "lost": lost,
        "doubled": doubled,
        "open": open_lines,
        "offences": offences,
        "tracebacks": tracebacks,
        "gone_after_s": max(one.gone_after_s for one in played),
        "silence_ms": [percentile(silences, share) for share in (50, 99, 100)] if silences else [],
        "gap_ms": [percentile([g for one in played for g in one.gaps_ms], share) for share in (50, 99, 100)],
        "calibration": [before, calibrate()],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--how", choices=("kill", "deploy"), default="kill")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--calls", type=int, default=30)
    parser.add_argument("--seed", type=int, default=4)
    wanted = parser.parse_args()
    found = run(wanted.how, wanted.rounds, wanted.calls, wanted.seed)
    for name, value in found.items():
        print(f"{name:<14}{value}")
    wrong = ("failed", "recorded", "lost", "doubled", "open", "offences", "tracebacks")
    return 1 if any(found[name] for name in wrong) else 0


if __name__ == "__main__":
    sys.exit(main())

"""The background worker is killed at random moments: what becomes of the recordings it had in hand.

    python bench/worker_kills.py --kills 100 --seed 7

gunicorn with two workers, PostgreSQL (``--sqlite``: SQLite), Redis and ``python -m flaskapp.worker``; AI that
takes its time and fails now and then; signed webhooks. Half of the callers wait and ask as the carrier does,
the others have hung up. Each recording must end as one row with one outcome, one line of the caller's, and
one of the agent's where it was answered: the very words that the caller was told. Exits with 1 if one is
lost, doubled or changed, or was in nobody's hands for more than ten seconds.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "bench")]

from measure import percentile  # noqa: E402
from redis import Redis  # noqa: E402
from sqlalchemy import create_engine, text  # noqa: E402

from tests import servers  # noqa: E402
from tests.conftest import environment_of, flask  # noqa: E402
from tests.fake_turns import FakeTurns, Fault  # noqa: E402
from tests.hand_carrier import HandCarrier, Shelf, number_of, sid  # noqa: E402

ACCOUNT, TOKEN = "AC" + "3" * 32, "k" * 32
STEP_S = (0.1, 1.5)  # how long AI takes over one request
FAILS = 0.05  # so many of its answers are failures
LOOKED_EVERY_S = 0.03
PUT_OFF_FROM_S = 2.5  # the sweeper itself puts off by two seconds what it has just submitted
SETTLED_WITHIN_S = 180.0
WITHIN_S = 10.0
STATUSES = {"answered", "understood"}


class MoodyTurns(FakeTurns):
    """Batch AI that takes a random time over everything, and fails now and then."""

    def __init__(self, dice: random.Random, fails: float = FAILS) -> None:
        super().__init__()
        self._dice, self._fails = dice, fails
        self.heard = lambda wav: f"message {number_of(wav)}"
        self.answers = self._new_answer
        self._count = 0

    def fault_for(self, kind: str) -> Fault:
        with self._lock:
            pause_s, draw = self._dice.uniform(*STEP_S), self._dice.random()
        if draw < self._fails:
            return Fault(status=503, code="server_unavailable", pause_s=pause_s)
        return Fault(pause_s=pause_s)

    def _new_answer(self, messages: list[dict[str, Any]]) -> str:
        """No two answers are alike, so that a second one to the same question shows."""
        with self._lock:
            self._count += 1
            return f"Answer {self._count} to {messages[-1]['content']}."


@dataclass
class Left:
    """A turn that a killed worker left: when that was, and when it was in somebody's hands again."""

    member: str
    owner: str  # empty: it waited in the queue, or nobody had taken it yet
    at: float
    again: float | None = None


class Watch:
    """Looks at who holds which turn, many times a second."""

    def __init__(self, redis_url: str) -> None:
        self._redis = Redis.from_url(redis_url, decode_responses=True)
        self._over = threading.Event()
        self._guard = threading.Lock()
        self._open: dict[str, str] = {}
        self.left: list[Left] = []

    @contextmanager
    def running(self) -> Iterator[Watch]:
        thread = threading.Thread(target=self._look, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join(10)

    def killed(self) -> None:
        """The worker has just been killed: what was open is left."""
        now, found = time.monotonic(), self._now()
        with self._guard:
            known = {each.member for each in self.left if each.again is None}
            self.left += [Left(*each, now) for each in found.items() if each[0] not in known]

    def _now(self) -> dict[str, str]:
        """Open turns, and who holds each; those that were put off, because AI failed, are left out."""
        members = self._redis.zrange("open-turns", 0, -1, withscores=True)
        names = [f"lease:{member.replace(' ', ':')}" for member, _ in members]
        owners = self._redis.mget(names) if names else []
        soon = time.time() + PUT_OFF_FROM_S
        each = zip(members, owners, strict=True)
        return {member: owner or "" for (member, due), owner in each if owner or due < soon}

    def _look(self) -> None:
        while not self._over.wait(LOOKED_EVERY_S):
            found, now = self._now(), time.monotonic()
            with self._guard:
                for each in self.left:
                    if each.again is None and found.get(each.member, "closed") not in ("", each.owner):
                        each.again = now


@dataclass
class Caller:
    """One caller with one recording, and what he was told."""

    number: int
    waits: bool
    told: list[str] = field(default_factory=list)
    answer_s: float | None = None

    @property
    def call_sid(self) -> str:
        return f"CA{self.number:06d}"


def speak(carrier: HandCarrier, caller: Caller) -> None:
    """A call of one recording."""
    call_sid = caller.call_sid
    carrier.post("/phone/incoming-call", call_sid)
    began = time.monotonic()
    told = carrier.bring(call_sid, sid(caller.number), Digits="" if caller.waits else "hangup")
    while caller.waits:
        caller.told.append(told.said)
        if not told.asks_again:
            caller.answer_s = time.monotonic() - began
            break
        time.sleep(1.0)
        told = carrier.post(told.asks_again, call_sid)
    carrier.recording_status(call_sid, sid(caller.number))
    carrier.over(call_sid)


def kill_and_start(start: Any, kills: int, dice: random.Random, watch: Watch) -> None:
    """A worker after the other; each is killed somewhere in its life, the first second included."""
    for _ in range(kills):
        process = start()
        time.sleep(dice.uniform(0.3, 4.0))
        process.kill()
        process.wait(30)
        watch.killed()
    start()


def judged(database_url: str, callers: list[Caller]) -> tuple[list[str], dict[str, int]]:
    """What is wrong with the history, and how many recordings came to which end."""
    rows, lines = _rows(database_url)
    wrong, ends = [], dict.fromkeys(sorted(STATUSES), 0)
    for caller in callers:
        own = rows.get(sid(caller.number), [])
        said = [line for line in lines.get(caller.call_sid, []) if line["speaker"] == "caller"]
        answered = [line for line in lines.get(caller.call_sid, []) if line["speaker"] == "agent"]
        status = own[0]["status"] if len(own) == 1 else f"{len(own)} rows"
        ends[status] = ends.get(status, 0) + 1
        if status not in STATUSES:
            wrong.append(f"{caller.call_sid}: {status}")
        if [line["text"] for line in said] != [f"message {caller.number}"]:
            wrong.append(f"{caller.call_sid}: the caller's lines are {[line['text'] for line in said]}")
        if len(answered) != (status == "answered"):
            wrong.append(f"{caller.call_sid}: {status} with {len(answered)} of the agent's lines")
        spoken = " ".join(caller.told)
        if "Answer" in spoken and not (answered and answered[0]["text"] in spoken):
            wrong.append(f"{caller.call_sid}: was told {spoken!r}, kept is {answered}")
    return wrong, ends


def _rows(database_url: str) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Recordings by their SID, lines by their call's."""
    url = database_url.replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(url)
    rows: dict[str, list[Any]] = {}
    lines: dict[str, list[Any]] = {}
    with engine.connect() as connection:
        for row in connection.execute(text("select * from recordings")).mappings():
            rows.setdefault(row["recording_sid"], []).append(dict(row))
        query = "select call_sid, turns.* from turns join calls on calls.id = turns.call_id"
        for row in connection.execute(text(query)).mappings():
            lines.setdefault(row["call_sid"], []).append(dict(row))
    engine.dispose()
    return rows, lines


def run(kills: int, seed: int, a_second: float, on_postgres: bool) -> dict[str, Any]:
    """Callers come at a steady pace until the last kill; then everything may settle."""
    dice = random.Random(seed)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kills-")))
        database = (
            stack.enter_context(servers.postgres_server()) if on_postgres else f"sqlite:///{folder}/calls.db"
        )
        redis_url = stack.enter_context(servers.redis_server())
        shelf = stack.enter_context(Shelf(()))
        fake = stack.enter_context(MoodyTurns(random.Random(seed + 1)).running())
        watch = stack.enter_context(Watch(redis_url).running())
        environment = environment_of(
            folder,
            {
                "PORT": str(servers.free_port()),
                "LOCAL": "1",
                "WEB_CONCURRENCY": "2",
                "REDIS_URL": redis_url,
                "DATABASE_URL": database,
                "OPENAI_BASE_URL": fake.base_url,
                "OPENAI_API_KEY": "sk-test",
                "TWILIO_ACCOUNT_SID": ACCOUNT,
                "TWILIO_AUTH_TOKEN": TOKEN,
                "TWILIO_API_BASE_URL": shelf.url,
            },
        )
        url, start = serve(stack, folder, environment)
        carrier = HandCarrier(url, shelf.url, ACCOUNT, TOKEN)
        callers, killer = (
            [],
            threading.Thread(target=kill_and_start, args=(start, kills, random.Random(seed + 2), watch)),
        )
        with ThreadPoolExecutor(64) as line:
            killer.start()
            spoken = []
            while killer.is_alive():
                callers.append(Caller(len(callers), waits=dice.random() < 0.5))
                spoken.append(line.submit(speak, carrier, callers[-1]))
                time.sleep(dice.expovariate(a_second))
            killer.join()
        for each in spoken:
            each.result()
        settled = _settled(redis_url)
        wrong, ends = judged(environment["DATABASE_URL"], callers)
        logs = "".join(each.read_text(errors="replace") for each in folder.glob("*.log"))
        return {
            "recordings": len(callers),
            "kills": kills,
            "seed": seed,
            "ends": ends,
            "wrong": wrong + ([] if settled else ["turns are still open"]),
            "done_by_web": logs.count("it is done here"),
            "work_begun": logs.count("Processing streamed audio"),
            "again_s": {name: again for name, again in _again(watch, callers).items()},
            "answer_s": [caller.answer_s for caller in callers if caller.answer_s is not None],
            "told": _told(callers),
            "webhook_s": carrier.took,
            "tracebacks": logs.count("Traceback"),
        }


def _told(callers: list[Caller]) -> dict[str, int]:
    """What those who waited heard in the end."""
    last = [caller.told[-1] for caller in callers if caller.told]
    answered = sum("Answer" in each for each in last)
    return {"the answer": answered, "an apology": len(last) - answered}


def _again(watch: Watch, callers: list[Caller]) -> dict[str, list[float]]:
    """Seconds until a turn was in somebody's hands again, by what had become of it and who asked."""
    waits = {f"{caller.call_sid} {sid(caller.number)}": caller.waits for caller in callers}
    found: dict[str, list[float]] = {}
    for each in watch.left:
        what = "in hand" if each.owner else "not begun"
        who = "caller waits" if waits[each.member] else "nobody asks"
        found.setdefault(f"{what}, {who}", []).append(
            each.again - each.at if each.again is not None else float("inf")
        )
    return found


def _settled(redis_url: str) -> bool:
    redis = Redis.from_url(redis_url)
    try:
        servers.wait_until(lambda: not redis.zcard("open-turns"), "open turns", SETTLED_WITHIN_S)
    except TimeoutError:
        return False
    return True


def serve(stack: ExitStack, folder: Path, environment: dict[str, str]) -> tuple[str, Any]:
    """The migrated app under gunicorn: its address, and what starts a background worker of it."""
    migrated = flask("db", "upgrade", environment=environment, cwd=folder)
    assert migrated.returncode == 0, migrated.stderr
    log = stack.enter_context((folder / "web.log").open("ab"))
    worker_log = stack.enter_context((folder / "worker.log").open("ab"))
    command = [sys.executable, "-m", "gunicorn", "-c", str(PROJECT / "gunicorn.conf.py"), "wsgi:app"]
    web = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
    stack.callback(servers.stop, web, patience_s=60)
    url = f"http://127.0.0.1:{environment['PORT']}"
    servers.wait_until(lambda: _is_up(url), "no app", 60)

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "flaskapp.worker"],
            **{"env": environment, "cwd": folder, "stdout": worker_log, "stderr": worker_log},
        )
        stack.callback(servers.stop, process, patience_s=60)
        return process

    return url, start


def _is_up(url: str) -> bool:
    """Whether the app answers; that the port is open says only that gunicorn has begun."""
    try:
        with urllib.request.urlopen(f"{url}/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def table(found: dict[str, Any]) -> str:
    """What people read."""
    lines = [
        f"{found['kills']} kills, seed {found['seed']}: {found['recordings']} recordings, begun"
        f" {found['work_begun']} times; {found['ends']}; done by the web worker: {found['done_by_web']};"
        f" callers who waited heard: {found['told']}",
        f"{'seconds':<44}{'n':>6}{'p50':>8}{'p95':>8}{'p99':>8}{'max':>8}",
    ]
    again = {f"taken up again: {name}": values for name, values in sorted(found["again_s"].items())}
    figures = {
        **again,
        "a caller's answer or apology": found["answer_s"],
        "a webhook's answer": [seconds for _, seconds in found["webhook_s"]],
    }
    for name, values in figures.items():
        cells = "".join(f"{percentile(values, each):>8.2f}" for each in (50, 95, 99, 100))
        lines.append(f"{name:<44}{len(values):>6}{cells}")
    return "\n".join([*lines, *(f"WRONG: {each}" for each in found["wrong"])])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--a-second", type=float, default=2.0, help="callers")
    parser.add_argument("--sqlite", action="store_true", help="in PostgreSQL's place")
    parser.add_argument("--within", type=float, default=WITHIN_S, help="seconds until taken up again")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    wanted = parser.parse_args()
    found = run(wanted.kills, wanted.seed, wanted.a_second, not wanted.sqlite)
    print(table(found))
    if wanted.json:
        wanted.json.write_text(json.dumps(found, indent=2))
    late = [each for values in found["again_s"].values() for each in values if each > wanted.within]
    if late:
        print(f"LATE: {len(late)} turns were taken up again after more than {wanted.within:g} s")
    return 1 if found["wrong"] or late else 0


if __name__ == "__main__":
    sys.exit(main())

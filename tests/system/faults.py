"""An engine's failures, one by one: how each is brought about, and what became of the caller."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flaskapp.simulator.background import BackgroundNetwork
from flaskapp.simulator.person import Script, Utterance
from flaskapp.simulator.report import CallReport
from flaskapp.simulator.sounds import tone
from flaskapp.simulator.spec import CallSpec
from flaskapp.simulator.twilio.account import Account
from tests import servers
from tests.behaviour import Behaviour
from tests.conftest import PROJECT, RunningApp, environment_of, flask
from tests.fake_turns import FakeTurns
from tests.fakes import FakeRealtime
from tests.front_door import FrontDoor

ACCOUNT = Account(sid="AC" + "1" * 32, auth_token="a" * 32)
WRITTEN_WITHIN_S = 20.0
CALLER = Script(
    (Utterance(tone(1.2, 300), name="first"), Utterance(tone(1.2, 420), name="second")),
    quiet_ms=500,
    greeting_wait_s=12.0,
    reply_wait_s=25.0,
)


def _first(**behaviour: Any) -> Callable[[FakeRealtime, FrontDoor, int], None]:
    """Each call's first session acts like this, the next one politely."""

    def arrange(engine: FakeRealtime, door: FrontDoor, calls: int) -> None:
        engine.script.extend(Behaviour(**behaviour) for _ in range(calls))

    return arrange


def _always(**behaviour: Any) -> Callable[[FakeRealtime, FrontDoor, int], None]:
    def arrange(engine: FakeRealtime, door: FrontDoor, calls: int) -> None:
        engine.behaviour = Behaviour(**behaviour)

    return arrange


def _then_never(**behaviour: Any) -> Callable[[FakeRealtime, FrontDoor, int], None]:
    """Each call's first session acts like this, and nobody gets another."""

    def arrange(engine: FakeRealtime, door: FrontDoor, calls: int) -> None:
        _first(**behaviour)(engine, door, calls)
        engine.behaviour = Behaviour(handshake_status=401)

    return arrange


def _door(state: str) -> Callable[[FakeRealtime, FrontDoor, int], None]:
    def arrange(engine: FakeRealtime, door: FrontDoor, calls: int) -> None:
        door.realtime = state  # type: ignore[assignment]

    return arrange


@dataclass(frozen=True)
class Scene:
    """A failure.

    Attributes:
        arrange: brings it about for so many calls.
        goes_on: where the call goes on then, "live" or "recorded".
        answers: "each" thing that is said has one of its own; where nothing but the clip can be heard for
            long, the caller takes it for an answer, speaks again, and has both answered "together".
    """

    arrange: Callable[[FakeRealtime, FrontDoor, int], None]
    goes_on: str
    answers: str = "each"


#: By what happens, in the words of who watches.
SCENES: Mapping[str, Scene] = {
    "1 refused": Scene(_door("resets"), "recorded"),
    "2 hangs at connect": Scene(_door("stalls"), "recorded"),
    "2 hangs once at connect": Scene(_first(hangs=True), "live"),
    "3 says 401": Scene(_always(handshake_status=401), "recorded"),
    "4 says 429": Scene(_always(handshake_status=429, retry_after="1"), "recorded"),
    "4 says 429 once": Scene(_first(handshake_status=429, retry_after="1"), "live"),
    "5 says 503": Scene(_always(handshake_status=503), "recorded"),
    "6 accepts and closes": Scene(_always(closes_after_s=0.7), "recorded"),
    "7 dies in a reply": Scene(_first(dies_after_ms=300), "live"),
    "7 gone in mid-word": Scene(_then_never(closes_after_s=2.0), "recorded"),  # the caller's
    "8 stalls": Scene(_first(stalls_after=1), "live"),
    "8 stalls at once": Scene(_first(stalls=True), "live"),
    "8 stalls for ever": Scene(_always(stalls=True), "recorded", answers="together"),
    "9 a reply fails": Scene(_first(fails_replies=1), "live"),
    "9 every reply fails": Scene(_always(fails_replies=999), "recorded"),
    "12 the session expires": Scene(_first(expires_after_s=3.0), "live"),
}


@dataclass(frozen=True)
class Verdict:
    """What became of one caller; times in ms."""

    scene: str
    call_sid: str
    is_answered: bool
    first_sound_ms: float
    silence_ms: float
    said: int
    caller_lines: tuple[str, ...]
    agent_lines: int
    has_last_word: bool
    modes: frozenset[str]
    rows: int
    why: str

    @property
    def is_complete(self) -> bool:
        """Each thing that the caller said is one line, and was answered."""
        due = self.said if SCENES[self.scene].answers == "each" else 1
        return len(self.caller_lines) == self.said and self.agent_lines >= due and self.has_last_word


def judge(scene: str, report: CallReport, turns: list[Any], rows: int) -> Verdict:
    """``turns``: the call's final turns in the history; ``rows``: how many rows it has there."""
    spoken = [turn for turn in turns if turn["text"]]
    callers = tuple(turn["text"] for turn in spoken if turn["speaker"] == "caller")
    return Verdict(
        scene,
        report.call_sid,
        report.answered and all(turn.latency_ms is not None or turn.cut_off for turn in report.turns),
        report.first_sound_ms if report.first_sound_ms is not None else float("inf"),
        report.longest_silence_ms,
        len(report.turns),
        callers,
        sum(turn["speaker"] == "agent" for turn in spoken),
        bool(spoken) and spoken[-1]["speaker"] == "agent",
        frozenset(turn["mode"] for turn in spoken),
        rows,
        report.reason,
    )


class House:
    """The running app between a carrier and AI that fails on purpose.

    Args:
        stack: ends all of it.
        folder: where its database and logs are.
        settings: of the app.
    """

    def __init__(self, stack: ExitStack, folder: Path, settings: Mapping[str, str]) -> None:
        self._stack, self._folder = stack, folder
        self.engine = stack.enter_context(FakeRealtime().running())
        self.batch = stack.enter_context(FakeTurns().running())
        self.door = stack.enter_context(FrontDoor(self.engine.origin, self.batch.origin).running())
        self.network = stack.enter_context(BackgroundNetwork(ACCOUNT))
        self.batch.heard = lambda wav: f"recorded words {hash(wav) & 0xFFFF}"
        port = servers.free_port()
        served = {
            "PORT": str(port),
            "LOCAL": "1",
            "OPENAI_BASE_URL": self.door.base_url,
            "OPENAI_API_KEY": "sk-test",
            "AGENT_GREETING": "Hello.",
            "TWILIO_ACCOUNT_SID": ACCOUNT.sid,
            "TWILIO_AUTH_TOKEN": ACCOUNT.auth_token,
            "TWILIO_API_BASE_URL": self.network.api_url,
        }
        self._environment = environment_of(folder, {**served, **settings})
        migrated = flask("db", "upgrade", environment=self._environment, cwd=folder)
        assert migrated.returncode == 0, migrated.stderr
        web = self.starts("web", "gunicorn", "-c", str(PROJECT / "gunicorn.conf.py"), "wsgi:app")
        self.app = RunningApp(f"http://127.0.0.1:{port}", self.log("web"), web, self._environment)
        servers.wait_until(self.app.is_healthy, "no /health")

    def log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def starts(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """One of the app's processes, ended with the stack."""
        with self.log(name).open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                env=self._environment,
                cwd=self._folder,
                stdout=log,
                stderr=log,
            )
        self._stack.callback(servers.stop, process, 60)
        return process

    def plays(self, name: str, calls: int) -> list[tuple[CallReport, Verdict, list[Any]]]:
        """So many callers at once meet this failure: what each heard, what became of it, its final turns."""
        SCENES[name].arrange(self.engine, self.door, calls)
        spec = CallSpec(
            url=f"{self.app.url}/phone/incoming-call-streaming",
            status_callback=f"{self.app.url}/phone/call-status",
            script=CALLER,
            seconds=100,
        )
        return [self._judged(name, report) for report in self.network.place_calls([spec] * calls)]

    def _judged(self, name: str, report: CallReport) -> tuple[CallReport, Verdict, list[Any]]:
        deadline = time.monotonic() + WRITTEN_WITHIN_S
        while True:
            turns = self.rows("turns", report.call_sid, "is_final order by position")
            verdict = judge(name, report, turns, len(self.rows("calls", report.call_sid)))
            if verdict.is_complete or time.monotonic() > deadline:
                return report, verdict, turns
            time.sleep(0.1)

    def rows(self, table: str, call_sid: str, condition: str = "1") -> list[Any]:
        """What the database has of a call."""
        join = "" if table == "calls" else f" join calls on calls.id = {table}.call_id"
        with sqlite3.connect(self._folder / "calls.sqlite3", timeout=10) as database:
            database.row_factory = sqlite3.Row
            query = f"select {table}.* from {table}{join} where call_sid = ? and {condition}"
            return database.execute(query, (call_sid,)).fetchall()

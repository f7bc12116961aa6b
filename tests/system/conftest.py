"""The running app between a simulated phone network and an engine of the tests' own."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from flaskapp.simulator.background import BackgroundNetwork
from flaskapp.simulator.report import CallReport
from flaskapp.simulator.spec import CallSpec
from flaskapp.simulator.twilio.account import Account
from tests import servers
from tests.conftest import PROJECT, RunningApp, environment_of
from tests.fake_turns import FakeTurns
from tests.fakes import FakeRealtime, Session
from tests.front_door import FrontDoor
from tests.system.holding import AGENT_FILE

TOKEN = "0123456789abcdef0123456789abcdef"
ACCOUNT = Account(sid="AC" + "0" * 32, auth_token=TOKEN)
WEBHOOK = "/phone/incoming-call-streaming"


@pytest.fixture
def exchange() -> Iterator[BackgroundNetwork]:
    """A simulated phone network, so that a test may look while calls go on."""
    with BackgroundNetwork(ACCOUNT) as network:
        yield network


@pytest.fixture
def engine() -> Iterator[FakeRealtime]:
    with FakeRealtime().running() as fake:
        yield fake


@pytest.fixture
def speech_server(tmp_path) -> Iterator[str]:
    """Base URL of a local speech server of our own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "flaskapp.localai", "--port", "0"],
        cwd=PROJECT,
        env=environment_of(tmp_path, {}),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"http://\S+", line)
    assert found, f"no address in {line!r}"
    yield found[0]
    servers.stop(process)


@dataclass(frozen=True)
class Office:
    """An app that answers: where it is, who phones it, who thinks for it."""

    app: RunningApp
    engine: FakeRealtime
    exchange: BackgroundNetwork

    def spec(self, **wanted: Any) -> CallSpec:
        spec = CallSpec(url=self.app.url + WEBHOOK, status_callback=self.app.url + "/phone/call-status")
        return replace(spec, **wanted)

    def place(self, **wanted: Any) -> CallReport:
        return self.exchange.place_call(self.spec(**wanted))

    def call(self, number: int = -1) -> Any:
        """A simulated call, running or over, in the order of their beginnings."""
        return list(self.exchange.network.calls.values())[number]

    def new_session(self, start: Callable[[], Any]) -> tuple[Any, Session]:
        """What ``start`` gives, and the engine's session that came of it."""
        known = len(self.engine.sessions)
        started = start()
        self.engine.wait_for(lambda fake: len(fake.sessions) > known)
        session = self.engine.sessions[known]
        self.engine.wait_for(lambda _: session.session)
        return started, session

    def recordings(self, call_sid: str) -> list[tuple[str, str]]:
        """What became of a call's recordings: (SID, status), in their order."""
        query = (
            "select recording_sid, recordings.status from recordings"
            " join calls on calls.id = recordings.call_id where call_sid = ? order by recordings.id"
        )
        return [tuple(row) for row in self.rows(query, call_sid)]

    def rows(self, query: str, *arguments: Any, at_least: int = 0, within_s: float = 15.0) -> list[Any]:
        """Rows of the app's database; waits until there are enough of them."""
        path = self.app.environment["DATABASE_URL"].removeprefix("sqlite:///")
        deadline = time.monotonic() + within_s
        while True:
            with sqlite3.connect(path) as database:
                database.row_factory = sqlite3.Row
                found = database.execute(query, arguments).fetchall()
            if len(found) >= at_least or time.monotonic() > deadline:
                return found
            time.sleep(0.05)

    def turns(self, call_sid: str, at_least: int = 0) -> list[Any]:
        query = (
            "select turns.* from turns join calls on calls.id = turns.call_id"
            " where call_sid = ? and is_final order by position"
        )
        return self.rows(query, call_sid, at_least=at_least)


@pytest.fixture
def signed() -> dict[str, str]:
    """Settings of an app that checks its carrier's signatures."""
    return {"TWILIO_ACCOUNT_SID": ACCOUNT.sid, "TWILIO_AUTH_TOKEN": TOKEN}


@pytest.fixture
def office(gunicorn_app, engine, exchange, signed) -> Callable[..., Office]:
    """Starts the app with the fake engine at OPENAI_BASE_URL: ``office({"AGENT_GREETING": ...})``."""

    def open_office(settings: dict[str, str] | None = None) -> Office:
        served = {"OPENAI_BASE_URL": engine.base_url, "OPENAI_API_KEY": "sk-test", **signed}
        return Office(gunicorn_app({**served, **(settings or {})}), engine, exchange)

    return open_office


# ---------------------------------------------------------------------- the recording path


@pytest.fixture
def batch() -> Iterator[FakeTurns]:
    """A batch AI of the tests' own."""
    with FakeTurns().running() as fake:
        yield fake


@pytest.fixture
def door(engine, batch) -> Iterator[FrontDoor]:
    """One address for both halves of AI, which can be shut."""
    with FrontDoor(engine.origin, batch.origin).running() as front:
        yield front


@pytest.fixture
def redis_of_our_own() -> Iterator[str]:
    """A Redis that a test may count the keys of, or kill."""
    with servers.redis_server() as url:
        yield url


@pytest.fixture
def rescue(gunicorn_app, engine, exchange, door, signed) -> Callable[..., Office]:
    """An office whose AI has two halves behind one door, and a carrier that keeps recordings."""

    def open_office(settings: dict[str, str] | None = None) -> Office:
        served = {
            "OPENAI_BASE_URL": door.base_url,
            "OPENAI_API_KEY": "sk-test",
            "TWILIO_API_BASE_URL": exchange.api_url,
            "AGENT_GREETING": "Hello.",
            **signed,
        }
        return Office(gunicorn_app({**served, **(settings or {})}), engine, exchange)

    return open_office


class Worker:
    """A background worker of the app's, which can be killed and started again."""

    def __init__(self, app: RunningApp) -> None:
        self._app, self._process = app, None
        self._log = app.log.with_name("worker.log").open("ab")
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "flaskapp.worker"],
            env=self._app.environment,
            cwd=PROJECT,
            stdout=self._log,
            stderr=self._log,
        )

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(30)

    def stop(self) -> int:
        return servers.stop(self._process, patience_s=60)


@pytest.fixture
def background() -> Iterator[Callable[[RunningApp], Worker]]:
    """Starts the app's background worker: ``background(office.app)``."""
    running: list[Worker] = []

    def start(app: RunningApp) -> Worker:
        running.append(Worker(app))
        return running[-1]

    yield start
    for worker in running:
        worker.stop()


# ---------------------------------------------------------------------- calls that hold


@pytest.fixture
def house(rescue, tmp_path):
    """An office whose agent may transfer to sales."""

    def open_house(settings=None, agent=AGENT_FILE):
        file = tmp_path / "agent.yaml"
        file.write_text(agent)
        return rescue({"AGENT_FILE": str(file), "AGENT_GREETING": "", **(settings or {})})

    return open_house

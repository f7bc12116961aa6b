"""The running app between a simulated phone network and an engine of the tests' own."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

import pytest

from flaskapp.simulator.network import Network
from flaskapp.simulator.report import CallReport
from flaskapp.simulator.spec import CallSpec
from flaskapp.simulator.twilio.account import Account
from tests.conftest import RunningApp
from tests.fakes import FakeRealtime, Session

TOKEN = "0123456789abcdef0123456789abcdef"
ACCOUNT = Account(sid="AC" + "0" * 32, auth_token=TOKEN)
WEBHOOK = "/phone/incoming-call-streaming"


class Exchange:
    """A simulated phone network in a thread of its own, so that a test may look while calls go on."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._up: Future[Network] = Future()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.network = self._up.result(30)

    def _run(self) -> None:
        async def live() -> None:
            self._down = asyncio.Event()
            async with Network(ACCOUNT) as network:
                self._up.set_result(network)
                await self._down.wait()

        self._loop.run_until_complete(live())

    def start(self, spec: CallSpec) -> Future[CallReport]:
        return asyncio.run_coroutine_threadsafe(self.network.place_call(spec), self._loop)

    def place(self, spec: CallSpec) -> CallReport:
        return self.start(spec).result(spec.seconds + 120)

    def call(self, number: int = -1) -> Any:
        """A call in progress or over, in the order of their beginnings."""
        return list(self.network.calls.values())[number]

    def soon(self, act: Callable[[], None]) -> None:
        """Do something in the network's own thread."""
        self._loop.call_soon_threadsafe(act)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._down.set)
        self._thread.join(30)


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    network = Exchange()
    yield network
    network.close()


@pytest.fixture
def engine() -> Iterator[FakeRealtime]:
    with FakeRealtime().running() as fake:
        yield fake


@dataclass(frozen=True)
class Office:
    """An app that answers: where it is, who phones it, who thinks for it."""

    app: RunningApp
    engine: FakeRealtime
    exchange: Exchange

    def spec(self, **wanted: Any) -> CallSpec:
        spec = CallSpec(url=self.app.url + WEBHOOK, status_callback=self.app.url + "/phone/call-status")
        return replace(spec, **wanted)

    def place(self, **wanted: Any) -> CallReport:
        return self.exchange.place(self.spec(**wanted))

    def new_session(self, start: Callable[[], Any]) -> tuple[Any, Session]:
        """What ``start`` gives, and the engine's session that came of it."""
        known = len(self.engine.sessions)
        started = start()
        self.engine.wait_for(lambda fake: len(fake.sessions) > known)
        session = self.engine.sessions[known]
        self.engine.wait_for(lambda _: session.session)
        return started, session

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

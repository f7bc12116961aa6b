"""The running app between a simulated phone network and an engine of the tests' own."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from flaskapp.simulator.background import BackgroundNetwork
from flaskapp.simulator.report import CallReport
from flaskapp.simulator.spec import CallSpec
from flaskapp.simulator.twilio.account import Account
from tests.conftest import RunningApp
from tests.fakes import FakeRealtime, Session

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

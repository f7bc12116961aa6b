"""What the tests of readers have in common: callers who chat, two servers of one house."""

from __future__ import annotations

import pytest

from flaskapp.simulator.person import Script, Utterance
from flaskapp.simulator.sounds import tone
from tests.system.conftest import Office


def chat(count: int, pause_ms: int = 300) -> Script:
    said = tuple(Utterance(tone(0.8, 300 + 20 * at), name=f"line {at}") for at in range(count))
    return Script(said, quiet_ms=pause_ms)


@pytest.fixture
def town(gunicorn_app, engine, exchange, signed):
    """Two servers that share a Redis and a database: calls come to the first."""

    def start(redis_url: str) -> tuple[Office, str]:
        served = {"OPENAI_BASE_URL": engine.base_url, "OPENAI_API_KEY": "sk-test", **signed}
        settings = {**served, "REDIS_URL": redis_url, "AGENT_GREETING": "Hello."}
        return Office(gunicorn_app(settings), engine, exchange), gunicorn_app(settings, migrate=False).url

    return start


def begin(place: Office, script: Script, seconds: float = 40):
    """A call that goes on: its future, and its SID."""
    talking, _ = place.new_session(lambda: place.exchange.start(place.spec(script=script, seconds=seconds)))
    return talking, place.call().sid

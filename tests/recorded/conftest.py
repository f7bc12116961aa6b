"""Fixtures: a recording host, an app that fetches from it, and the AI that answers."""

from __future__ import annotations

import pytest

from tests.fake_recordings import RecordingHost, well
from tests.recorded.calls import Mind


@pytest.fixture
def host():
    with RecordingHost((well(),)) as running:
        yield running


@pytest.fixture
def config(config, host):
    return {**config, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "TWILIO_API_BASE_URL": host.url}


@pytest.fixture
def mind(app):
    own = Mind()
    app.extensions["recorded_turns"]._ai = own
    yield own
    own.may.set()


@pytest.fixture
def redis_may_go(app):
    """Says whether Redis, which is inside this process, answers."""
    server = app.extensions["live_store"].redis.connection_pool.connection_kwargs["server"]

    def is_there(answers):
        server.connected = answers

    yield is_there
    server.connected = True

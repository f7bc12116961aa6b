"""What a call that comes in asks of Redis: few questions, and none of a connection that is gone."""

from __future__ import annotations

import subprocess
import sys

import pytest
from redis import Redis

from tests.conftest import PROJECT

pytestmark = pytest.mark.system

#: A connection is looked at under gevent: at rest, with an answer that nobody has read, and closed.
LOOKED_AT = """
from gevent import monkey; monkey.patch_all()
import sys, time
from redis import Redis
from redis.exceptions import ConnectionError
from flaskapp.store.live import connect

def until(is_so):
    give_up_at = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)

def is_gone():
    try:
        return connection.can_read() and False
    except ConnectionError:
        return True

pool = connect(sys.argv[1]).text.connection_pool
connection = pool.get_connection()
assert connection.can_read() is False
connection.send_command("PING")
until(connection.can_read)
connection.read_response()
assert connection.can_read() is False
Redis.from_url(sys.argv[1]).client_kill_filter(_type="normal", skipme=True)
until(is_gone)
pool.release(connection)
assert connect(sys.argv[1]).text.ping()
"""


def test_a_connection_that_is_dirty_or_closed_is_seen_to_be(redis_server):
    done = subprocess.run(
        [sys.executable, "-c", LOOKED_AT, redis_server],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def config(config, redis_server):
    return {**config, "REDIS_URL": redis_server, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}


def test_a_call_that_comes_in_asks_once_and_tells_twice(client, redis_server):
    redis = Redis.from_url(redis_server)
    form = {"CallSid": "CAasks", "From": "+15551230001", "To": "+15551230002"}
    url = "http://localhost:5001/phone/incoming-call-streaming"
    client.post(url, data=form)  # connections are made, statements prepared
    redis.config_resetstat()
    answer = client.post(url, data={**form, "CallSid": "CAcounted"})
    assert "<Stream" in answer.text
    asked = {name: each["calls"] for name, each in redis.info("commandstats").items()}
    assert asked["cmdstat_hgetall"] == 1
    assert asked["cmdstat_exec"] == 2

"""A Redis that hangs is waited for once, not once for each question."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

import pytest
from redis import Redis
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import RedisError

from flaskapp.store import impatient
from flaskapp.store.live import ANSWERS_WITHIN_S, LiveStore, connect
from flaskapp.store.turns import Turn, TurnBook
from tests.conftest import PROJECT
from tests.servers import wait_until
from tests.stalling import StallingLine

pytestmark = pytest.mark.system


@pytest.fixture
def line(redis_server):
    with StallingLine(urlsplit(redis_server).port).running() as running:
        yield running


def test_many_questions_to_a_redis_that_hangs_cost_little_more_than_one(line):
    connections = connect(f"redis://127.0.0.1:{line.port}/0")
    live, book = LiveStore(connections), TurnBook(connections)
    live.begin("CA1")
    line.stall()
    began = time.monotonic()
    for number in range(20):
        live.remember("CA1", number=str(number))
        assert live.recall("CA1")["number"] == str(number)
        with pytest.raises(RedisError):
            book.claim(Turn("CA1", "RE1", "recording"))
    # One is waited for; a slow machine may take longer over the others than Redis counts as away.
    assert time.monotonic() - began < 5 * ANSWERS_WITHIN_S


def test_a_redis_that_is_back_is_asked_again(line):
    live = LiveStore(connect(f"redis://127.0.0.1:{line.port}/0"))
    line.stall()
    live.remember("CA1", called="+1")
    line.resume()
    time.sleep(impatient.AWAY_FOR_S)
    live.remember("CA1", called="+2")
    assert LiveStore(connect(f"redis://127.0.0.1:{line.port}/0")).recall("CA1")["called"] == "+2"


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("redis://127.0.0.1/0", Connection),
        ("rediss://127.0.0.1/0", SSLConnection),
        ("unix:///run/redis.sock", UnixDomainSocketConnection),
    ],
)
def test_every_kind_of_address_has_its_own_kind_of_connection(url, kind):
    made = connect(url).text.connection_pool.make_connection()
    assert isinstance(made, kind)
    assert isinstance(made, impatient.Impatient)


def test_a_pipeline_leaves_in_one_write(line, monkeypatch):
    redis = connect(f"redis://127.0.0.1:{line.port}/0").raw
    redis.ping()
    writes: list[int] = []
    send = Connection.send_packed_command
    monkeypatch.setattr(
        Connection,
        "send_packed_command",
        lambda self, command, **options: (writes.append(len(command)), send(self, command, **options))[1],
    )
    with redis.pipeline(transaction=False) as pipe:
        for number in range(20):
            pipe.set(f"key{number}", bytes([number]) * 8000)
        pipe.execute()
    assert writes == [1]
    assert [redis.get(f"key{number}") for number in range(20)] == [
        bytes([number]) * 8000 for number in range(20)
    ]


def test_what_a_burst_has_left_is_given_back_when_nobody_has_used_it_for_long(redis_server):
    live = connect(redis_server).text
    pool = live.connection_pool
    for each in [pool.get_connection() for _ in range(impatient.KEPT + 20)]:
        pool.release(each)
    live.ping()
    assert len(pool._available_connections) == impatient.KEPT + 20, "the next burst may come at once"
    before = len(live.client_list())
    pool.kept_for_s = 0.0
    live.ping()
    assert len(pool._available_connections) == impatient.KEPT + 20 - impatient.AT_ONCE, "calls wait for it"
    live.ping(), live.ping()
    assert len(pool._available_connections) == pool._created_connections == impatient.KEPT
    wait_until(lambda: len(live.client_list()) <= before - 20, "the server has them still")
    assert live.ping()


@pytest.fixture
def narrow(redis_server):
    """A client of two connections."""
    client = connect(redis_server).text
    client.connection_pool.max_connections = 2
    yield client
    client.connection_pool.disconnect()


def test_more_questions_at_once_than_connections_are_answered_one_after_the_other(narrow, one_redis):
    with Redis.from_url(one_redis) as other:
        other.client_pause(300)
    answers: list[object] = []

    def ask(number: int) -> None:
        answers.append(narrow.set(f"asked:{number}", number))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    assert answers == [True] * 20
    assert narrow.connection_pool._created_connections == 2


def test_who_waits_for_a_connection_in_vain_is_told_what_for(narrow):
    pool = narrow.connection_pool
    pool.waits_s = 0.05
    held = [pool.get_connection() for _ in range(2)]
    with pytest.raises(NoConnection, match="2 questions wait"):
        narrow.ping()
    pool.release(held[0])
    assert narrow.ping()


def test_who_waits_while_redis_hangs_waits_no_longer_than_those_before_him(line):
    client = connect(f"redis://127.0.0.1:{line.port}/0").text
    client.connection_pool.max_connections = 2
    client.ping()
    line.stall()
    failed: list[RedisError] = []

    def ask() -> None:
        try:
            client.ping()
        except RedisError as error:
            failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    began = time.monotonic()
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert len(failed) == 20
    assert time.monotonic() - began < 8 * ANSWERS_WITHIN_S  # not ten times, one after the other


#: Of two who wait under gevent, the first is sent away just as it is his turn.
SENT_AWAY = """
from gevent import monkey; monkey.patch_all()
import sys, gevent
from flaskapp.store.live import connect

client = connect(sys.argv[1]).text
pool = client.connection_pool
pool.max_connections, pool.waits_s = 1, 3600
held = pool.get_connection()
first, second = gevent.spawn(client.ping), gevent.spawn(client.ping)
gevent.idle()
assert pool._waiting == 2
first.kill(block=False)
pool.release(held)
assert second.get(timeout=60) is True
"""
#: A process is forked while all connections are in use.
FORKED = """
import os, sys
from flaskapp.store.live import connect

client = connect(sys.argv[1]).text
client.connection_pool.max_connections = 1
held = client.connection_pool.get_connection()
client.connection_pool.waits_s = 3600
child = os.fork()
if not child:
    os._exit(0 if client.ping() else 1)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.parametrize("script", [SENT_AWAY, FORKED], ids=["sent away", "forked"])
def test_nobody_waits_for_a_connection_that_is_free(script, redis_server):
    command = [sys.executable, "-c", script, redis_server]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_threads_that_are_in_each_others_way_are_all_answered(narrow):
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    failed: list[RedisError] = []

    def ask() -> None:
        try:
            for _ in range(100):
                narrow.ping()
        except RedisError as error:
            failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    try:
        for each in threads:
            each.start()
        for each in threads:
            each.join(120)
    finally:
        sys.setswitchinterval(usual)
    assert failed == []

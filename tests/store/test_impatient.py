"""A Redis that hangs is waited for once, not once for each question."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

import pytest
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import RedisError

from flaskapp.store import impatient
from flaskapp.store.live import ANSWERS_WITHIN_S, LiveStore, connect
from flaskapp.store.turns import Turn, TurnBook
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
        ("unix:///tmp/redis.sock", UnixDomainSocketConnection),
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

"""Many commands travel as one: done in order, refused one by one, on any Redis."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from redis.exceptions import RedisError

from flaskapp.store.audio import REFUSED, put
from flaskapp.store.bundle import Bundle, Courier
from flaskapp.store.live import connect
from tests import servers


def bundle(*commands: tuple) -> Bundle:
    together = Bundle()
    for command in commands:
        together.execute_command(*command)
    return together


def test_everything_is_done_in_order(connections):
    together = bundle(("RPUSH", "list", "a"), ("RPUSH", "list", "b", b"\x00\xff"), ("SET", "word", "1"))
    together.hset("hash", {"one": 1, "two": "zwei"})
    together.expire("hash", 60)
    assert Courier(connections.raw).send(together) == {}
    assert connections.raw.lrange("list", 0, -1) == [b"a", b"b", b"\x00\xff"]
    assert connections.text.hgetall("hash") == {"one": "1", "two": "zwei"}
    assert 0 < connections.text.ttl("hash") <= 60
    assert connections.text.ttl("word") == -1


def test_what_is_refused_is_told_by_its_place_and_all_else_is_done(connections):
    connections.text.set("text", "no list")
    commands = [("RPUSH", "list", "a"), ("RPUSH", "text", "b"), ("RPUSH", "list", "c"), ("INCR", "text")]
    refused = Courier(connections.raw).send(bundle(*commands))
    assert sorted(refused) == [1, 3]
    assert "WRONGTYPE" in str(refused[1]) or "wrong kind" in str(refused[1])
    assert "not an integer" in str(refused[3])
    assert connections.text.lrange("list", 0, -1) == ["a", "c"]


def test_a_chunk_that_is_there_already_is_refused_in_the_words_that_are_looked_for(connections):
    courier = Courier(connections.raw)
    for _ in range(2):
        together = Bundle()
        put(together, "CA1", 1000, b"\x00" * 8000)
        refused = courier.send(together)
    assert REFUSED in str(refused[0])
    assert connections.text.xlen("audio:CA1") == 1


def test_nothing_at_all_is_done_too(connections):
    assert Courier(connections.raw).send(Bundle()) == {}


def test_a_redis_that_has_forgotten_the_script_is_told_it_again(real_connections):
    courier = Courier(real_connections.raw)
    for number in range(3):
        assert courier.send(bundle(("RPUSH", "list", number))) == {}
        real_connections.raw.script_flush()
    assert real_connections.text.lrange("list", 0, -1) == ["0", "1", "2"]


def test_one_command_is_all_that_is_sent(real_connections):
    courier = Courier(real_connections.raw)
    courier.send(Bundle())
    before = real_connections.raw.info("stats")["total_reads_processed"]
    courier.send(bundle(*[("SET", f"key-{number}", number) for number in range(30)]))
    assert real_connections.raw.info("stats")["total_reads_processed"] - before <= 2
    assert real_connections.raw.info("commandstats")["cmdstat_set"]["calls"] >= 30


def test_a_redis_that_forbids_scripts_gets_the_commands_one_by_one(real_connections, redis_server):
    admin, port = real_connections.text, urlsplit(redis_server).port
    admin.acl_setuser("plain", enabled=True, passwords=["+word"], keys=["*"], commands=["+@all"], reset=True)
    admin.execute_command("ACL", "SETUSER", "plain", "-@scripting")
    try:
        plain = connect(f"redis://plain:word@127.0.0.1:{port}/0")
        admin.set("text", "no list")
        refused = Courier(plain.raw).send(bundle(("RPUSH", "list", "a"), ("RPUSH", "text", "b")))
        assert list(refused) == [1]
        assert admin.lrange("list", 0, -1) == ["a"]
    finally:
        admin.acl_deluser("plain")


def test_a_redis_that_is_away_is_no_refusal():
    courier = Courier(connect(f"redis://127.0.0.1:{servers.free_port()}/0").raw)
    with pytest.raises(RedisError):
        courier.send(bundle(("SET", "a", 1)))
    assert courier._takes_scripts, "it is asked again when it is back"

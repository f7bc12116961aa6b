"""What is said on live calls reaches Redis once a second, in order, and through its outages."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from flaskapp.phone.transcript import CALLER, Line
from flaskapp.store import followed, keeper, keys
from flaskapp.store.live import Connections, connect, leg_key
from tests import servers
from tests.store.desk import SECOND, Bridge, Desk


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(keeper, "EVERY_S", 0.05)


@pytest.fixture
def open_desk() -> Iterator[Callable[[Connections], Desk]]:
    """Opens desks that are closed when the test is over."""
    with ExitStack() as closing:

        def opened(connections: Connections) -> Desk:
            desk = Desk(connections)
            closing.callback(desk.close)
            return desk

        yield opened


@pytest.fixture
def desk(open_desk, connections) -> Desk:
    return open_desk(connections)


def words(number: int) -> bytes:
    return bytes([number % 251]) * SECOND


def test_audio_and_lines_are_where_other_workers_find_them(desk):
    bridge = Bridge(start_ms=500)
    desk.keeper.follow("CA1", bridge)
    bridge.say(words(1))
    bridge.heard_until_ms = 700
    bridge.lines = [Line("a", 0, CALLER, "hel", 500, 900), Line("b", 3, "agent", "yes", 900, 1000)]
    desk.rounds()
    assert [(chunk.start_ms, chunk.mulaw) for chunk in desk.buffer.read("CA1")] == [(500, words(1))]
    assert desk.live.recall("CA1")["heard_until_ms"] == "700"
    assert desk.live.untouched_since(time.time() + 60) == ["CA1"]
    bridge.lines = [Line("a", 0, CALLER, "hello", 500, 990, True)]
    assert desk.keeper.release("CA1")
    assert [(line["text"], line["mode"]) for line in desk.live.lines("CA1")] == [
        ("hello", "live"),
        ("yes", "live"),
    ]
    assert desk.live.next_position("CA1") == 4
    assert desk.live.untouched_since(time.time() + 60) == []


def test_what_the_next_leg_must_know_and_what_this_one_costs_are_there_too(desk):
    bridge = Bridge()
    desk.keeper.follow("CA1", bridge)
    bridge.memo, bridge.cost_usd = {"keys": "12"}, 0.25
    desk.rounds()
    bridge.cost_usd = 0.5
    desk.rounds()
    known = desk.live.recall("CA1")
    assert (json.loads(known["memo"]), known["leg_cost"]) == ({"keys": "12"}, "0.5")
    bridge.memo, bridge.cost_usd = {"keys": "123"}, 0.75
    assert desk.keeper.release("CA1")
    known = desk.live.recall("CA1")
    assert json.loads(known["memo"]) == {"keys": "123"}
    assert known["leg_cost"] == "0.5", "whoever hears of the leg's end adds it up"


def test_what_a_leg_used_is_kept_once_and_its_end_replaces_it(desk):
    bridge = Bridge(start_ms=4000)
    desk.live.add_usage("CA1", {"input_tokens": 1}, "leg-0")  # the leg before
    desk.keeper.follow("CA1", bridge)
    for tokens in (7, 9):
        bridge.usage = {"input_tokens": tokens}
        desk.rounds()
        assert desk.live.usage("CA1") == {"input_tokens": 1 + tokens}
    bridge.usage = {"input_tokens": 11}
    assert desk.keeper.release("CA1")
    desk.live.add_usage("CA1", {"input_tokens": 12}, leg_key(4000))
    assert desk.live.usage("CA1") == {"input_tokens": 13}


def test_all_that_ended_is_waited_for(desk, monkeypatch):
    monkeypatch.setattr(keeper, "RELEASED_WITHIN_S", 0.0)
    assert desk.keeper.settle(0)
    bridge = Bridge()
    desk.keeper.follow("CA1", bridge)
    assert desk.keeper.settle(0), "what goes on is not waited for"
    bridge.say(words(1))
    desk.keeper.release("CA1")
    assert desk.keeper.settle(20)
    assert desk.sound("CA1") == words(1)


def test_what_was_said_last_is_written_before_the_release_returns(desk, monkeypatch):
    monkeypatch.setattr(keeper, "EVERY_S", 30.0)
    other, bridge = Bridge(), Bridge()
    desk.keeper.follow("CA2", other)
    desk.keeper.follow("CA1", bridge)
    bridge.say(words(1) + words(2))
    bridge.heard_until_ms = 1500
    assert desk.keeper.release("CA1")
    assert desk.sound("CA1") == words(1) + words(2)
    assert desk.live.recall("CA1")["heard_until_ms"] == "1500"
    assert other.asked == 0, "the others' second is not over"
    assert desk.keeper.release("CA2")


def test_chunks_last_a_second_at_most(desk):
    bridge = Bridge()
    bridge.say(b"".join(map(words, range(5))) + b"rest")
    desk.keeper.follow("CA1", bridge)
    assert desk.keeper.release("CA1")
    assert [len(chunk.mulaw) for chunk in desk.buffer.read("CA1")] == [SECOND] * 5 + [4]
    assert desk.sound("CA1") == bridge.said


def test_many_calls_share_rounds_and_none_is_left_out(desk, monkeypatch):
    monkeypatch.setattr(keeper, "AT_ONCE_BYTES", 3 * SECOND)
    bridges = {f"CA{number}": Bridge() for number in range(20)}
    for call_sid, bridge in bridges.items():
        desk.keeper.follow(call_sid, bridge)
    for second in range(4):
        for number, bridge in enumerate(bridges.values()):
            bridge.say(words(number + second))
        desk.rounds(1)
    servers.wait_until(lambda: desk.bytes[-1] == 20 * 4 * SECOND, "bytes are not counted")
    for call_sid, bridge in bridges.items():
        assert desk.keeper.release(call_sid)
        assert desk.sound(call_sid) == bridge.said
    servers.wait_until(lambda: desk.bytes[-1] == 0, "bytes of calls that are over are counted")


def test_more_than_one_pipeline_holds_is_written_before_the_release_returns(desk, monkeypatch):
    monkeypatch.setattr(keeper, "EVERY_S", 30.0)
    monkeypatch.setattr(keeper, "AT_ONCE_BYTES", SECOND)
    bridge = Bridge()
    desk.keeper.follow("CA1", bridge)
    bridge.say(b"".join(map(words, range(7))))
    assert desk.keeper.release("CA1")
    assert desk.sound("CA1") == bridge.said


def test_the_writer_ends_with_the_last_call_and_begins_with_the_next(desk):
    for _ in range(3):
        bridge = Bridge()
        desk.keeper.follow("CA1", bridge)
        bridge.say(words(1))
        assert desk.keeper.release("CA1")
        servers.wait_until(lambda: desk.keeper._writer is None, "the writer goes on")
    assert desk.keeper.release("CA1"), "nothing is followed"


def test_a_leg_that_takes_a_call_over_ends_the_one_before(desk):
    first, second = Bridge(), Bridge(start_ms=2000)
    desk.keeper.follow("CA1", first)
    first.say(words(1))
    desk.keeper.follow("CA1", second)
    second.say(words(2))
    assert desk.keeper.release("CA1")
    assert desk.sound("CA1") == words(1) + words(2)
    servers.wait_until(lambda: desk.keeper._writer is None, "the first leg is still followed")


def test_one_calls_trouble_is_not_the_others(desk, caplog):
    caplog.set_level("INFO")

    class Broken(Bridge):
        def take_lines(self) -> list[Line]:
            raise ValueError("odd")

    desk.connections.text.set(keys.audio("CAodd"), "not a stream")
    good, odd = Bridge(), Bridge()
    desk.keeper.follow("CAbroken", Broken())
    desk.keeper.follow("CAodd", odd)
    desk.keeper.follow("CA1", good)
    odd.say(words(1))
    good.say(words(2))
    servers.wait_until(
        lambda: "Stored audio chunk for call CA1" in caplog.text, "the others' trouble is its own"
    )
    assert desk.keeper.release("CA1")
    assert desk.sound("CA1") == words(2)
    desk.connections.text.delete(keys.audio("CAodd"))
    assert desk.keeper.release("CAodd")
    assert desk.sound("CAodd") == words(1)


def test_through_an_outage_nothing_is_lost_and_nothing_doubled(open_desk, caplog):
    port = servers.free_port()
    desk = open_desk(connect(f"redis://127.0.0.1:{port}/0"))
    bridges = {f"CA{number}": Bridge() for number in range(3)}
    for call_sid, bridge in bridges.items():
        desk.keeper.follow(call_sid, bridge)
    for second in range(30):
        for number, bridge in enumerate(bridges.values()):
            bridge.say(words(number + second))
        desk.rounds(1)
    assert caplog.text.count("audio waits in memory") == 1
    assert desk.bytes[-1] > 0
    with servers.redis_server(port):
        servers.wait_until(lambda: desk.sound("CA2") == bridges["CA2"].said, "it does not come back")
        for call_sid, bridge in bridges.items():
            assert desk.keeper.release(call_sid)
            assert desk.sound(call_sid) == bridge.said
            assert [chunk.start_ms for chunk in desk.buffer.read(call_sid)] == [1000 * at for at in range(30)]
    assert desk.dropped == []


def test_what_a_release_could_not_write_follows_and_it_is_told(open_desk, monkeypatch):
    monkeypatch.setattr(keeper, "RELEASED_WITHIN_S", 0.2)
    port = servers.free_port()
    desk = open_desk(connect(f"redis://127.0.0.1:{port}/0"))
    bridge = Bridge()
    desk.keeper.follow("CA1", bridge)
    bridge.say(words(1))
    assert not desk.keeper.release("CA1")
    desk.live.forget_soon("CA1")
    with servers.redis_server(port):
        servers.wait_until(lambda: desk.late == ["CA1"], "it is not told")
        assert desk.sound("CA1") == words(1)
        redis = desk.connections.text
        servers.wait_until(lambda: 0 < redis.ttl(keys.audio("CA1")) <= keys.FORGOTTEN_S, "it stays for a day")


def test_a_redis_that_hangs_holds_no_release_up(open_desk):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        desk = open_desk(connect(f"redis://127.0.0.1:{silent.getsockname()[1]}/0"))
        bridge = Bridge()
        desk.keeper.follow("CA1", bridge)
        bridge.say(words(1))
        began = time.monotonic()
        assert not desk.keeper.release("CA1")
        assert time.monotonic() - began < keeper.RELEASED_WITHIN_S + 5


def test_ten_minutes_of_a_call_wait_and_the_oldest_are_dropped_and_counted(open_desk, monkeypatch):
    monkeypatch.setattr(keeper, "CALL_BYTES", 5 * SECOND)
    monkeypatch.setattr(keeper, "ALL_BYTES", 8 * SECOND)
    port = servers.free_port()
    desk = open_desk(connect(f"redis://127.0.0.1:{port}/0"))
    first, second = Bridge(), Bridge()
    desk.keeper.follow("CA1", first)
    first.say(b"".join(map(words, range(7))))
    desk.rounds(2)
    assert sum(desk.dropped) == 2
    desk.keeper.follow("CA2", second)
    second.say(b"".join(map(words, range(5))))
    desk.rounds(2)
    assert sum(desk.dropped) == 4
    assert desk.bytes[-1] == 8 * SECOND
    with servers.redis_server(port):
        servers.wait_until(lambda: bool(desk.sound("CA2")), "it does not come back")
        assert desk.keeper.release("CA1")
        assert desk.keeper.release("CA2")
        assert first.said.endswith(desk.sound("CA1"))
        assert second.said.endswith(desk.sound("CA2"))
        assert len(desk.sound("CA1") + desk.sound("CA2")) == 8 * SECOND


def test_a_redis_without_room_is_waited_for(open_desk, redis_server):
    desk = open_desk(connect(redis_server))
    desk.connections.raw.flushall()
    bridge = Bridge()
    desk.connections.raw.config_set("maxmemory", 1)
    try:
        desk.keeper.follow("CA1", bridge)
        bridge.say(words(1))
        desk.rounds(3)
        assert desk.sound("CA1") == b""
    finally:
        desk.connections.raw.config_set("maxmemory", 0)
    assert desk.keeper.release("CA1")
    assert desk.sound("CA1") == words(1)


def test_calls_come_and_go_from_many_threads(desk):
    said: dict[str, bytes] = {}

    def call(number: int) -> None:
        for leg in range(3):
            bridge = Bridge(start_ms=leg * 3000)
            desk.keeper.follow(f"CA{number}", bridge)
            for second in range(3):
                bridge.say(words(number + second))
                time.sleep(0.02)
            released = desk.keeper.release(f"CA{number}")
            said[f"CA{number}"] = said.get(f"CA{number}", b"") + bridge.said
            assert released

    threads = [threading.Thread(target=call, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(said) == 12
    for call_sid, audio in said.items():
        assert desk.sound(call_sid) == audio
    assert desk.live.untouched_since(time.time() + 60) == []


def test_the_log_tells_once_per_call_that_audio_is_stored(desk, caplog):
    caplog.set_level("INFO")
    bridge = Bridge()
    desk.keeper.follow("CA1", bridge)
    for number in range(3):
        bridge.say(words(number))
        desk.rounds(1)
    desk.keeper.release("CA1")
    assert caplog.text.count("Stored audio chunk for call CA1") == 1


def test_what_is_known_is_not_written_again_until_it_is_time(open_desk, real_connections):
    desk = open_desk(real_connections)
    calls = {f"CA{number}": Bridge() for number in range(20)}
    for call_sid, bridge in calls.items():
        bridge.heard_until_ms, bridge.cost_usd, bridge.usage = 100, 0.5, {"input_tokens": 3}
        desk.keeper.follow(call_sid, bridge)
    desk.rounds(3)
    desk.connections.text.config_resetstat()
    before = len(desk.bytes)
    desk.rounds(5)
    commands = desk.connections.text.info("commandstats")
    assert not {"cmdstat_hset", "cmdstat_expire", "cmdstat_xadd"} & set(commands), "nothing has changed"
    rounds = len(desk.bytes) - before + 1
    assert commands["cmdstat_zadd"]["calls"] <= 2 * rounds, (
        "one command gives the signs of life of many calls"
    )
    for bridge in calls.values():
        bridge.heard_until_ms = 200
    desk.rounds(2)
    assert {desk.live.recall(call_sid)["heard_until_ms"] for call_sid in calls} == {"200"}


def test_what_goes_on_does_not_expire_and_what_redis_forgot_it_is_told_again(desk, monkeypatch):
    monkeypatch.setattr(followed, "RENEWED_EVERY_S", 0.2)
    bridge, redis = Bridge(), desk.connections.text
    bridge.heard_until_ms, bridge.cost_usd = 100, 0.5
    desk.keeper.follow("CA1", bridge)
    bridge.say(words(1))
    servers.wait_until(lambda: redis.ttl(keys.audio("CA1")) > keys.FORGOTTEN_S, "the audio stays for ever")
    assert redis.ttl(keys.LIVE_CALLS) > keys.FORGOTTEN_S
    for name in (keys.audio("CA1"), keys.call("CA1")):
        redis.expire(name, 60)
    for name in (keys.audio("CA1"), keys.call("CA1")):
        servers.wait_until(lambda name=name: redis.ttl(name) > keys.FORGOTTEN_S, f"{name} goes")
    redis.flushall()
    servers.wait_until(lambda: desk.live.recall("CA1").get("leg_cost") == "0.5", "it is not told again")
    assert desk.live.recall("CA1")["heard_until_ms"] == "100"
    assert desk.keeper.release("CA1")


def test_what_is_left_at_the_end_stays_no_longer_than_a_day(desk):
    bridge = Bridge()
    desk.keeper.follow("CA1", bridge)
    desk.rounds(2)
    bridge.say(words(1))
    assert desk.keeper.release("CA1")
    for name in (keys.audio("CA1"), keys.call("CA1")):
        assert 0 < desk.connections.text.ttl(name) <= keys.CALL_KEPT_S


def test_keys_are_renewed_well_before_a_call_that_is_said_to_be_over_goes():
    assert 2 * (followed.RENEWED_EVERY_S + keeper.EVERY_S) < keys.FORGOTTEN_S


def test_a_call_on_which_nothing_happens_is_left_alone_but_for_its_signs_of_life(desk):
    bridge = Bridge()
    desk.keeper.follow("CA-still", bridge)
    desk.rounds()
    bridge.has_news = False
    desk.rounds()
    asked, before = bridge.asked, time.time()
    servers.wait_until(lambda: (desk.live.last_sign("CA-still") or 0) > before, "it seems dead")
    desk.rounds()
    assert bridge.asked == asked
    bridge.say(words(1))
    bridge.has_news = True
    desk.rounds()
    assert desk.sound("CA-still") == words(1)
    bridge.has_news = False
    assert desk.keeper.release("CA-still")
    assert desk.live.last_sign("CA-still") is None

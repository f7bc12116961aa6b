"""Calls in progress: what every worker knows of them, also while Redis is away, and what stays of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from flaskapp.store import keys
from flaskapp.store.live import LiveStore, connect
from tests import servers


def line(item: str, position: int, text: str = "hello") -> dict:
    return {"item_id": item, "position": position, "speaker": "caller", "text": text}


@pytest.fixture
def live(connections) -> LiveStore:
    return LiveStore(connections)


@pytest.fixture
def lonely() -> LiveStore:
    """Its Redis is away."""
    return LiveStore(connect(f"redis://127.0.0.1:{servers.free_port()}/0"))


@pytest.fixture(params=["live", "lonely"])
def either(request) -> LiveStore:
    """With a Redis inside this process, and without any."""
    return request.getfixturevalue("lonely") if request.param == "lonely" else LiveStore(connect(""))


def test_lines_come_back_in_the_transcripts_order_and_newer_ones_replace_older_ones(either):
    either.keep_lines("CA1", [line("b", 1), line("a", 0)])
    either.keep_lines("CA1", [line("b", 1, "hello there"), line("c", 2)])
    either.keep_lines("CA1", [])
    assert [each["text"] for each in either.lines("CA1")] == ["hello", "hello there", "hello"]
    assert [each["item_id"] for each in either.lines("CA1")] == ["a", "b", "c"]
    assert either.lines("CA2") == []


def test_a_call_begins_once(either):
    clock = [1000.0]
    either.now = lambda: clock[0]
    assert either.elapsed_ms("CA1") == 0
    assert either.begin("CA1") == 1000.0
    clock[0] = 1002.5
    assert either.begin("CA1") == 1000.0
    assert either.elapsed_ms("CA1") == 2500
    clock[0] = 900.0
    assert either.elapsed_ms("CA1") == 0


def test_places_in_the_transcript_are_given_out_once(either):
    assert [either.next_position("CA1", 2), either.next_position("CA1", 1)] == [0, 2]
    either.at_least_position("CA1", 7)
    either.at_least_position("CA1", 5)
    assert [either.next_position("CA1", 2), either.next_position("CA1", 2)] == [7, 9]


def test_places_that_many_reserve_at_once_are_never_the_same(live):
    def reserve(number: int) -> int:
        if number % 2:
            live.at_least_position("CA1", number)
        return live.next_position("CA1", 2)

    with ThreadPoolExecutor(16) as pool:
        places = sorted(pool.map(reserve, range(64)))
    assert all(later - sooner >= 2 for sooner, later in pairwise(places))
    assert places[-1] >= 63


def test_usage_is_summed_over_turns_and_a_turn_that_is_noted_again_counts_once(either):
    either.add_usage("CA1", {"input": 3, "output": 1}, "RE1")
    either.add_usage("CA1", {"input": 3, "output": 1}, "RE1")
    either.add_usage("CA1", {"input": 0.5}, "RE2")
    assert either.usage("CA1") == {"input": 3.5, "output": 1}


def test_of_a_call_that_is_over_nothing_stays(live):
    live.begin("CA1")
    live.remember("CA1", state="ended")
    live.keep_lines("CA1", [line("a", 0)])
    live.touch("CA1", 1.0)
    live.redis.xadd(keys.audio("CA1"), {"a": "x"})
    live.forget_soon("CA1", 5)
    left = {name: live.redis.ttl(name) for name in live.redis.scan_iter()}
    assert left.keys() == {"call:CA1", "lines:CA1", "audio:CA1"}
    assert all(0 < ttl <= 5 for ttl in left.values())
    assert live.recall("CA1")["state"] == "ended", "who asks at once is still told"
    assert live.is_forgotten("CA1")


def test_what_comes_after_the_end_does_not_bring_a_call_back(live):
    live.begin("CA1")
    live.forget_soon("CA1")
    live.remember("CA1", status="completed")
    live.count("CA1", "callbacks")
    assert 0 < live.redis.ttl("call:CA1") <= keys.FORGOTTEN_S


def test_what_nobody_began_does_not_stay_for_a_day(live):
    live.remember("CAstray", status="completed")
    live.next_position("CAother", 2)
    live.forget_soon("CAnobody")
    assert 0 < live.redis.ttl("call:CAstray") <= keys.STRAY_KEPT_S
    assert 0 < live.redis.ttl("call:CAother") <= keys.STRAY_KEPT_S
    assert not live.redis.exists("call:CAnobody")
    live.begin("CAstray")
    assert live.redis.ttl("call:CAstray") > keys.STRAY_KEPT_S


def test_every_key_expires(live):
    live.begin("CA1")
    live.remember("CA2", state="live")
    live.keep_lines("CA1", [line("a", 0)])
    live.count("CA3", "streams")
    live.at_least_position("CA4", 3)
    live.spend("CA1", "whole", "ticket", 60)
    assert all(live.redis.ttl(name) > 0 for name in live.redis.scan_iter())


def test_while_redis_is_away_a_worker_goes_by_its_own_book(lonely):
    lonely.remember("CA1", state="live", called="+2")
    lonely.remember("CA1", state="ended")
    assert lonely.recall("CA1") == {"state": "ended", "called": "+2"}
    assert [lonely.count("CA1", "streams"), lonely.count("CA1", "streams")] == [1, 2]
    lonely.forget_soon("CA1")
    assert lonely.is_forgotten("CA1")


def test_the_two_clients_know_the_same_redis(connections):
    connections.text.set("a", "ü")
    connections.raw.set("b", b"\xff\x00")
    assert connections.raw.get("a") == "ü".encode()
    assert connections.raw.get("b") == b"\xff\x00"


def test_two_apps_without_a_server_share_nothing():
    first, second = connect(""), connect("")
    first.text.set("a", "1")
    assert second.text.get("a") is None


def test_of_many_who_want_to_be_first_one_is(live):
    with ThreadPoolExecutor(20) as pool:
        told = list(pool.map(lambda _: live.first("CA1", "is_over"), range(20)))
    assert sorted(told) == [False] * 19 + [True]
    assert live.recall("CA1")["is_over"]
    assert live.first("CA1", "other")


def test_while_redis_is_away_a_worker_is_first_once(lonely):
    assert [lonely.first("CA1", "is_over") for _ in range(3)] == [True, False, False]
    assert lonely.recall("CA1")["is_over"]


def test_lines_of_a_call_that_nobody_began_live_as_long_as_their_call(live):
    live.remember("CA1", called="+2")
    live.keep_lines("CA1", [{"item_id": "a", "position": 0}])
    assert 0 < live.redis.ttl(keys.lines("CA1")) <= keys.STRAY_KEPT_S

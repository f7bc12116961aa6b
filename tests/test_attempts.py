"""Passwords that come at once: as many are answered as of those that come one by one."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as NoConnection

from flaskapp import create_app
from flaskapp.store import keys
from flaskapp.store.attempts import MOST, WITHIN_S, Attempts

PUBLIC = "https://voice.example.com"
PASSWORD = "open sesame"
AT_ONCE = 50


@pytest.fixture
def config(config, redis_server, monkeypatch):
    monkeypatch.setattr("flaskapp.store.live.ANSWERS_WITHIN_S", 60.0)  # on a busy machine it is not away
    ours = {"LOCAL": "0", "DASHBOARD_PASSWORD": PASSWORD, "FLASK_BASE_URL": PUBLIC}
    return {**config, **ours, "REDIS_URL": redis_server}


def at_once(work, times=AT_ONCE) -> list:
    """What each of so many threads, which begin together, gets."""
    start, got = threading.Barrier(times), []

    def begin(number):
        start.wait()
        got.append(work(number))

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == times, "each has an answer"
    return got


def show(app, password) -> int:
    """The status that HTTP Basic with this password gets."""
    client = app.test_client()
    return client.get("/metrics", auth=("operator", password), base_url=PUBLIC).status_code


def test_of_wrong_passwords_at_once_so_many_are_answered_as_of_those_one_by_one(config):
    workers = [create_app(config), create_app(config)]
    said = Counter(at_once(lambda number: show(workers[number % 2], f"guess {number}")))
    assert said == {401: MOST, 429: AT_ONCE - MOST}
    assert [show(each, PASSWORD) for each in workers] == [429, 429]


def test_right_passwords_at_once_all_pass_and_take_nobodys_place(app):
    assert set(at_once(lambda _: show(app, PASSWORD))) == {200}
    said = [show(app, "guess") for _ in range(MOST + 1)]
    assert said == [401] * MOST + [429]


def test_right_passwords_pass_beside_a_mistake_and_forgive_it(app, redis_server):
    assert [show(app, "guess") for _ in range(MOST - 1)] == [401] * (MOST - 1)
    assert set(at_once(lambda _: show(app, PASSWORD))) == {200}
    with Redis.from_url(redis_server) as redis:
        assert int(redis.get(keys.attempts("127.0.0.1")) or 0) == 0


def test_while_an_address_waits_right_and_wrong_ask_redis_the_same(app, redis_server):
    for _ in range(MOST):
        show(app, "guess")

    def asked(password) -> list[int]:
        with Redis.from_url(redis_server) as redis:
            redis.config_resetstat()
            assert show(app, password) == 429
            stats = redis.info("commandstats")
        names = ("multi", "set", "get", "incr", "incrby", "ttl", "del", "exec")
        return [stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in names]

    assert asked(PASSWORD) == asked("guess")


def test_guessing_on_makes_the_wait_no_longer(redis_server):
    with Redis.from_url(redis_server, decode_responses=True) as redis:
        attempts = Attempts(redis)
        for _ in range(MOST):
            attempts.failed("192.0.2.1")
        redis.expire(keys.attempts("192.0.2.1"), WITHIN_S // 2)
        assert attempts.failed("192.0.2.1") <= WITHIN_S // 2


class Away:
    """A Redis that is, as it takes a moment to find out."""

    def __getattr__(self, name):
        time.sleep(0.05)
        raise NoConnection("away")


def test_without_redis_a_worker_answers_as_few_of_those_at_once(app):
    app.extensions["attempts"] = Attempts(Away(), lambda: 0.0)
    said = Counter(at_once(lambda number: show(app, f"guess {number}")))
    assert said == {401: MOST, 429: AT_ONCE - MOST}
    assert show(app, PASSWORD) == 429

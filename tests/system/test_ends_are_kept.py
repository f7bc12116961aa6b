"""How a call ended is in its history, and told, though whoever saw it did not live to write it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3

import pytest
from redis import Redis

from flaskapp.phone.cost import Prices
from tests import servers
from tests.behaviour import Behaviour, Turn
from tests.system import ledger
from tests.system.holding import caller, row, use
from tests.webhook_receiver import Receiver

pytestmark = pytest.mark.system


@pytest.fixture
def receiver():
    with Receiver() as waiting:
        yield waiting


def workers(office) -> list[int]:
    return ledger.workers_of(office.app.process.pid)


def kill_all(office) -> None:
    """Every web worker dies; the arbiter makes others."""
    killed = workers(office)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    servers.wait_until(lambda: not set(killed) & set(workers(office)), "they live", 60)
    servers.wait_until(office.app.is_healthy, "no worker came", 60)


def ended_calls(redis) -> list[str]:
    """Calls of which Redis knows that they have ended; some of them for a moment."""
    return [call for call in redis.scan_iter("call:*") if redis.hget(call, "state") == "ended"]


def letter_about(receiver, call_sid: str) -> dict:
    """What the receiver is told of a call; once."""

    def told() -> list[dict]:
        return [each.told for each in receiver.letters if each.told["call_sid"] == call_sid]

    servers.wait_until(lambda: bool(told()), f"nothing of {call_sid} is told", 90)
    [letter] = told()
    return letter


def test_workers_that_die_right_after_a_call_take_its_end_with_them_to_nobody(
    house, redis_of_our_own, receiver
):
    office = house({"REDIS_URL": redis_of_our_own, "WEB_CONCURRENCY": "2", "CALL_WEBHOOK_URL": receiver.url})
    office.engine.behaviour = Behaviour(turns=(Turn("Noted.", (use("take_message", text="Call me back"),)),))
    redis = Redis.from_url(redis_of_our_own, decode_responses=True)
    for _ in range(2):
        before = set(ended_calls(redis))
        talking = office.exchange.start(office.spec(script=caller(1, hang_up="politely"), seconds=40))
        servers.wait_until(lambda: set(ended_calls(redis)) - before, "it does not end", 90)  # noqa: B023
        kill_all(office)
        report = talking.result(90)
        letter = letter_about(receiver, report.call_sid)
        assert (letter["outcome"], letter["message"]["text"]) == ("message", "Call me back")
        assert row(office, report.call_sid, "ended_reason", "outcome") == ("caller_hung_up", "message")


def test_a_call_that_ends_without_a_database_is_in_its_history_when_that_is_back(rescue, receiver):
    with servers.redis_server() as url:
        office = rescue({"CALL_WEBHOOK_URL": receiver.url, "REDIS_URL": url})
        path = office.app.environment["DATABASE_URL"].removeprefix("sqlite:///")
        talking = office.exchange.start(office.spec(script=caller(2, hang_up="politely"), seconds=40))
        office.engine.wait_for(lambda fake: fake.sessions and fake.sessions[0].replies >= 1, 60)
        database = sqlite3.connect(path, isolation_level=None, timeout=30)
        database.execute("BEGIN EXCLUSIVE")
        try:
            report = talking.result(90)
            [worker] = workers(office)
            os.kill(worker, signal.SIGTERM)
            servers.wait_until(lambda: worker not in workers(office), "it stays", 90)
        finally:
            database.execute("ROLLBACK")
            database.close()
        letter = letter_about(receiver, report.call_sid)
        assert letter["outcome"] == "answered"
        said = [line["speaker"] for line in letter["transcript"]]
        assert said.count("caller") == 2, letter["transcript"]
        assert row(office, report.call_sid, "status", "ended_reason") == ("completed", "caller_hung_up")


def test_what_a_killed_worker_used_is_counted_once(house, redis_of_our_own):
    office = house({"REDIS_URL": redis_of_our_own, "WEB_CONCURRENCY": "2"})
    talking = office.exchange.start(
        office.spec(
            script=caller(4, hang_up="politely"), seconds=60, fallback_url=office.app.url + "/phone/fallback"
        )
    )
    office.engine.wait_for(lambda fake: fake.sessions and fake.sessions[0].replies >= 2, 60)
    used = redis_field(redis_of_our_own, "usage:leg-")
    servers.wait_until(lambda: len(used()) == 1, "its use is not kept", 30)
    kill_all(office)
    report = talking.result(120)
    usage, cost_usd = row(office, report.call_sid, "usage", "cost_usd")
    assert Prices().cost_usd(json.loads(usage)) == pytest.approx(cost_usd)
    assert len(used()) == 2


def redis_field(url: str, prefix: str):
    """Asks which fields of any call's hash begin so."""
    redis = Redis.from_url(url, decode_responses=True)
    return lambda: [
        name for call in redis.scan_iter("call:*") for name in redis.hkeys(call) if name.startswith(prefix)
    ]

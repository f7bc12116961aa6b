"""Which calls are taken: so many of one caller at once, so many of this worker."""

from __future__ import annotations

import threading
import time
import xml.etree.ElementTree as ET

import pytest

from flaskapp import create_app
from flaskapp.phone import admission

CALLER, OTHER = "+15550001111", "+15550002222"


def ring(client, sid, caller=CALLER, path="incoming-call"):
    """A call comes in: the verbs that it is answered with."""
    form = {"CallSid": sid, "From": caller, "To": "+15552223333"}
    answer = client.post(f"/phone/{path}", data=form, base_url="http://localhost:5001")
    assert answer.status_code == 200, answer.data
    return [verb.tag for verb in ET.fromstring(answer.data)]


def is_taken(client, sid, caller=CALLER, path="incoming-call"):
    return ring(client, sid, caller, path) != ["Reject"]


def ended(client, sid):
    form = {"CallSid": sid, "CallStatus": "completed"}
    assert client.post("/phone/call-status", data=form, base_url="http://localhost:5001").status_code == 204


@pytest.fixture
def config(config):
    return {**config, "MAX_CALLS_PER_CALLER": "2", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}


def test_a_caller_has_so_many_calls_at_once_and_the_next_is_refused(app, client):
    assert [is_taken(client, f"CA{n}") for n in range(4)] == [True, True, False, False]
    assert is_taken(client, "CA9", OTHER)
    assert app.extensions["scribe"].settle(20)
    row = app.extensions["history"].call("CA2")
    assert (row["ended_reason"], row["outcome"], row["caller"]) == ("busy", "rejected", CALLER)
    figures = app.extensions["metrics"].render()[0].decode()
    assert 'phone_webhook_rejected_total{reason="caller_limit"} 2.0' in figures


def test_both_doors_count_together(client):
    assert is_taken(client, "CA0", path="incoming-call-streaming")
    assert is_taken(client, "CA1", path="incoming-call")
    assert not is_taken(client, "CA2", path="incoming-call-streaming")


def test_a_webhook_that_comes_again_is_no_second_call(client):
    assert [is_taken(client, "CA0") for _ in range(4)] == [True] * 4
    assert is_taken(client, "CA1")
    assert is_taken(client, "CA0")
    assert not is_taken(client, "CA2")


def test_a_call_that_is_over_makes_room(client):
    assert [is_taken(client, f"CA{n}") for n in range(3)] == [True, True, False]
    ended(client, "CA0")
    assert is_taken(client, "CA3")
    assert not is_taken(client, "CA4")


def test_a_call_whose_end_nobody_saw_makes_room_when_its_hash_is_gone(app, client, monkeypatch):
    assert [is_taken(client, f"CA{n}") for n in range(2)] == [True, True]
    app.extensions["live_store"].redis.delete("call:CA0")
    assert not is_taken(client, "CA3"), "it may be about to begin"
    monkeypatch.setattr(admission, "BEGINS_WITHIN_S", 0.0)
    assert is_taken(client, "CA3")


def test_no_call_counts_for_longer_than_a_call_may_last(app, client):
    assert [is_taken(client, f"CA{n}") for n in range(2)] == [True, True]
    redis = app.extensions["live_store"].redis
    (calls,) = redis.keys("caller:*")
    redis.zadd(calls, {"CA0": time.time() - 1800 - admission.LASTS_LONGER_S - 1})
    assert is_taken(client, "CA3")


@pytest.mark.parametrize(
    "caller",
    ["", "anonymous", "Restricted", "unavailable", "+266696687", "+86282452253", "Unknown", "+2562533"],
)
def test_of_a_withheld_number_nobody_knows_whose_calls_they_are(client, caller):
    assert all(is_taken(client, f"CA{n}", caller) for n in range(4))


@pytest.mark.parametrize(
    ("one", "same"),
    [("+15550001111", " 15550001111"), ("sip:Ann@example.com;tag=1", "sip:ann@example.com;tag=2")],
)
def test_one_caller_is_one_however_the_number_is_spelled(client, one, same):
    assert is_taken(client, "CA0", one)
    assert is_taken(client, "CA1", same)
    assert not is_taken(client, "CA2", same)


def test_no_number_is_read_off_a_key(app, client):
    ring(client, "CA0")
    redis = app.extensions["live_store"].redis
    told = " ".join([*redis.keys("*"), redis.get("admitted:CA0")])
    assert CALLER[1:] not in told


def test_a_redis_that_is_away_refuses_nobody(app, client):
    server = app.extensions["live_store"].redis.connection_pool.connection_kwargs["server"]
    server.connected = False
    try:
        assert all(is_taken(client, f"CA{n}") for n in range(4))
        with app.test_request_context():
            admission.release("CA0")
    finally:
        server.connected = True


def test_calls_at_the_same_moment_in_many_workers_are_not_let_in_together(config, redis_server):
    apps = [create_app({**config, "REDIS_URL": redis_server}) for _ in range(2)]
    apps[0].extensions["live_store"].redis.flushall()
    taken, start = [], threading.Barrier(16)

    def call(number):
        app = apps[number % 2]
        with app.test_request_context(data={"From": CALLER}, method="POST"):
            start.wait(60)
            taken.append(admission.refusal(f"CA{number}", CALLER) is None)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(16)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert sorted(taken) == [False] * 14 + [True] * 2


# ---------------------------------------------------------------------- a worker that is full


def full(app):
    app.extensions["rtmt"].sessions = {"CAother": object()}


@pytest.mark.parametrize("busy", ["record", "reject"])
def test_a_full_worker_records_new_calls_or_refuses_them(config, busy):
    app = create_app({**config, "BUSY": busy, "MAX_CALLS": "1"})
    client = app.test_client()
    full(app)
    verbs = ring(client, "CA0", path="incoming-call-streaming")
    assert verbs == ["Reject"] if busy == "reject" else "Record" in verbs
    assert "Record" in ring(client, "CA1"), "recorded calls take no stream"


def test_a_call_that_was_let_in_is_not_refused_when_its_webhook_comes_again(config):
    app = create_app({**config, "BUSY": "reject", "MAX_CALLS": "1"})
    client = app.test_client()
    assert is_taken(client, "CA0", path="incoming-call-streaming")
    full(app)
    assert is_taken(client, "CA0", path="incoming-call-streaming")


def test_a_worker_that_is_about_to_end_gives_no_stream_away(app):
    assert app.extensions["desk"].why_no_stream() == ""
    app.extensions["desk"]._is_draining = lambda: True
    assert app.extensions["desk"].why_no_stream() == "draining"

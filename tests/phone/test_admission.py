"""Which calls are taken: so many of one caller at once, so many of this worker."""

from __future__ import annotations

import threading
import xml.etree.ElementTree as ET

import pytest

from flaskapp import create_app
from flaskapp.phone import admission
from flaskapp.phone.room import Streams

CALLER, OTHER = "+15550001111", "+15550002222"


def ring(client, sid, caller=CALLER, path="incoming-call"):
    """A call comes in: the verbs that it is answered with."""
    form = {"CallSid": sid, "From": caller, "To": "+15552223333"}
    answer = client.post(f"/phone/{path}", data=form, base_url="http://localhost:5001")
    assert answer.status_code == 200, answer.data
    return [verb.tag for verb in ET.fromstring(answer.data)]


def document(client, sid, path="incoming-call"):
    """What it is answered with, word by word."""
    form = {"CallSid": sid, "From": CALLER, "To": "+15552223333"}
    return client.post(f"/phone/{path}", data=form, base_url="http://localhost:5001").data


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
    assert is_taken(client, "CA4")


def came_earlier(app, seconds):
    """All of the caller's calls came so much earlier."""
    redis = app.extensions["live_store"].redis
    (calls,) = redis.keys("caller:*")
    for sid, since in redis.zrange(calls, 0, -1, withscores=True):
        redis.zadd(calls, {sid: since - seconds})


def test_no_call_counts_for_longer_than_a_call_may_last(app, client):
    assert [is_taken(client, f"CA{n}") for n in range(2)] == [True, True]
    for n in range(2):
        app.extensions["live_store"].remember(f"CA{n}", state="live")
    came_earlier(app, 1800 + admission.LASTS_LONGER_S - 5)
    assert not is_taken(client, "CA3")
    came_earlier(app, 6)
    assert is_taken(client, "CA4")


@pytest.mark.parametrize(
    ("path", "within_s"), [("incoming-call-streaming", 120), ("incoming-call", 120 + 120)]
)
def test_a_call_that_only_rang_and_whose_end_nobody_told_makes_room_soon(app, client, path, within_s):
    assert [is_taken(client, f"CA{n}", path=path) for n in range(2)] == [True, True]
    came_earlier(app, within_s - 10)
    assert not is_taken(client, "CA3", path=path), "it may be about to be heard of"
    came_earlier(app, 11)
    assert [is_taken(client, f"CA{n}", path=path) for n in (4, 5, 6)] == [True, True, False]


@pytest.mark.parametrize("state", ["live", "moving", "transferring", "dialling"])
def test_a_call_that_was_streamed_counts_until_it_is_over(app, client, state):
    assert [is_taken(client, f"CA{n}", path="incoming-call-streaming") for n in range(2)] == [True, True]
    for n in range(2):
        app.extensions["live_store"].remember(f"CA{n}", state=state)
    came_earlier(app, 1500)
    assert not is_taken(client, "CA3")
    app.extensions["live_store"].remember("CA0", state="ended", needs_fallback="0")
    assert is_taken(client, "CA4"), "its stream ended well: whatever the carrier does not tell, it is over"


@pytest.mark.parametrize(("path", "needs_fallback"), [("live", "1"), ("recorded", "1"), ("recorded", "0")])
def test_a_call_that_falls_back_from_its_stream_counts_on(app, client, path, needs_fallback):
    assert [is_taken(client, f"CA{n}", path="incoming-call-streaming") for n in range(2)] == [True, True]
    live = app.extensions["live_store"]
    for n in range(2):
        live.remember(f"CA{n}", state="ended", needs_fallback=needs_fallback, path=path)
    came_earlier(app, 1500)
    assert not is_taken(client, "CA3")


def test_a_call_of_which_a_recording_was_heard_counts_until_it_is_over(app, client):
    assert [is_taken(client, f"CA{n}") for n in range(2)] == [True, True]
    for n in range(2):
        path = f"/phone/process-voice/CA{n}?silences=1"
        assert client.post(path, data={"CallSid": f"CA{n}"}, base_url="http://localhost:5001").data
    came_earlier(app, 1500)
    assert not is_taken(client, "CA3")


@pytest.mark.parametrize("path", ["incoming-call", "incoming-call-streaming"])
def test_a_call_that_was_refused_is_refused_again_in_the_same_words(app, client, path):
    assert [is_taken(client, f"CA{n}") for n in range(2)] == [True, True]
    refused = document(client, "CA2", path)
    assert b"Reject" in refused
    assert document(client, "CA2", path) == refused, "at once"
    assert app.extensions["scribe"].settle(20)
    assert document(client, "CA2", path) == refused, "when its row is written"
    app.extensions["live_store"].redis.delete("refused:CA2")
    assert document(client, "CA2", path) == refused, "when Redis has forgotten it"
    figures = app.extensions["metrics"].render()[0].decode()
    assert 'phone_webhook_rejected_total{reason="caller_limit"} 1.0' in figures


@pytest.mark.parametrize("path", ["incoming-call", "incoming-call-streaming"])
def test_a_call_that_was_refused_is_refused_again_although_there_is_room_by_now(app, client, path):
    assert [is_taken(client, f"CA{n}") for n in range(3)] == [True, True, False]
    ended(client, "CA0")
    assert ring(client, "CA2", path=path) == ["Reject"]
    assert is_taken(client, "CA3")


@pytest.mark.parametrize("path", ["incoming-call", "incoming-call-streaming"])
def test_a_call_that_was_taken_and_is_over_is_hung_up_when_it_is_told_of_again(app, client, path):
    assert is_taken(client, "CA0")
    ended(client, "CA0")
    assert app.extensions["scribe"].settle(20)
    app.extensions["live_store"].redis.delete("call:CA0")
    assert ring(client, "CA0", path=path) == ["Hangup"]


@pytest.mark.parametrize(
    "caller",
    [
        "",
        "anonymous",
        "Restricted",
        "unavailable",
        "+266696687",
        "+86282452253",
        "Unknown",
        "+2562533",
        "sip:anonymous@example.com",
        "sip:x@anonymous.invalid",
    ],
)
def test_of_a_withheld_number_nobody_knows_whose_calls_they_are(client, caller):
    assert all(is_taken(client, f"CA{n}", caller) for n in range(4))


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ("+15550001111", " 15550001111"),
        ("sip:Ann@example.com;tag=1", "sip:ann@example.com;tag=2"),
        ("+15550001111", "sip:+15550001111@example.com;user=phone"),
        ("+15550001111", "sips:+1-555-000-1111@example.com"),
        ("+15550001111", "00 1 555 000 1111"),
        ("+15550001111", "tel:+1-555-000-1111"),
    ],
)
def test_one_caller_is_one_however_the_number_is_spelled(client, one, same):
    assert is_taken(client, "CA0", one)
    assert is_taken(client, "CA1", same)
    assert not is_taken(client, "CA2", same)


@pytest.mark.parametrize("other", ["sip:15550001111@example.com", "sip:ann@example.com", "+25550001111"])
def test_who_is_perhaps_the_same_is_another(client, other):
    assert all(is_taken(client, f"CA{n}", "+15550001111") for n in range(2))
    assert is_taken(client, "CA2", other)


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
    """Its one stream is there, and not admitted yet."""
    app.extensions["rtmt"]._bridges = {object()}


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


@pytest.mark.parametrize(("waits", "is_refused"), [(3, True), (4, False)])
def test_a_caller_who_was_told_to_wait_is_answered_already_and_recorded(config, waits, is_refused):
    app = create_app({**config, "BUSY": "reject", "MAX_CALLS": "1"})
    full(app)
    verbs = ring(app.test_client(), "CA0", path=f"incoming-call-streaming?wait={waits}")
    assert (verbs == ["Reject"], "Record" in verbs) == (is_refused, not is_refused)


def knock(client, sid):
    """A carrier opens a stream, as far as a client without a socket gets: 400 is the broken handshake."""
    return client.get(
        f"/phone/stream-audio/{sid}",
        headers={"Upgrade": "websocket", "Connection": "Upgrade"},
        base_url="http://localhost:5001",
        environ_overrides={"gunicorn.socket": object()},
    ).status_code


def test_a_full_worker_refuses_new_streams_before_their_handshake(config):
    app = create_app({**config, "MAX_CALLS": "2"})
    client, streams = app.test_client(), app.extensions["streams"]
    assert knock(client, "CA0") == 400
    assert all(streams.enter(2) for _ in range(2)), "whoever got no further has left no trace"
    assert knock(client, "CA0") == 503
    assert 'phone_fallbacks_total{reason="full"} 1.0' in app.extensions["metrics"].render()[0].decode()
    streams.leave()
    assert knock(client, "CA0") == 400


@pytest.mark.parametrize(
    ("state", "status"), [("live", 400), ("moving", 400), ("ringing", 503), ("ended", 503)]
)
def test_a_call_that_is_handed_over_is_taken_up_by_a_full_worker_too(config, state, status):
    app = create_app({**config, "MAX_CALLS": "1"})
    assert app.extensions["streams"].enter(1)
    app.extensions["live_store"].remember("CA0", state=state)
    assert knock(app.test_client(), "CA0") == status
    assert not app.extensions["streams"].enter(1), "it left no more room than there was"
    app.extensions["streams"].leave()
    assert app.extensions["streams"].enter(1), "and took none with it"


def test_streams_that_come_together_are_counted_one_by_one():
    streams, start, let_in = Streams(), threading.Barrier(16), []

    def come():
        start.wait(60)
        let_in.append(streams.enter(3))

    threads = [threading.Thread(target=come) for _ in range(16)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert sum(let_in) == 3


def test_a_worker_that_is_about_to_end_gives_no_stream_away(app):
    assert app.extensions["desk"].why_no_stream() == ""
    app.extensions["desk"]._is_draining = lambda: True
    assert app.extensions["desk"].why_no_stream() == "draining"

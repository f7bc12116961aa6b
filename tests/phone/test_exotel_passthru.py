"""What an Exotel flow asks after a stream: read in every shape, decided once, and the books closed."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaskapp import create_app
from flaskapp.phone.carriers.exotel_passthru import Passthru, read
from tests import servers
from tests.phone.exotel_questions import ENGINE, HOME, OVER, RECORD, RESUME, SID, TRANSFER, Flow

TOLD = Passthru(
    call_sid=SID,
    stream_sid="s1",
    status="completed",
    disconnected_by="bot",
    duration_s=12,
    error="Streaming_call_throttled",
    recording_url="https://recordings.example.com/a.mp3",
    caller="09876543210",
    called="08012345678",
)
STREAM = {
    "StreamSID": "s1",
    "Status": "completed",
    "DisconnectedBy": "bot",
    "Duration": "12",
    "DetailedStatus": "Streaming_call_throttled",
    "RecordingUrl": TOLD.recording_url,
}
CALL = {"CallSid": SID, "CallFrom": TOLD.caller, "CallTo": TOLD.called}
SNAKE = {
    "stream_sid": "s1",
    "status": "COMPLETED",
    "disconnected_by": "Bot",
    "duration": 12,
    "detailed_status": "Streaming_call_throttled",
    "recording_url": TOLD.recording_url,
}


@pytest.mark.parametrize(
    ("pairs", "body"),
    [
        ([*CALL.items(), *((f"Stream[{name}]", value) for name, value in STREAM.items())], ""),
        ([*CALL.items(), *((f"stream.{name}", value) for name, value in STREAM.items())], ""),
        ([*CALL.items(), ("Stream", json.dumps(STREAM))], ""),
        ([*CALL.items(), ("Stream", json.dumps(SNAKE))], ""),
        ([("ask", "over")], json.dumps({**CALL, "Stream": STREAM})),
        ([], json.dumps({**CALL, "Stream": json.dumps(SNAKE)})),
        ([], json.dumps({"call_sid": SID, "from": TOLD.caller, "to": TOLD.called, "stream": SNAKE})),
        (CALL.items(), json.dumps({"stream": {**STREAM, "Duration": 12.9}})),
    ],
)
def test_a_report_is_the_same_in_every_shape(pairs, body):
    assert read(pairs, body) == TOLD


@pytest.mark.parametrize(
    ("status", "by", "is_gone"),
    [
        ("completed", "bot", False),
        ("cancelled", "user", True),
        ("canceled", "", True),
        ("completed", "user", True),
        ("failed", "NA", False),
        ("no-such", "nobody", False),
    ],
)
def test_who_ended_the_stream_says_whether_the_caller_is_gone(status, by, is_gone):
    report = read([("Stream[Status]", status), ("Stream[DisconnectedBy]", by)])
    assert report.caller_is_gone is is_gone


@given(st.lists(st.tuples(st.text(max_size=40), st.text(max_size=80)), max_size=20), st.text(max_size=200))
def test_nothing_that_comes_raises(pairs, body):
    assert isinstance(read(pairs, body), Passthru)


def test_a_call_s_name_is_text_or_a_whole_number():
    assert read([], '{"CallSid": 5}').call_sid == "5"
    for odd in ("1e999", "-1e999", "NaN", "1e-5", "1.5", "true", "null", "[1]"):
        assert read([], f'{{"CallSid": {odd}, "Stream": {{"Duration": {odd}}}}}').call_sid == ""


@pytest.mark.parametrize("bracket", ["[", '{"a":', "{", "[{"])
def test_a_tower_of_brackets_is_no_report(bracket):
    tower = bracket * (64_000 // len(bracket))
    assert read([("Stream", tower), ("CallSid", SID)], tower) == Passthru(call_sid=SID)


# ---------------------------------------------------------------------- asked


@pytest.fixture
def config(config):
    return {**config, **ENGINE}


@pytest.fixture
def flow(app, client):
    return Flow(app, client)


@pytest.fixture
def live(app):
    return app.extensions["live_store"]


@pytest.mark.parametrize(
    ("known", "report", "answers"),
    [
        ({"state": "ended", "needs_fallback": "0"}, {}, OVER),
        ({"state": "live"}, {"status": "cancelled", "by": "user"}, OVER),
        ({"state": "transferring"}, {"status": "cancelled", "by": "user"}, OVER),
        ({"state": "ended", "needs_fallback": "1", "is_over": "1"}, {}, OVER),
        ({"state": "live"}, {}, RESUME),
        ({"state": "live"}, {"status": "", "by": "", "stream": ""}, RESUME),
        ({"state": "moving"}, {}, RESUME),
        ({"state": "moving", "streams": "2"}, {}, RECORD),
        ({"state": "transferring", "destination": "desk"}, {}, TRANSFER),
        ({"state": "ended", "needs_fallback": "1", "falls": "1", "fell_at_ms": "0"}, {}, RECORD),
        ({"state": "live", "listens": "1"}, {}, RECORD),
    ],
)
def test_what_follows_a_stream(flow, known, report, answers):
    flow.begin(**known)
    assert flow.chain(**report) == answers
    if "listens" not in known:
        assert [answer[0] == 200 for answer in [flow.asks("transfer", **report)]] == answers[2:]


def test_every_question_is_answered_alike_in_whatever_order_it_comes(flow):
    flow.begin(state="transferring", destination="desk")
    assert flow.asks("resume")[0] == 302
    assert flow.asks("transfer", to="sales")[0] == 302
    assert flow.asks("transfer", to="desk")[0] == 200
    assert flow.asks("over")[0] == 302
    assert flow.asks("transfer", to="desk") == (200, "transfer")


def test_a_transfer_closes_the_books(flow):
    flow.begin(state="transferring", destination="desk")
    flow.asks("over")
    flow.asks("over")
    flow.asks("transfer")
    assert (flow.row["ended_reason"], flow.row["status"]) == ("transferred", "completed")
    assert flow.row["ended_at"] is not None
    asked = [each["detail"]["asked"] for each in flow.events if each["kind"] == "passthru"]
    assert asked == ["over", "transfer"]
    assert flow.live.recall(SID)["is_over"] == "1"


def test_the_answers_outlive_the_call_s_hash(flow, live):
    flow.begin(state="transferring", destination="desk")
    assert flow.asks("over")[0] == 302
    live.redis.delete(f"call:{SID}")
    assert flow.asks("transfer", to="desk")[0] == 200
    assert 500 < live.redis.ttl(f"exotel-flow:{SID}") <= 600


def test_a_call_that_nobody_can_serve_is_handed_over(app, flow):
    flow.begin(state="moving", streams="2")
    assert flow.chain() == RECORD
    assert flow.row["ended_reason"] == "handed_over"
    metrics = app.extensions["metrics"].calls.labels("exotel", "live", "handed_over")
    assert metrics._value.get() == 1


def test_a_stream_that_broke_off_is_expected_again(flow, live):
    flow.begin(state="live")
    before = time.time()
    assert flow.chain() == RESUME
    known = live.recall(SID)
    assert (known["state"], known["broke_off"], known["streams"]) == ("moving", "1", "1")
    assert live.last_sign(SID) >= before + 20
    assert flow.row["ended_at"] is None


def test_a_first_question_that_is_asked_again_is_no_second_chain(flow, live):
    flow.begin(state="live")
    assert [flow.asks("over")[1] for _ in range(3)] == ["resume"] * 3
    assert live.recall(SID)["streams"] == "1"


def test_a_caller_who_hung_up_before_his_stream_came_is_in_the_books(flow):
    assert flow.asks("over", status="cancelled", by="user", stream="")[0] == 200
    assert (flow.row["ended_reason"], flow.row["status"]) == ("caller_hung_up", "failed")


@pytest.mark.parametrize("state", ["moving", "ended"])
def test_a_call_whose_caller_is_gone_is_completed(flow, state):
    flow.begin(state=state, needs_fallback="1")
    assert flow.asks("over", status="cancelled", by="user")[0] == 200
    assert flow.row["status"] == "completed"


def test_the_address_s_own_words_are_no_fields_of_the_report(app, flow):
    failed = {"status": "failed", "by": "NA", "stream": ""}
    assert flow.asks("transfer", to="sales", **failed, CallFrom="0987")[0] == 302
    assert flow.row["called"] == ""
    form = {"CallSid": "c2", "from": "0987", "to": "0801"}
    app.test_client().post("/exotel/passthru?ask=", data=form, base_url=HOME)
    assert app.extensions["scribe"].settle(10)
    assert app.extensions["history"].call("c2")["called"] == "0801"


def test_a_recording_that_is_reported_is_kept_and_the_call_is_over(flow):
    flow.begin(state="moving", streams="2")
    assert flow.asks("over") == (302, "record")
    url = "https://recordings.example.com/v.mp3"
    for _ in range(2):
        answer = flow.asks("over", status="", by="", stream="", RecordingUrl=url)
        assert answer[0] == 200
    kept = [each["detail"] for each in flow.events if each["kind"] == "recording"]
    assert kept == [{"url": url}]


@pytest.mark.parametrize("missing", ["engine_down", "full"])
def test_without_live_service_a_new_call_is_handed_over(app, flow, missing, monkeypatch):
    monkeypatch.setattr(app.extensions["desk"], "why_no_stream", lambda: missing)
    assert flow.chain(status="failed", by="NA", stream="") == RECORD


def test_a_full_worker_takes_up_what_broke_off_and_one_that_ends_leaves_it_to_others(app, flow, monkeypatch):
    for why in ("full", "draining"):
        flow.live.redis.flushall()
        monkeypatch.setattr(app.extensions["desk"], "why_no_stream", lambda why=why: why)
        flow.begin(state="live")
        assert flow.asks("resume")[0] == 200


def test_a_call_that_fell_goes_live_again_when_it_has_rested_and_the_engine_is_well(app, flow, monkeypatch):
    fallen = {"state": "ended", "needs_fallback": "1", "falls": "1", "fell_at_ms": "0"}
    flow.begin(**fallen, began=repr(time.time() - 11))
    assert flow.asks("resume")[0] == 200
    flow.live.redis.flushall()
    flow.begin(**fallen, began=repr(time.time() - 11))
    monkeypatch.setattr(app.extensions["desk"], "is_live_well", lambda: False)
    assert flow.asks("resume")[0] == 302


def test_another_carrier_s_call_is_none_of_the_flow_s(flow, client, live):
    flow.begin(state="live", carrier="twilio")
    asked = client.get("/exotel/passthru", query_string={"CallSid": SID}, base_url=HOME)
    assert asked.status_code == 404
    assert live.recall(SID)["state"] == "live"


def test_a_report_of_a_stream_that_begins_changes_nothing(app, client, live):
    told = {"CallSid": SID, "StreamSid": "s1", "EventType": "stream-start", "StreamUrl": "wss://x"}
    assert client.post("/exotel/passthru", json=told, base_url=HOME).status_code == 200
    assert live.recall(SID) == {}


@pytest.mark.parametrize(
    ("query", "status"),
    [({"ask": "who"}, 400), ({}, 400), ({"CallSid": "a b"}, 400), ({"CallSid": "x" * 65}, 400)],
)
def test_what_cannot_be_asked_is_refused_without_an_echo(client, query, status):
    answer = client.get("/exotel/passthru", query_string=query, base_url=HOME)
    assert answer.status_code == status
    assert answer.mimetype == "application/problem+json"
    assert not any(value in answer.text for value in query.values())


def test_bodies_have_their_limits(client):
    form = {"CallSid": SID, **{f"f{number}": "x" for number in range(1001)}}
    assert client.post("/exotel/passthru", data=form, base_url=HOME).status_code == 413
    long = {"CallSid": SID, "x": "y" * 70_000}
    assert client.post("/exotel/passthru", json=long, base_url=HOME).status_code == 413


def test_a_redis_that_is_away_changes_no_answer(config, app):
    away = create_app({**config, "REDIS_URL": f"redis://127.0.0.1:{servers.free_port()}/0"})
    flow = Flow(away, away.test_client())
    flow.begin(state="transferring", destination="desk")
    assert flow.chain() == flow.chain() == TRANSFER

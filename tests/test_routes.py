"""Carrier webhooks in, documents out; what is asked twice is answered twice and done once."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET

import pytest

from flaskapp import create_app

ENGINE = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
FORM = {"CallSid": "CA1", "From": "+15550001111", "To": "+15552223333"}


@pytest.fixture
def config(config):
    return {**config, **ENGINE}


LINE = {
    "speaker": "agent",
    "start_ms": 0,
    "end_ms": 10,
    "is_final": False,
    "interrupted": False,
    "mode": "live",
}


def post_status(client, status):
    data = {**FORM, "CallStatus": status}
    assert client.post("/phone/call-status", data=data, base_url="http://localhost:5001").status_code == 204


def post(client, path, **form):
    return client.post(path, data={**FORM, **form}, base_url="http://localhost:5001")


def verbs(answer):
    assert answer.status_code == 200
    assert answer.mimetype == "text/xml"
    return list(ET.fromstring(answer.data))


def test_a_call_is_joined_to_its_stream(client):
    connect, redirect = verbs(post(client, "/phone/incoming-call-streaming"))
    assert connect.tag == "Connect"
    assert connect.get("action") == "http://localhost:5001/phone/stream-ended/CA1"
    stream = connect[0]
    assert stream.get("url") == "ws://localhost:5001/phone/stream-audio/CA1"
    assert stream[0].get("name") == "ticket"
    assert len(stream[0].get("name") + stream[0].get("value")) < 500
    assert redirect.tag == "Redirect"


def test_the_public_address_is_dialled_with_tls(config):
    app = create_app({**config, "FLASK_BASE_URL": "https://v.example.com", "TWILIO_AUTH_TOKEN": "12345"})
    from twilio.request_validator import RequestValidator

    url = "https://v.example.com/phone/incoming-call-streaming"
    signature = RequestValidator("12345").compute_signature(url, FORM)
    answer = app.test_client().post(
        "/phone/incoming-call-streaming", data=FORM, headers={"X-Twilio-Signature": signature}
    )
    connect, _ = verbs(answer)
    assert connect[0].get("url") == "wss://v.example.com/phone/stream-audio/CA1"
    assert connect.get("action") == "https://v.example.com/phone/stream-ended/CA1"


def test_the_same_webhook_again_gets_the_same_document_and_one_row(app, client):
    answers = {post(client, "/phone/incoming-call-streaming").data for _ in range(3)}
    assert len(answers) == 1
    assert app.extensions["scribe"].settle(10)
    assert [call["call_sid"] for call in app.extensions["history"].calls()] == ["CA1"]


def test_without_an_engine_the_document_apologises_and_takes_a_message(config):
    app = create_app({**config, "OPENAI_BASE_URL": ""})
    say, record, _ = verbs(post(app.test_client(), "/phone/incoming-call-streaming"))
    assert (say.tag, record.tag) == ("Say", "Record")
    assert "sorry" in say.text
    assert record.get("action").endswith("/phone/process-voice/CA1?message=1")


def test_after_a_conversation_the_call_is_over(app, client):
    app.extensions["live_store"].remember("CA1", state="ended", needs_fallback="0")
    assert [verb.tag for verb in verbs(post(client, "/phone/stream-ended/CA1"))] == ["Hangup"]


RECORDS = ["Say", "Say", "Record", "Redirect"]


def test_after_a_failure_before_anybody_spoke_the_call_is_recorded_from_its_beginning(app, client):
    post(client, "/phone/incoming-call-streaming")
    app.extensions["live_store"].remember("CA1", state="ended", needs_fallback="1")
    assert [verb.tag for verb in verbs(post(client, "/phone/stream-ended/CA1"))] == RECORDS


def test_after_a_failure_in_the_middle_the_caller_is_asked_to_say_it_again(app, client):
    post(client, "/phone/incoming-call-streaming")
    live = app.extensions["live_store"]
    live.keep_lines("CA1", [{"item_id": "a", "position": 0, "speaker": "agent", "text": "Hello."}])
    live.remember("CA1", state="ended", needs_fallback="1")
    say, record, _ = verbs(post(client, "/phone/stream-ended/CA1"))
    assert ("cut off" in say.text, record.tag) == (True, "Record")


def test_a_line_that_was_withdrawn_does_not_make_it_the_middle_of_a_call(app, client):
    post(client, "/phone/incoming-call-streaming")
    live = app.extensions["live_store"]
    live.keep_lines("CA1", [{"item_id": "a", "position": 0, "speaker": "caller", "text": ""}])
    live.remember("CA1", state="ended", needs_fallback="1")
    assert [verb.tag for verb in verbs(post(client, "/phone/stream-ended/CA1"))] == RECORDS


def test_after_a_failure_words_without_an_answer_are_answered(app, client):
    post(client, "/phone/incoming-call-streaming")
    app.extensions["live_store"].remember("CA1", state="ended", needs_fallback="1", pending_turn="unheard-1")
    say, redirect = verbs(post(client, "/phone/stream-ended/CA1"))
    assert (say.tag, "turn=unheard-1" in redirect.text) == ("Say", True)


def test_a_stream_that_never_lived_is_tried_again_once(client):
    post(client, "/phone/incoming-call-streaming")
    assert verbs(post(client, "/phone/fallback", ErrorCode="31920"))[0].tag == "Connect"
    assert [verb.tag for verb in verbs(post(client, "/phone/fallback"))] == RECORDS


def test_the_carriers_fallback_for_a_call_that_nobody_knows_records_it(app, client):
    assert [verb.tag for verb in verbs(post(client, "/phone/fallback"))] == RECORDS
    assert app.extensions["scribe"].settle(10)
    assert app.extensions["history"].call("CA1")["mode"] == "recorded"


def test_words_are_answered_once_though_the_way_back_to_live_fails(app, client):
    from flaskapp.store.turns import Outcome, Turn

    post(client, "/phone/incoming-call-streaming")
    app.extensions["live_store"].keep_lines(
        "CA1", [{"item_id": "a", "position": 0, "speaker": "agent", "text": "Hello."}]
    )
    app.extensions["live_store"].remember("CA1", state="ended", needs_fallback="1", pending_turn="unheard-1")
    book = app.extensions["turn_book"]
    book.claim(Turn("CA1", "unheard-1", "buffer", claimed_at=time.time()))
    book.finish("CA1", "unheard-1", Outcome("answered", "words", "The answer."))
    say, redirect = verbs(post(client, "/phone/stream-ended/CA1"))
    say, connect, redirect = verbs(post(client, redirect.text.removeprefix("http://localhost:5001")))
    assert (say.text, connect.tag) == ("The answer.", "Connect")
    for _ in range(2):  # no handshake comes about
        say, record, _ = verbs(post(client, "/phone/fallback", ErrorCode="31920"))
        assert ("The answer." in say.text, record.tag) == (False, "Record")


def break_off(app, client, state="live"):
    """A call whose live stream is gone, as Redis shows it."""
    post(client, "/phone/incoming-call-streaming")
    live = app.extensions["live_store"]
    live.remember("CA1", state=state, streams="0")
    return live


@pytest.mark.parametrize("state", ["live", "moving"])
def test_a_stream_that_broke_off_is_followed_by_another(app, client, state):
    live = break_off(app, client, state)
    assert verbs(post(client, "/phone/stream-ended/CA1"))[0].tag == "Connect"
    assert live.recall("CA1")["state"] == "moving", "until the next one lives"
    assert live.untouched_since(time.time() + 60) == ["CA1"], "should none come, the sweeper looks after it"


def test_what_a_dead_worker_left_open_is_closed_before_the_next_stream(app, client):
    live = break_off(app, client)
    live.keep_lines(
        "CA1",
        [
            {**LINE, "item_id": "a", "position": 0, "text": "Hello.", "is_final": True},
            {**LINE, "item_id": "c", "position": 1, "speaker": "caller", "text": "I wo"},
        ],
    )
    post(client, "/phone/stream-ended/CA1")
    assert [line["text"] for line in live.lines("CA1")] == ["Hello.", ""]
    assert app.extensions["scribe"].settle(10)
    assert [turn["text"] for turn in app.extensions["history"].turns("CA1")] == ["Hello."]


def test_a_stream_that_breaks_again_and_again_is_given_up(app, client):
    live = break_off(app, client)
    for _ in range(4):
        assert verbs(post(client, "/phone/stream-ended/CA1"))[0].tag == "Connect"
        live.remember("CA1", state="live", streams="0")
    assert [verb.tag for verb in verbs(post(client, "/phone/stream-ended/CA1"))] == RECORDS
    assert live.recall("CA1")["state"] == "ended"


def test_a_resumed_stream_that_never_lives_is_tried_twice(app, client):
    break_off(app, client)
    assert verbs(post(client, "/phone/stream-ended/CA1"))[0].tag == "Connect"
    assert verbs(post(client, "/phone/fallback"))[0].tag == "Connect"
    assert [verb.tag for verb in verbs(post(client, "/phone/fallback"))] == RECORDS


def test_a_full_worker_takes_up_a_call_that_is_no_new_one(app, client, monkeypatch):
    break_off(app, client)
    monkeypatch.setattr(app.extensions["desk"], "why_no_stream", lambda: "full")
    assert verbs(post(client, "/phone/stream-ended/CA1"))[0].tag == "Connect"


def test_without_live_ai_what_a_dead_worker_did_not_understand_is_answered_all_the_same(app, client):
    live = break_off(app, client)
    live.remember("CA1", heard_until_ms="1000")
    voice = bytes((40 if at % 20 < 10 else 168) for at in range(24_000))
    app.extensions["audio"].append("CA1", 1000, voice)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app.extensions["desk"], "why_no_stream", lambda: "engine_down")
        say, redirect = verbs(post(client, "/phone/stream-ended/CA1"))
    assert (say.tag, "turn=unheard-CA1-1000" in redirect.text) == ("Say", True)
    assert live.recall("CA1")["needs_fallback"] == "1"


def test_the_agents_person_is_dialled_by_the_document_where_the_carrier_has_no_other_way(config, tmp_path):
    (tmp_path / "agent.yaml").write_text("transfer_number: '+15557654321'\n")
    app = create_app({**config, "AGENT_FILE": str(tmp_path / "agent.yaml")})
    with app.app_context():
        from flask_migrate import upgrade

        upgrade()
    client = app.test_client()
    live = break_off(app, client, "transferring")
    name = next(iter(app.extensions["agents"].default.transfer_numbers))
    live.remember("CA1", destination=name)
    (dial,) = verbs(post(client, "/phone/stream-ended/CA1"))
    assert (dial.tag, dial[0].text) == ("Dial", "+15557654321")
    assert verbs(post(client, "/phone/stream-ended/CA1"))[0].tag == "Dial", "asked again, it is the same"
    asked = "http://localhost:5001/phone/transfer-ended/CA1?destination=x"
    back = verbs(post(client, "/phone/fallback", ErrorUrl=asked))
    assert back[0].tag == "Connect", "he was dialled, and the caller is back"


def test_nobody_else_is_dialled(app, client):
    live = break_off(app, client, "transferring")
    live.remember("CA1", destination="+15550009999")
    assert verbs(post(client, "/phone/stream-ended/CA1"))[0].tag == "Connect"


def test_a_caller_who_hangs_up_while_his_call_moves_is_gone_and_the_books_say_so(app, client):
    live = break_off(app, client, "moving")
    live.keep_lines("CA1", [{**LINE, "item_id": "a", "position": 0, "text": "Hello.", "is_final": True}])
    post_status(client, "completed")
    assert live.recall("CA1")["forgotten"] == "1"
    assert app.extensions["scribe"].settle(10)
    row = app.extensions["history"].call("CA1")
    assert (row["ended_reason"], row["ended_at"] is not None) == ("caller_hung_up", True)
    assert [turn["text"] for turn in app.extensions["history"].turns("CA1")] == ["Hello."]


def test_a_caller_who_hangs_up_as_his_worker_dies_is_looked_after(app, client):
    """The leg has given its last sign of life, and did not live to say that it is over."""
    live = break_off(app, client)
    post_status(client, "completed")
    assert live.untouched_since(time.time() + 60) == ["CA1"]


def test_a_caller_who_hangs_up_before_any_stream_is_in_the_books_too(app, client):
    post(client, "/phone/incoming-call-streaming")
    post_status(client, "completed")
    assert app.extensions["scribe"].settle(10)
    assert app.extensions["history"].call("CA1")["ended_reason"] == "caller_hung_up"


def test_a_call_that_the_carrier_calls_over_is_over(client):
    post(client, "/phone/incoming-call-streaming")
    ended = post(client, "/phone/stream-ended/CA1", CallStatus="completed")
    assert [verb.tag for verb in verbs(ended)] == ["Hangup"]


def test_statuses_may_come_in_any_order_and_again(app, client):
    for status, sequence in (
        ("completed", 2),
        ("ringing", 0),
        ("in-progress", 1),
        ("completed", 2),
        ("x", 9),
    ):
        answer = post(client, "/phone/call-status", CallStatus=status, SequenceNumber=sequence)
        assert answer.status_code == 204
    assert app.extensions["scribe"].settle(10)
    assert app.extensions["history"].call("CA1")["status"] == "completed"


def test_stream_errors_are_taken_note_of(client, caplog):
    answer = post(client, "/phone/stream-status/CA1", StreamEvent="stream-error", StreamError="31901")
    assert answer.status_code == 204
    assert "31901" in caplog.text


def test_what_the_caller_says_of_himself_cannot_become_markup(client):
    answer = post(client, "/phone/incoming-call-streaming", From='"/><Dial>+1</Dial>', To="<Hangup/>")
    assert [verb.tag for verb in verbs(answer)] == ["Connect", "Redirect"]


@pytest.mark.parametrize(
    "path", ["/phone/nothing", "/phone/stream-ended/CA 1", "/phone/stream-ended/" + "x" * 65]
)
def test_errors_are_problem_documents(client, path):
    answer = post(client, path)
    assert answer.status_code in (400, 404)
    assert answer.content_type == "application/problem+json"
    assert answer.get_json()["status"] == answer.status_code


def test_a_body_beyond_its_limit_is_refused(client):
    assert post(client, "/phone/incoming-call-streaming", Junk="x" * 70_000).status_code == 413


def test_too_many_fields_are_refused(client):
    fields = {f"f{number}": "" for number in range(1001)}
    assert post(client, "/phone/incoming-call-streaming", **fields).status_code == 413


def test_stream_errors_of_odd_calls_are_bad_requests(client):
    assert post(client, "/phone/stream-status/CA 1").status_code == 400


def test_sockets_under_another_server_say_which_one_is_needed(client):
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    answer = client.get("/phone/stream-audio/CA1", headers=headers, base_url="http://localhost:5001")
    assert answer.status_code == 501
    assert "gunicorn -c gunicorn.conf.py wsgi:app" in answer.get_json()["detail"]


def test_an_existing_app_answers_calls_too(config, monkeypatch):
    from flask import Flask

    from flaskapp.phone import init_app, phone_blueprint

    for name, value in config.items():
        monkeypatch.setenv(name, value)
    app = Flask("theirs")
    app.add_url_rule("/theirs", view_func=lambda: 1 / 0)
    init_app(app)
    assert app.config["MAX_CONTENT_LENGTH"] is None
    app.config["PROPAGATE_EXCEPTIONS"] = True
    with pytest.raises(ZeroDivisionError):  # their errors are theirs
        app.test_client().get("/theirs")
    assert phone_blueprint.name in app.blueprints
    assert verbs(post(app.test_client(), "/phone/incoming-call-streaming"))[0].tag == "Connect"


def test_a_call_whose_stream_never_comes_is_closed_when_its_ticket_is_none_any_more(app, client):
    post(client, "/phone/incoming-call-streaming")
    live, leftovers = app.extensions["live_store"], app.extensions["leftovers"]
    (call_sid,) = (name.removeprefix("call:") for name in live.redis.keys("call:*"))
    leftovers.abandoned(call_sid)
    assert live.recall(call_sid)["state"] == "ringing"
    live.now = lambda: time.time() + 301
    leftovers.abandoned(call_sid)
    assert (live.recall(call_sid)["state"], live.recall(call_sid)["reason"]) == ("ended", "caller_hung_up")

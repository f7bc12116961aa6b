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

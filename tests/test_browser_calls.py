"""Calls that the browser phone begins, and what becomes of them when their stream is over."""

from __future__ import annotations

import json

import pytest

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev
from flaskapp.phone.carriers.twilio import LONGEST_TEXT, BrowserStream, TwilioStream
from tests.phone.scene import READY, START, Scene, live, speaking

PUBLIC = "https://voice.example.com"
CALLS = "/dashboard/phone/calls"
OPERATOR = ("operator", "open sesame")


@pytest.fixture
def config(config):
    return {**config, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}


@pytest.fixture
def live_store(app):
    return app.extensions["live_store"]


def begun(client) -> str:
    answer = client.post(CALLS, json={})
    assert answer.status_code == 201, answer.text
    return answer.get_json()["call_sid"]


def row_of(app, call_sid):
    app.extensions["scribe"].settle(10)
    return app.extensions["history"].call(call_sid)


# ---------------------------------------------------------------------- who may, and what for


def test_a_call_rings_as_a_carrier_s_does(app, client, live_store):
    answer = client.post(CALLS, json={}).get_json()
    call_sid = answer["call_sid"]
    assert answer["stream_url"].startswith(f"/phone/stream-audio/{call_sid}/")
    assert answer["call_url"] == f"/dashboard/calls/{call_sid}"
    app.extensions["tickets"].check(answer["stream_url"].rpartition("/")[2], call_sid)
    assert live_store.recall(call_sid)["wants_stream"] == "1"
    row = row_of(app, call_sid)
    assert (row["carrier"], row["caller"], row["mode"]) == ("browser", "browser", "live")


@pytest.mark.parametrize("path", [CALLS, f"{CALLS}/BR1/next"])
def test_only_the_operator_and_his_own_pages_place_calls(config, tmp_path, path):
    from flaskapp import create_app

    public = {**config, "LOCAL": "0", "DASHBOARD_PASSWORD": OPERATOR[1], "FLASK_BASE_URL": PUBLIC}
    client = create_app(public).test_client()
    assert client.post(path, json={}, base_url=PUBLIC).status_code == 401
    foreign = {"Origin": "https://elsewhere.example"}
    assert client.post(path, json={}, base_url=PUBLIC, auth=OPERATOR, headers=foreign).status_code == 403


@pytest.mark.parametrize("body", ["", "[]", "nonsense"])
def test_what_is_no_question_is_no_call(client, body):
    answer = client.post(CALLS, data=body, content_type="application/json")
    assert answer.status_code == 400
    assert answer.content_type == "application/problem+json"


def test_a_number_that_nobody_answers_is_refused(client):
    assert client.post(CALLS, json={"called": "+15550000000"}).status_code == 400


def test_without_an_engine_the_page_and_the_call_say_so_in_words(config):
    from flaskapp import create_app

    client = create_app({**config, "OPENAI_BASE_URL": ""}).test_client()
    assert "No AI engine is configured" in client.get("/dashboard/phone").text
    refused = client.post(CALLS, json={})
    assert refused.status_code == 503
    assert "OPENAI_API_KEY" in refused.get_json()["detail"]


def test_a_full_worker_says_so_in_words(app, client, monkeypatch):
    monkeypatch.setattr(app.extensions["desk"], "why_no_stream", lambda: "full")
    refused = client.post(CALLS, json={})
    assert refused.status_code == 503
    assert "MAX_CALLS" in refused.get_json()["detail"]


def test_another_carrier_s_calls_are_none_of_the_phone_s(client, live_store):
    live_store.begin("CA1")
    live_store.remember("CA1", carrier="twilio")
    assert client.get(f"{CALLS}/CA1").status_code == 404
    assert client.post(f"{CALLS}/CA1/next", json={"gone": True}).status_code == 404
    assert client.post(f"{CALLS}/unknown/next", json={}).status_code == 404


# ---------------------------------------------------------------------- what follows a stream


def follows(client, call_sid, **asked):
    return client.post(f"{CALLS}/{call_sid}/next", json=asked).get_json()


def test_a_stream_that_broke_is_followed_by_another(client, live_store):
    call_sid = begun(client)
    live_store.remember(call_sid, state="live", leg="a", streams="0")
    told = follows(client, call_sid)
    assert told["then"] == "stream"
    assert told["stream_url"].startswith(f"/phone/stream-audio/{call_sid}/")
    assert live_store.recall(call_sid)["state"] == "moving"


def test_streams_that_never_live_are_not_tried_for_ever(app, client):
    call_sid = begun(client)
    assert [follows(client, call_sid)["then"] for _ in range(3)] == ["stream", "record", "over"]
    row = row_of(app, call_sid)
    assert (row["ended_reason"], row["status"]) == ("handed_over", "failed")


def test_a_call_that_the_engine_failed_says_so_for_nobody_goes_on_with_it(app, client, live_store):
    call_sid = begun(client)
    live_store.remember(
        call_sid, state="ended", needs_fallback="1", reason="engine_unreachable", falls="1000"
    )
    told = follows(client, call_sid)
    assert (told["then"], told["reason"]) == ("record", "engine_unreachable")
    assert row_of(app, call_sid)["ended_reason"] == "engine_unreachable"


def test_who_closes_the_page_has_hung_up(app, client, live_store):
    call_sid = begun(client)
    told = follows(client, call_sid, gone=True)
    assert (told["then"], told["words"]) == ("over", "You hung up.")
    assert live_store.recall(call_sid)["is_over"] == "1"
    assert row_of(app, call_sid)["ended_reason"] == "caller_hung_up"
    assert follows(client, call_sid)["then"] == "over"


def test_a_transfer_is_told_and_the_books_are_closed(app, client, live_store):
    call_sid = begun(client)
    live_store.remember(call_sid, state="transferring", leg="a", destination="sales")
    told = follows(client, call_sid)
    assert (told["then"], told["destination"]) == ("transfer", "sales")
    assert "sales" in told["words"]
    row = row_of(app, call_sid)
    assert (row["ended_reason"], row["status"]) == ("transferred", "completed")


def test_how_a_call_ended_is_told_and_nothing_changed(app, client, live_store):
    call_sid = begun(client)
    live_store.remember(call_sid, state="ended", needs_fallback="0", reason="goodbye", leg="a")
    told = follows(client, call_sid)
    assert (told["then"], told["reason"], told["words"]) == ("over", "goodbye", "Both said goodbye.")
    assert row_of(app, call_sid)["status"] != "failed"


def test_what_a_call_costs_is_told_while_it_goes_on(client, live_store):
    call_sid = begun(client)
    live_store.remember(call_sid, cost_usd="0.25", leg_cost="0.125")
    assert client.get(f"{CALLS}/{call_sid}").get_json() == {"cost_usd": 0.375}


# ---------------------------------------------------------------------- what is typed


def typed(body) -> bytes:
    return json.dumps({"event": "text", "streamSid": "MZ1", "text": {"body": body}}).encode()


def test_the_browser_s_stream_says_what_was_typed_and_a_carrier_s_does_not():
    assert BrowserStream().decode(typed(" where are\n you\x00? ")) == ev.Typed("where are you ?")
    assert BrowserStream().decode(typed("x" * 9999)) == ev.Typed("x" * LONGEST_TEXT)
    assert TwilioStream().decode(typed("hello")) is None


@pytest.mark.parametrize("body", ["", "  ", 5, None, ["a"]])
def test_what_is_no_text_is_ignored(body):
    assert BrowserStream().decode(typed(body)) is None


def test_a_typed_line_is_the_caller_s_and_the_engine_is_asked():
    scene = live()
    assert scene.hears(ev.Typed("where are you")) == []
    told = scene.waits(0.125)
    lines = [each for each in told if isinstance(each, do.TellLine)]
    assert [(each.speaker, each.text, each.is_final) for each in lines] == [("caller", "where are you", True)]
    assert do.Recite("caller", "where are you") in told
    assert do.TellEvent("typed", {"characters": 13}) in told
    assert [type(each) for each in told][-1] is do.Reply


def test_what_is_typed_before_there_is_a_session_waits_for_it():
    scene = Scene()
    scene.hears(START, ev.Typed("one"), ev.Typed("two"))
    scene.hears(ev.EngineOpened(), READY)
    told = scene.waits(0.125)
    assert [each.text for each in told if isinstance(each, do.Recite)] == ["one", "two"]
    assert len([each for each in told if isinstance(each, do.Reply)]) == 1


def test_who_types_while_the_agent_speaks_interrupts():
    told = speaking().hears(ev.Typed("wait"))
    assert any(isinstance(each, do.ClearPlayback) for each in told)


def test_lists_within_lists_are_no_question(client):
    depth = 20_000
    answer = client.post(CALLS, data="[" * depth + "]" * depth, content_type="application/json")
    assert answer.status_code == 400

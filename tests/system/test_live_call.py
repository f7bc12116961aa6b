"""One call on the running system: webhook, stream, session, speech both ways, transcript, history."""

from __future__ import annotations

import base64
import itertools
import json

import pytest

from flaskapp.phone.rtmt_audio_handler import hold_clip
from flaskapp.simulator.person import Script, Utterance
from flaskapp.simulator.report import Message
from flaskapp.simulator.sounds import tone

pytestmark = pytest.mark.system

QUESTION = Utterance(tone(1.2, 300), name="question")
ONE_QUESTION = Script((QUESTION,), quiet_ms=300)


def payloads(messages: list[Message], direction: str) -> bytes:
    """All audio that went over the carrier's socket one way, in order."""
    events = [json.loads(each.text) for each in messages if each.direction == direction]
    return b"".join(base64.b64decode(each["media"]["payload"]) for each in events if each["event"] == "media")


def test_a_signed_call_is_answered_and_kept(office):
    place = office()
    report = place.place(script=ONE_QUESTION)
    assert not report.failed, report.reason
    assert [turn.latency_ms is not None for turn in report.turns] == [True]
    session = place.engine.sessions[0]
    turns = place.turns(report.call_sid, at_least=3)
    assert [turn["speaker"] for turn in turns] == ["agent", "caller", "agent"]
    assert turns[1]["text"].startswith("words of item_")
    assert turns[0]["text"] == turns[2]["text"] == f"reply of session {session.number}"
    assert all(one["start_ms"] < next_one["start_ms"] for one, next_one in itertools.pairwise(turns))
    assert all(turn["start_ms"] < turn["end_ms"] for turn in turns)
    assert turns[2]["engine_ms"] >= place.engine.behaviour.silence_ms
    assert turns[2]["bridge_ms"] is not None


def test_a_call_leaves_one_row_with_its_end_and_its_usage(office):
    place = office()
    report = place.place(script=ONE_QUESTION)
    query = "select * from calls where status = 'completed' and duration_ms is not null"
    rows = place.rows(query, at_least=1)
    assert [row["call_sid"] for row in rows] == [report.call_sid]
    assert rows[0]["ended_reason"] == "caller_hung_up"
    usage = json.loads(rows[0]["usage"])
    assert usage["input_tokens"] == 20
    assert usage["output_audio_tokens"] == 30
    assert usage["transcription_seconds"] == 1.0


def test_the_engine_is_told_exactly_once_and_nothing_it_does_not_know(office):
    place = office({"AGENT_GREETING": "Good morning."})
    report = place.place(script=ONE_QUESTION)
    session = place.engine.sessions[0]
    assert session.offences == []
    assert len(session.of_type("session.update")) == 1
    assert session.events[0]["type"] == "session.update"
    assert session.path == "/v1/realtime?model=gpt-realtime-2.1"
    assert session.headers["authorization"] == "Bearer sk-test"
    assert "openai-beta" not in session.headers
    assert len(session.of_type("response.create")) == 1
    assert '"Good morning."' in session.of_type("response.create")[0]["response"]["instructions"]
    assert not report.failed


def test_audio_passes_byte_for_byte_both_ways(office):
    place = office()
    messages: list[Message] = []
    report = place.place(script=ONE_QUESTION, watch=messages.append)
    session = place.engine.sessions[0]
    said = payloads(messages, "sent")
    assert bytes(session.audio) == said[: len(session.audio)]
    assert len(said) - len(session.audio) <= 160 * 15  # what was on its way at the hang-up
    spoken = b"".join(
        base64.b64decode(event["delta"]) for _, event in session.sent_of_type("response.output_audio.delta")
    )
    assert payloads(messages, "received") == spoken
    assert not report.problems


def test_an_azure_resource_is_served_with_its_key(gunicorn_app, engine, exchange, signed):
    from tests.system.conftest import Office

    azure = {
        "AZURE_OPENAI_ENDPOINT": engine.origin + "/",
        "AZURE_OPENAI_REALTIME_DEPLOYMENT": "my-deployment",
        "AZURE_OPENAI_API_KEY": "azure-key",
    }
    place = Office(gunicorn_app({**azure, **signed}), engine, exchange)
    report = place.place(script=ONE_QUESTION)
    session = engine.sessions[0]
    assert not report.failed, report.reason
    assert session.path == "/openai/v1/realtime?model=my-deployment"
    assert session.headers["api-key"] == "azure-key"
    assert "authorization" not in session.headers
    assert session.offences == []
    assert session.session["audio"]["output"]["voice"] == "alloy"


@pytest.mark.parametrize("status", [401, 429, 503])
def test_an_engine_that_refuses_leads_to_a_spoken_apology(office, status):
    place = office()
    place.engine.behaviour.handshake_status = status
    report = place.place(script=ONE_QUESTION, seconds=20)
    assert any("sorry" in said for said in report.said)
    assert place.rows("select * from calls where ended_reason = 'engine_rejected'", at_least=1)


def test_an_engine_that_dies_leads_to_a_spoken_apology(office):
    place = office()
    place.engine.behaviour.closes_after_s = 1.5
    report = place.place(script=ONE_QUESTION, seconds=20)
    assert any("sorry" in said for said in report.said)
    assert place.rows("select * from calls where ended_reason = 'engine_lost'", at_least=1)


def test_formats_that_differ_are_noticed_before_any_noise_is_played(office):
    place = office()
    place.engine.behaviour.echoed_format = "audio/pcm"
    messages: list[Message] = []
    report = place.place(script=ONE_QUESTION, seconds=20, watch=messages.append)
    session = place.engine.sessions[0]
    assert not session.came, "the engine was given what it would misunderstand"
    assert not session.sent_of_type("response.output_audio.delta")
    company = base64.b64decode(hold_clip("en").payload)  # heard where opening the session takes two seconds
    assert company.startswith(payloads(messages, "received"))
    assert any("sorry" in said for said in report.said)
    assert place.rows("select * from calls where ended_reason = 'engine_format'", at_least=1)


def test_without_an_engine_the_caller_hears_an_apology(gunicorn_app, engine, exchange, signed):
    from tests.system.conftest import Office

    place = Office(gunicorn_app(signed), engine, exchange)
    report = place.place(script=ONE_QUESTION, seconds=20)
    assert any("sorry" in said for said in report.said)
    assert report.stream_sids == []


def test_a_call_reaches_the_log_with_its_number_masked(office):
    place = office()
    report = place.place(script=ONE_QUESTION, from_number="+15551234567")
    log = place.app.log.read_text()
    assert "Received streaming call from *******4567" in log
    assert "5551234567" not in log
    assert f"Real-time audio processing completed for call {report.call_sid}" in log
    assert "Traceback" not in log


def test_metrics_tell_of_the_call(office):
    place = office()
    place.place(script=ONE_QUESTION)
    _, metrics = place.app.get("/metrics")
    assert 'phone_calls_total{carrier="twilio",ended="caller_hung_up",mode="live"} 1.0' in metrics
    assert "phone_engine_sessions 0.0" in metrics
    assert 'phone_active_calls{carrier="twilio"} 0.0' in metrics
    assert "phone_turn_latency_seconds_count 1.0" in metrics

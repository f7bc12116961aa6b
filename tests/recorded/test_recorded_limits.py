"""Limits in the recording path: a call that has lasted or cost enough ends with a sentence, not a cut."""

from __future__ import annotations

import pytest

from flaskapp import create_app
from tests.recorded.calls import eventually, followed, post, recorded, said, statuses, tags, verbs


@pytest.fixture
def config(config):
    return {
        **config,
        "MAX_CALL_SECONDS": "60",
        "MAX_CALL_COST_USD": "0.30",
        "PRICES_USD_PER_MILLION": "chat_output_tokens=1",
    }


def has_lasted(app, seconds):
    """Let the call have lasted for so much longer."""
    live = app.extensions["live_store"]
    live.remember("CA1", began=repr(float(live.recall("CA1")["began"]) - seconds))


def call(app):
    assert app.extensions["scribe"].settle(20)
    return app.extensions["history"].call("CA1")


def test_silence_after_the_calls_time_is_up_is_not_asked_about(app, client, mind):
    post(client, "/phone/incoming-call")
    has_lasted(app, 61)
    answer = post(client, "/phone/process-voice/CA1?silences=1")
    assert tags(answer) == ["Say", "Hangup"]
    assert "have to end this call" in said(answer)
    assert call(app)["ended_reason"] == "max_duration"


def test_the_last_words_of_a_call_whose_time_is_up_are_kept(app, client, host, mind):
    post(client, "/phone/incoming-call")
    has_lasted(app, 61)
    assert tags(recorded(client, host)) == ["Say", "Hangup"]
    eventually(lambda: statuses(app) == [("RE1", "understood")])


def test_an_answer_that_is_there_is_said_before_the_end(app, client, host, mind):
    mind.may.clear()
    post(client, "/phone/incoming-call")
    waiting = recorded(client, host)
    has_lasted(app, 61)
    mind.may.set()
    answer = followed(client, waiting)
    assert tags(answer) == ["Say", "Say", "Hangup"]
    assert said(answer).startswith("At nine.")
    assert call(app)["ended_reason"] == "max_duration"


def test_a_message_that_is_left_is_thanked_for_whatever_the_time(app, client, host, mind):
    post(client, "/phone/incoming-call")
    has_lasted(app, 61)
    assert "kept" in said(recorded(client, host, path="/phone/process-voice/CA1?message=1"))


def test_no_recording_lasts_longer_than_the_call_may(app, client, mind):
    assert 55 <= int(verbs(post(client, "/phone/incoming-call"))[-2].get("maxLength")) <= 60
    has_lasted(app, 58)
    record = verbs(post(client, "/phone/process-voice/CA1?silences=1"))[-2]
    assert 1 <= int(record.get("maxLength")) <= 5


def test_a_call_that_has_cost_enough_ends_politely_and_says_why(app, client, host, mind):
    mind.usage = {"chat_output_tokens": 200_000}
    post(client, "/phone/incoming-call")
    first = followed(client, recorded(client, host, "RE1"))
    assert tags(first) == ["Say", "Record", "Redirect"]
    eventually(lambda: dict(statuses(app))["RE1"] == "answered")
    assert call(app)["cost_usd"] == pytest.approx(0.2)
    followed(client, recorded(client, host, "RE2"))
    eventually(lambda: dict(statuses(app))["RE2"] == "answered")
    last = recorded(client, host, "RE3")
    assert tags(last) == ["Say", "Hangup"]
    eventually(lambda: dict(statuses(app))["RE3"] == "understood")
    row = call(app)
    assert row["ended_reason"] == "max_cost"
    assert row["cost_usd"] == pytest.approx(0.6), "the last words were understood, too"


def test_what_live_legs_cost_counts(app, client, mind):
    post(client, "/phone/incoming-call")
    app.extensions["live_store"].remember("CA1", cost_usd="0.2", leg_cost="0.1001")
    assert tags(post(client, "/phone/process-voice/CA1?silences=1")) == ["Say", "Hangup"]
    assert call(app)["ended_reason"] == "max_cost"


def test_an_agents_own_limits_come_first(config, tmp_path):
    limits = "limits: {max_call_seconds: 600, max_call_cost_usd: 0}\nlanguage: en\n"
    (tmp_path / "agents.yaml").write_text(limits)
    app = create_app({**config, "AGENT_FILE": str(tmp_path / "agents.yaml")})
    client = app.test_client()
    post(client, "/phone/incoming-call")
    has_lasted(app, 61)
    app.extensions["live_store"].remember("CA1", cost_usd="9")
    assert "Record" in tags(post(client, "/phone/process-voice/CA1?silences=1"))
    has_lasted(app, 540)
    assert tags(post(client, "/phone/process-voice/CA1?silences=1")) == ["Say", "Hangup"]

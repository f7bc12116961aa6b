"""The recording path when webhooks come twice, late, bent or never, and when stores are away."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from flaskapp.store.tables import Call
from tests.recorded.calls import (
    eventually,
    followed,
    lose_all_memory,
    post,
    recorded,
    rows,
    said,
    statuses,
    tags,
    told_complete,
    verbs,
)

#: Addresses that lead elsewhere.
BENT = [
    "https://evil.example/2010-04-01/Accounts/AC1/Recordings/RE1",
    "http://169.254.169.254/2010-04-01/Accounts/AC1/Recordings/RE1",
    "https://127.0.0.1/2010-04-01/Accounts/AC1/Recordings/RE1",
    "https://user:pw@api.twilio.com/2010-04-01/Accounts/AC1/Recordings/RE1",
    "file:///etc/passwd",
]


@pytest.mark.parametrize("url", BENT)
def test_a_bent_address_is_not_followed(app, client, host, mind, url):
    post(client, "/phone/incoming-call")
    answer = followed(client, post(client, "/phone/process-voice/CA1", RecordingUrl=url, RecordingSid="RE1"))
    assert tags(answer) == ["Say", "Record", "Redirect"]
    assert "sorry" in said(answer)
    assert host.asked == []
    eventually(lambda: statuses(app) == [("RE1", "blocked_url")])
    assert rows(app)[0]["error"]


def test_what_became_of_recordings_is_noted_in_any_order(app, client, host, mind):
    post(client, "/phone/incoming-call")
    for _ in range(2):
        for status in ("absent", "in-progress", "completed"):
            answer = post(
                client, "/phone/recording-status/CA1", RecordingSid="RE1", RecordingStatus=status,
                RecordingUrl=f"{host.url}/2010-04-01/Accounts/AC1/Recordings/RE1",
            )  # fmt: skip
            assert answer.status_code == 204
    assert statuses(app) == [("RE1", "absent")]
    assert host.asked == []


def test_a_recording_of_a_call_that_is_over_is_understood_without_being_brought(app, client, host, mind):
    assert told_complete(client, host, "RE9").status_code == 204
    eventually(lambda: statuses(app) == [("RE9", "understood")])


def test_a_status_that_comes_before_the_recording_is_brought_does_not_take_its_answer(
    app, client, host, mind
):
    post(client, "/phone/incoming-call")
    told_complete(client, host, "RE1")
    assert said(followed(client, recorded(client, host))) == "At nine."
    told_complete(client, host, "RE1")
    assert statuses(app) == [("RE1", "answered")]


def test_a_recording_that_nobody_brings_is_found_in_the_history(app, client, host, mind):
    post(client, "/phone/incoming-call")
    told_complete(client, host, "RE9")
    assert statuses(app) == [("RE9", "claimed")]
    app.extensions["sweeper"].sweep(time.time() + 3600)
    eventually(lambda: statuses(app) == [("RE9", "understood")])


def test_a_webhook_that_comes_again_the_next_day_changes_nothing(app, client, host, mind):
    post(client, "/phone/incoming-call")
    followed(client, recorded(client, host))
    eventually(lambda: statuses(app) == [("RE1", "answered")])
    post(client, "/phone/call-status", CallStatus="completed")
    assert app.extensions["scribe"].settle(20)
    row = app.extensions["history"].call("CA1")
    app.extensions["live_store"].redis.flushall()
    app.extensions["live_store"]._own.clear()
    assert tags(recorded(client, host)) == ["Hangup"]
    assert tags(post(client, "/phone/incoming-call")) == ["Hangup"]
    assert tags(post(client, "/phone/incoming-call-streaming")) == ["Hangup"]
    assert tags(post(client, "/phone/stream-ended/CA1")) == ["Hangup"]
    assert app.extensions["scribe"].settle(20)
    assert app.extensions["history"].call("CA1") == row
    assert statuses(app) == [("RE1", "answered")]
    assert len(mind.asked) == 1


def test_a_redis_that_is_away_for_a_moment_costs_no_answer(app, client, host, mind, redis_may_go):
    post(client, "/phone/incoming-call")
    mind.may.clear()
    answer = recorded(client, host)
    redis_may_go(False)
    mind.may.set()
    *_, last = verbs(answer)
    answer = post(client, last.text.removeprefix("http://localhost:5001"))
    assert verbs(answer)[-1].tag == "Redirect"
    redis_may_go(True)
    app.extensions["jobs"].submit("turn", "CA1", "RE1")
    assert said(followed(client, answer)) == "At nine."


def test_a_redis_that_stays_away_is_not_waited_for_for_ever(client, host, mind, redis_may_go):
    post(client, "/phone/incoming-call")
    mind.may.clear()
    answer = recorded(client, host)
    redis_may_go(False)
    answer = followed(client, answer)
    assert "message=1" in verbs(answer)[-1].text


def test_a_recording_told_of_while_redis_is_away_is_kept_for_later(app, client, host, mind, redis_may_go):
    redis_may_go(False)
    about = {"RecordingSid": "RE1", "RecordingStatus": "completed", "RecordingDuration": "2"}
    url = f"{host.url}/2010-04-01/Accounts/AC1/Recordings/RE1"
    assert post(client, "/phone/recording-status/CA1", RecordingUrl=url, **about).status_code == 204
    post(client, "/phone/recording-status/CA1", RecordingSid="RE2", RecordingStatus="absent")
    assert statuses(app) == [("RE1", "claimed"), ("RE2", "absent")]
    assert rows(app)[0]["account_sid"] == "AC1"


def test_a_caller_whom_nobody_knows_while_redis_is_away_is_not_hung_up_on(
    app, client, host, mind, redis_may_go
):
    redis_may_go(False)
    post(client, "/phone/recording-status/CA1", RecordingSid="RE1", RecordingStatus="completed")
    assert app.extensions["scribe"].settle(20)
    assert "message=1" in verbs(recorded(client, host))[-1].text


def test_a_database_that_is_away_ends_no_call(app, client, host, mind):
    class Away:
        def recording(self, sid):
            raise OperationalError("select", {}, OSError("no route"))

        call = turns = recording

    app.extensions["history"], real = Away(), app.extensions["history"]
    answer = recorded(client, host)  # of a call that nobody has begun here
    app.extensions["history"] = real
    assert said(followed(client, answer)) == "At nine."


def test_a_whole_call_that_comes_again_the_next_day_changes_nothing(app, client, host, mind):
    def call():
        post(client, "/phone/incoming-call")
        followed(client, recorded(client, host))
        about = {"CallStatus": "completed", "SequenceNumber": "1"}
        assert post(client, "/phone/call-status", **about).status_code == 204
        eventually(lambda: app.extensions["turn_book"].due(time.time() + 100, 9) == [])
        return rows(app), rows(app, "turns"), [app.extensions["history"].call("CA1")]

    first = call()
    history = app.extensions["history"]
    yesterday = first[2][0]["started_at"] - timedelta(days=1)
    with history._engine.begin() as connection:
        connection.execute(update(Call).values(started_at=yesterday))
    first[2][0]["started_at"] = yesterday
    app.extensions["live_store"].redis.flushall()
    mind.words = "Something else."
    assert call() == first
    assert len(mind.asked) == 1


def test_a_call_that_redis_has_forgotten_goes_on_where_it_was(app, client, host, mind):
    post(client, "/phone/incoming-call")
    followed(client, recorded(client, host, "RE1"))
    eventually(lambda: len(rows(app, "turns")) == 2)
    lose_all_memory(app)
    answer = followed(client, recorded(client, host, "RE2"))
    assert said(answer) == "At nine."
    eventually(lambda: len(rows(app, "turns")) == 4)
    assert [(turn["position"], turn["speaker"]) for turn in rows(app, "turns")] == [
        (0, "caller"),
        (1, "agent"),
        (2, "caller"),
        (3, "agent"),
    ]
    assert mind.asked[1][1] == ["When do you open?", "At nine."]
    mind.words = "Goodbye."
    assert tags(followed(client, recorded(client, host, "RE3"))) == ["Say", "Hangup"]
    assert app.extensions["scribe"].settle(20)
    call = app.extensions["history"].call("CA1")
    assert (call["ended_reason"], call["duration_ms"] is not None) == ("goodbye", True)


def test_a_status_that_comes_first_after_redis_lost_its_memory_takes_no_answer(app, client, host, mind):
    post(client, "/phone/incoming-call")
    assert app.extensions["scribe"].settle(20)
    lose_all_memory(app)
    told_complete(client, host, "RE1")
    assert said(followed(client, recorded(client, host))) == "At nine."


def test_a_recording_without_an_address_is_known_by_its_number(app, client, host, mind):
    post(client, "/phone/incoming-call")
    answer = post(client, "/phone/process-voice/CA1", RecordingSid="RE1", RecordingDuration="1")
    assert said(followed(client, answer)) == "At nine."


@pytest.mark.parametrize("number", ["9" * 5000, "\u0669\u0669", "-1", "1e99", "NaN", ""])
def test_odd_numbers_are_none(client, host, mind, number):
    post(client, "/phone/incoming-call")
    assert post(client, "/phone/call-status", SequenceNumber=number).status_code == 204
    assert said(followed(client, recorded(client, host, RecordingDuration=number))) == "At nine."
    assert post(client, f"/phone/process-voice/CA1?silences={number}").status_code == 200

"""The recording path's webhooks, by hand: what a carrier asks, what it is told, what is kept."""

from __future__ import annotations

import json
import threading
import time
import xml.etree.ElementTree as ET
from dataclasses import asdict
from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from flaskapp.phone.engines.turns import Answer
from flaskapp.phone.errors import EngineUnreachable
from flaskapp.store.tables import Call
from tests import servers
from tests.fake_recordings import RecordingHost, plain, recording, well

FORM = {"CallSid": "CA1", "From": "+15550001111", "To": "+15552223333", "AccountSid": "AC1"}
NOT_THERE = plain(404, b"{}", "application/json")


class Mind:
    """A stand-in for batch AI: answers when it may."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, list[str], bool]] = []
        self.words, self.fails = "When do you open?", False
        self.may = threading.Event()
        self.may.set()

    def answer(self, sound, history, agent, *, wants_reply=True, within_s=14.0):
        self.may.wait(30)
        if self.fails:
            raise EngineUnreachable("down")
        self.asked.append((sound.duration_ms, [line.text for line in history], wants_reply))
        return Answer(self.words, "At nine." if wants_reply else "", {"input_tokens": 3})

    def speak(self, text, agent, within_s=6.0):
        return recording(0.3)


@pytest.fixture
def host():
    with RecordingHost((well(),)) as running:
        yield running


@pytest.fixture
def config(config, host):
    return {**config, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "TWILIO_API_BASE_URL": host.url}


@pytest.fixture
def mind(app):
    own = Mind()
    app.extensions["recorded_turns"]._ai = own
    yield own
    own.may.set()


def post(client, path, **form):
    return client.post(path, data={**FORM, **form}, base_url="http://localhost:5001")


def verbs(answer):
    assert answer.status_code == 200, answer.data
    return list(ET.fromstring(answer.data))


def tags(answer):
    return [verb.tag for verb in verbs(answer)]


def said(answer):
    return " ".join(verb.text for verb in verbs(answer) if verb.tag == "Say")


def recorded(client, host, sid="RE1", path="/phone/process-voice/CA1", **form):
    """The carrier brings a recording."""
    url = f"{host.url}/2010-04-01/Accounts/AC1/Recordings/{sid}"
    about = {"RecordingUrl": url, "RecordingSid": sid, "RecordingDuration": "1", "Digits": "", **form}
    return post(client, path, **about)


def followed(client, answer):
    """What the carrier gets when it follows redirects until it may do something."""
    for _ in range(40):
        *_, last = verbs(answer)
        if last.tag != "Redirect" or "turn=" not in last.text:
            return answer
        answer = post(client, last.text.removeprefix("http://localhost:5001"))
    raise AssertionError("redirected for ever")


def rows(app, query="recordings"):
    assert app.extensions["scribe"].settle(20)
    return getattr(app.extensions["history"], query)("CA1")


def statuses(app):
    return [(row["recording_sid"], row["status"]) for row in rows(app)]


def eventually(condition):
    servers.wait_until(condition, "it did not happen", 30)


def test_a_call_is_greeted_and_recorded(app, client):
    answer = post(client, "/phone/incoming-call")
    assert tags(answer) == ["Say", "Say", "Record", "Redirect"]
    assert verbs(answer)[2].get("action") == "http://localhost:5001/phone/process-voice/CA1"
    assert app.extensions["scribe"].settle(20)
    assert app.extensions["history"].call("CA1")["mode"] == "recorded"


def test_consent_is_asked_for_before_anything_is_recorded(config):
    from flaskapp import create_app

    client = create_app({**config, "CONSENT_TEXT": "This call is recorded."}).test_client()
    answer = post(client, "/phone/incoming-call")
    assert "This call is recorded." in said(answer)


def test_a_turn_is_answered_and_the_next_one_recorded(app, client, host, mind):
    post(client, "/phone/incoming-call")
    answer = followed(client, recorded(client, host))
    assert tags(answer) == ["Say", "Record", "Redirect"]
    assert said(answer) == "At nine."
    turns = rows(app, "turns")
    assert [(turn["speaker"], turn["text"], turn["mode"]) for turn in turns] == [
        ("caller", "When do you open?", "recorded"),
        ("agent", "At nine.", "recorded"),
    ]
    assert statuses(app) == [("RE1", "answered")]


def test_the_next_turn_knows_what_was_said_before(client, host, mind):
    post(client, "/phone/incoming-call")
    followed(client, recorded(client, host, "RE1"))
    followed(client, recorded(client, host, "RE2"))
    assert [said for _, said, _ in mind.asked] == [[], ["When do you open?", "At nine."]]


def test_duplicates_are_answered_and_nothing_is_done_twice(app, client, host, mind):
    post(client, "/phone/incoming-call")
    answers = [followed(client, recorded(client, host)) for _ in range(3)]
    assert {said(answer) for answer in answers} == {"At nine."}
    assert len(mind.asked) == 1
    assert statuses(app) == [("RE1", "answered")]
    assert len(rows(app, "turns")) == 2


def test_while_the_answer_is_awaited_the_carrier_pauses_and_asks_again(client, host, mind):
    mind.may.clear()
    post(client, "/phone/incoming-call")
    answer = recorded(client, host)
    assert tags(answer) == ["Pause", "Redirect"]
    assert "/phone/process-voice/CA1?turn=RE1&poll=1" in verbs(answer)[-1].text
    again = post(client, "/phone/process-voice/CA1?turn=RE1&poll=1")
    assert tags(again) == ["Say", "Redirect"]
    mind.may.set()
    assert said(followed(client, again)) == "At nine."


def test_an_answer_that_takes_too_long_is_apologised_for(app, client, host, mind):
    mind.may.clear()
    post(client, "/phone/incoming-call")
    recorded(client, host)
    book = app.extensions["turn_book"]
    claimed = book.find("CA1", "RE1")
    book.redis.hset(
        "turn:CA1:RE1", "turn", json.dumps({**asdict(claimed), "claimed_at": claimed.claimed_at - 21})
    )
    answer = post(client, "/phone/process-voice/CA1?turn=RE1&poll=9")
    assert "sorry" in said(answer)
    assert "message=1" in verbs(answer)[-2].get("action")


def test_a_recording_that_is_not_there_yet_is_asked_for_again(client, host, mind):
    host.answers = (
        NOT_THERE,
        NOT_THERE,
        well(),
    )
    post(client, "/phone/incoming-call")
    assert said(followed(client, recorded(client, host))) == "At nine."
    assert len(host.asked) == 3


def test_a_page_in_the_place_of_a_recording_may_pass(client, host, mind):
    host.answers = (plain(200, b"<html>try again</html>", "text/html"), well())
    post(client, "/phone/incoming-call")
    assert said(followed(client, recorded(client, host))) == "At nine."


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (plain(200, b"<html>no</html>", "text/html"), "not_audio"),
        (plain(200, b"", "audio/x-wav"), "not_audio"),
        (plain(401, b"no"), "waiting"),  # credentials may be put right
    ],
)
def test_what_is_no_recording_is_apologised_for_and_recorded_again(app, client, host, mind, given, status):
    host.answers = (given,)
    post(client, "/phone/incoming-call")
    answer = followed(client, recorded(client, host))
    assert tags(answer) == ["Say", "Record", "Redirect"]
    assert "sorry" in said(answer)
    assert "troubles=1" in verbs(answer)[1].get("action")
    eventually(lambda: statuses(app) == [("RE1", status)])
    assert mind.asked == []


def test_three_recordings_in_vain_lead_to_a_message(client, host, mind):
    host.answers = (plain(200, b"<html>no</html>", "text/html"),)
    post(client, "/phone/incoming-call")
    path = "/phone/process-voice/CA1?troubles=2"
    answer = followed(client, recorded(client, host, path=path))
    assert "message=1" in verbs(answer)[-2].get("action")


def test_silence_is_asked_about_then_the_call_ends(app, client, mind):
    post(client, "/phone/incoming-call")
    first = post(client, "/phone/process-voice/CA1?silences=1")
    assert tags(first) == ["Say", "Record", "Redirect"]
    assert verbs(first)[-1].text.endswith("silences=2")
    last = post(client, "/phone/process-voice/CA1?silences=2")
    assert tags(last) == ["Say", "Hangup"]
    assert app.extensions["scribe"].settle(20)
    assert app.extensions["history"].call("CA1")["ended_reason"] == "caller_silent"


def test_a_recording_of_nothing_counts_as_silence(app, client, host, mind):
    host.answers = (plain(200, recording(1.0)[:44] + bytes(16000)),)
    post(client, "/phone/incoming-call")
    answer = followed(client, recorded(client, host))
    assert "did not hear" in said(answer)
    eventually(lambda: statuses(app) == [("RE1", "silent")])


def test_goodbye_is_answered_and_ends_the_call(app, client, host, mind):
    mind.words = "That's all, thank you. Goodbye."
    post(client, "/phone/incoming-call")
    answer = followed(client, recorded(client, host))
    assert tags(answer) == ["Say", "Hangup"]
    assert app.extensions["scribe"].settle(20)
    assert app.extensions["history"].call("CA1")["ended_reason"] == "goodbye"


def test_a_caller_who_hung_up_is_still_understood(app, client, host, mind):
    post(client, "/phone/incoming-call")
    answer = recorded(client, host, Digits="hangup", CallStatus="completed")
    assert tags(answer) == ["Hangup"]
    eventually(lambda: statuses(app) == [("RE1", "understood")])
    assert [turn["text"] for turn in rows(app, "turns")] == ["When do you open?"]
    assert [wants for _, _, wants in mind.asked] == [False]


def test_with_ai_down_the_caller_is_told_and_the_words_are_understood_later(app, client, host, mind):
    mind.fails = True
    post(client, "/phone/incoming-call")
    answer = followed(client, recorded(client, host))
    assert "cannot answer right now" in said(answer)
    assert "message=1" in verbs(answer)[-2].get("action")
    left = recorded(client, host, "RE2", path="/phone/process-voice/CA1?message=1")
    assert tags(left) == ["Say", "Hangup"]
    assert "kept" in said(left)
    eventually(lambda: dict(statuses(app)) == {"RE1": "waiting", "RE2": "waiting"})
    mind.fails = False
    sweeper = app.extensions["sweeper"]

    def all_understood():
        sweeper.sweep(time.time() + 3600)
        return dict(statuses(app)) == {"RE1": "understood", "RE2": "understood"}

    eventually(all_understood)
    assert sorted(turn["item"] for turn in rows(app, "turns")) == ["RE1", "RE2"]


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


def told_complete(client, host, sid):
    return post(
        client, "/phone/recording-status/CA1", RecordingSid=sid, RecordingStatus="completed",
        RecordingUrl=f"{host.url}/2010-04-01/Accounts/AC1/Recordings/{sid}", RecordingDuration="1",
    )  # fmt: skip


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


@pytest.fixture
def redis_may_go(app):
    """Says whether Redis, which is inside this process, answers."""
    server = app.extensions["live_store"].redis.connection_pool.connection_kwargs["server"]

    def is_there(answers):
        server.connected = answers

    yield is_there
    server.connected = True


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


def test_answers_can_be_played(config, host):
    from flask_migrate import upgrade

    from flaskapp import create_app

    app = create_app({**config, "REPLY_VOICE": "play"})
    with app.app_context():
        upgrade()
    app.extensions["recorded_turns"]._ai = Mind()
    client = app.test_client()
    post(client, "/phone/incoming-call")
    play, record, _ = verbs(followed(client, recorded(client, host)))
    assert (play.tag, record.tag) == ("Play", "Record")
    sound = client.get(play.text.removeprefix("http://localhost:5001"))
    assert (sound.status_code, sound.mimetype, sound.data[:4]) == (200, "audio/wav", b"RIFF")
    assert client.get(play.text.removeprefix("http://localhost:5001")[:-3] + "abc").status_code == 404


def test_without_an_engine_a_message_is_taken(config, host):
    from flaskapp import create_app

    client = create_app({**config, "OPENAI_BASE_URL": ""}).test_client()
    answer = post(client, "/phone/incoming-call")
    assert "cannot answer right now" in said(answer)
    assert "message=1" in verbs(answer)[-2].get("action")


def test_unsigned_strangers_are_refused(config):
    from flaskapp import create_app

    client = create_app({**config, "FLASK_BASE_URL": "https://v.example.com"}).test_client()
    for path in ("incoming-call", "process-voice/CA1", "recording-status/CA1"):
        assert post(client, f"/phone/{path}").status_code == 403


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


# ---------------------------------------------------------------------- what Redis has lost


def lose_all_memory(app):
    app.extensions["live_store"].redis.flushall()
    app.extensions["live_store"]._own.clear()
    app.extensions["live_store"]._own_lines.clear()


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

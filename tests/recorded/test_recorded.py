"""The recording path's webhooks, by hand: what a carrier asks, what it is told, what is kept."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

import pytest

from tests.fake_recordings import plain, recording, well
from tests.recorded.calls import Mind, eventually, followed, post, recorded, rows, said, statuses, tags, verbs

NOT_THERE = plain(404, b"{}", "application/json")


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


def test_the_next_turn_knows_what_was_said_before(app, client, host, mind):
    post(client, "/phone/incoming-call")
    followed(client, recorded(client, host, "RE1"))
    eventually(lambda: statuses(app) == [("RE1", "answered")])
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


# ---------------------------------------------------------------------- what Redis has lost

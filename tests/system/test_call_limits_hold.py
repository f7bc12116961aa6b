"""A call on the running app: silence, keys, limits, a known greeting, sessions that are renewed."""

from __future__ import annotations

import pytest

from flaskapp.simulator.person import Script, Utterance
from tests.behaviour import Behaviour, Turn, Usage, billing
from tests.system.holding import caller, row

pytestmark = pytest.mark.system


def test_a_caller_who_says_nothing_is_asked_once_and_then_let_go(house):
    office = house()
    report = office.place(script=caller(0), seconds=90)
    assert report.ended_by == "network"
    asked = [each.get("response", {}).get("instructions", "") for each in
             office.engine.sessions[-1].of_type("response.create")]  # fmt: skip
    assert len(asked) == 3  # the greeting, the question, the goodbye
    assert report.goodbye_to_hangup_ms <= 1000
    assert row(office, report.call_sid, "ended_reason", "outcome") == ("caller_silent", "nothing_said")


def test_keys_reach_the_engine_as_text_and_the_transcript_too(house):
    office = house()
    script = Script((Utterance(digits="42#"),), quiet_ms=500, greeting_wait_s=12, hang_up="politely")
    report = office.place(script=script, seconds=60)
    session, keys = office.engine.sessions[-1], "[keys pressed: 4 2 #]"
    items = [item["item"] for item in session.of_type("conversation.item.create")]
    assert [item["content"][0]["text"] for item in items if item["role"] == "user"] == [keys]
    assert len(session.of_type("response.create")) == 2  # the greeting, and one for the keys
    turns = office.turns(report.call_sid, at_least=3)
    assert [turn["text"] for turn in turns if turn["speaker"] == "caller"] == [keys]


def test_a_call_that_lasts_too_long_ends_with_a_sentence(house):
    office = house({"MAX_CALL_SECONDS": "8"})
    report = office.place(script=caller(9), seconds=90)
    assert report.ended_by == "network"
    assert report.cleared_ms == 0
    last = office.engine.sessions[-1].of_type("response.create")[-1]
    assert "time for this call is up" in last["response"]["instructions"]
    assert row(office, report.call_sid, "ended_reason", "outcome") == ("max_duration", "limit")


def test_a_call_that_costs_too_much_ends_politely_and_its_row_says_why(house):
    office = house({"MAX_CALL_COST_USD": "0.30", "PRICES_USD_PER_MILLION": "output_audio_tokens=64"})
    office.engine.behaviour = Behaviour(usage=billing(2.0, 64.0))
    report = office.place(script=caller(60), seconds=120)
    assert report.ended_by == "network"
    assert report.duration_s < 60  # two dollars a minute: thirty cents are used up after 9 s
    last = office.engine.sessions[-1].of_type("response.create")[-1]
    assert "limit" in last["response"]["instructions"]
    reason, outcome, cost_usd = row(office, report.call_sid, "ended_reason", "outcome", "cost_usd")
    assert (reason, outcome) == ("max_cost", "limit")
    assert 0.30 <= cost_usd < 1.20


def test_a_second_caller_hears_the_greeting_at_once(house):
    office = house()
    office.engine.behaviour = Behaviour(reply_ms=1200, creates=(Turn("Hello."),))
    office.place(script=caller(1, hang_up="politely"), seconds=60)
    report = office.place(script=caller(1, hang_up="politely"), seconds=60)
    assert report.answered
    session = office.engine.sessions[-1]
    recited = [item["item"] for item in session.of_type("conversation.item.create")]
    assert [(item["role"], item["content"][0]["text"]) for item in recited] == [("assistant", "Hello.")]
    assert session.of_type("response.create") == []
    assert report.first_sound_after_start_ms < 1000
    assert office.turns(report.call_sid, at_least=3)[0]["text"] == "Hello."


def test_a_session_is_renewed_before_the_engine_ends_it(house):
    office = house({"ENGINE_SESSION_SECONDS": "10"})
    office.engine.behaviour = Behaviour(expires_after_s=10.0, numbers_replies=True, usage=Usage())
    report = office.place(script=caller(200, hang_up="politely"), seconds=45)
    sessions = [each for each in office.engine.sessions if each.session]
    assert len(sessions) >= 4
    for number, session in enumerate(sessions[1:], start=1):
        recited = [item["item"] for item in session.of_type("conversation.item.create")]
        assert recited[0]["role"] == "assistant"  # from the greeting on
        assert len(recited) >= number
        assert session.offences == []
    greeted = [each for session in sessions for each in session.of_type("response.create")
               if "Greet" in each.get("response", {}).get("instructions", "")]  # fmt: skip
    assert len(greeted) == 1
    assert len(report.streams) == 1

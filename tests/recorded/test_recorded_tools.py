"""Tools in the recording path: what the agent may do for a caller who is recorded, once each."""

from __future__ import annotations

import sys
import time
from types import ModuleType

import pytest

from flaskapp.phone.directives import TransferTo
from flaskapp.phone.tools import tool
from flaskapp.store.turns import Turn
from tests.recorded.calls import (
    eventually,
    followed,
    post,
    recorded,
    said,
    statuses,
    tags,
    verbs,
)

AGENTS = "transfer_number: {sales: '+15557654321'}\nlanguage: en\n"


@pytest.fixture
def booked(monkeypatch):
    """A tool of the house's own, and what it did."""
    done: list[str] = []

    @tool
    def book_table(guests: int) -> str:
        """Book a table.

        Args:
            guests: How many come.
        """
        done.append(str(guests))
        return f"booked for {guests}"

    module = ModuleType("tables_for_tests")
    module.book_table = book_table
    monkeypatch.setitem(sys.modules, "tables_for_tests", module)
    return done


@pytest.fixture
def config(config, tmp_path, booked):
    (tmp_path / "agents.yaml").write_text(AGENTS)
    return {**config, "AGENT_FILE": str(tmp_path / "agents.yaml"), "TOOLS": "tables_for_tests"}


@pytest.fixture
def asked(client, host, mind):
    """The answer to one recorded question, where the agent uses these tools."""

    def ask(*uses, sid="RE1"):
        mind.uses = list(uses)
        post(client, "/phone/incoming-call")
        return followed(client, recorded(client, host, sid))

    return ask


def call(app):
    assert app.extensions["scribe"].settle(20)
    return app.extensions["history"].call("CA1")


def test_a_tool_is_carried_out_and_answered(asked, mind, booked):
    answer = asked(("book_table", {"guests": 4}))
    assert said(answer) == "At nine."
    assert (booked, mind.told) == (["4"], ["booked for 4"])
    assert {"end_call", "take_message", "transfer_to_human", "book_table"} <= set(mind.offered)


def test_the_agent_ends_the_call_after_its_answer(app, asked):
    answer = asked(("end_call", {}))
    assert (tags(answer), said(answer)) == (["Say", "Hangup"], "At nine.")
    assert call(app)["ended_reason"] == "goodbye"


def test_the_agent_hands_over_to_a_person_after_its_answer(asked):
    answer = asked(("transfer_to_human", {"destination": "sales"}))
    say, dial = verbs(answer)
    assert (say.text, dial[0].text) == ("At nine.", "+15557654321")
    assert dial.get("action") == "http://localhost:5001/phone/transfer-ended/CA1?destination=sales"


@pytest.mark.parametrize("wish", ["+19005551234", "head office", ""])
def test_no_number_from_speech_is_dialled(asked, mind, wish):
    answer = asked(("transfer_to_human", {"destination": wish}))
    assert tags(answer) == ["Say", "Record", "Redirect"]
    assert len(mind.told) == 1


def test_a_number_that_is_configured_no_longer_is_not_dialled(app, asked, monkeypatch):
    gone = [TransferTo("gone", "+19005551234")]
    monkeypatch.setattr("flaskapp.phone.recorded.from_json", lambda kept: gone)
    assert tags(asked()) == ["Say", "Record", "Redirect"]


def test_a_message_is_in_the_calls_history(app, asked):
    asked(("take_message", {"text": "Call me back", "name": "Ann", "callback": "555 1234"}))
    eventually(lambda: statuses(app) == [("RE1", "answered")])
    assert call(app)["message"] == {"text": "Call me back", "name": "Ann", "callback": "555 1234"}
    assert "message" in app.extensions["live_store"].recall("CA1")


def test_what_is_left_after_the_tone_is_a_message_too(app, client, host, mind):
    post(client, "/phone/incoming-call")
    recorded(client, host, path="/phone/process-voice/CA1?message=1")
    eventually(lambda: statuses(app) == [("RE1", "understood")])
    assert call(app)["message"]["text"] == "When do you open?"
    assert mind.offered == [], "a message asks for nothing to be done"


def test_what_a_caller_says_who_has_gone_uses_no_tool(app, client, host, mind, booked):
    mind.uses = [("book_table", {"guests": 4})]
    post(client, "/phone/incoming-call")
    recorded(client, host, Digits="hangup", CallStatus="completed")
    eventually(lambda: statuses(app) == [("RE1", "understood")])
    assert booked == []


class Killed(BaseException):
    """The worker is gone in the middle of a turn."""


def test_a_tool_is_carried_out_once_however_often_the_job_is_begun(app, mind, booked):
    mind.uses, mind.dies_of = [("book_table", {"guests": 4})], Killed()
    app.extensions["live_store"].begin("CA1")
    app.extensions["turn_book"].claim(
        Turn("CA1", "RE1", "recording", account_sid="AC1", claimed_at=time.time())
    )
    work = app.extensions["recorded_turns"].perform
    for _ in range(2):
        with pytest.raises(Killed):
            work("CA1", "RE1")
    mind.dies_of = None
    work("CA1", "RE1")
    assert statuses(app) == [("RE1", "answered")]
    assert (booked, mind.told) == (["4"], ["booked for 4"] * 3)

"""A call on the running app ends when it should, hands over to a person, and takes messages."""

from __future__ import annotations

import json

import pytest

from flaskapp.simulator.spec import DialOutcome, Faults
from tests.behaviour import Behaviour, Turn
from tests.system.holding import SALES, caller, row, use

pytestmark = pytest.mark.system


def test_the_agent_says_goodbye_and_hangs_up_once_it_was_heard(house):
    office = house()
    office.engine.behaviour = Behaviour(turns=(Turn("Thank you, goodbye.", (use("end_call"),), ms=1500),))
    report = office.place(script=caller(), seconds=60)
    assert report.ended_by == "network"
    assert report.cleared_ms == 0  # all of it was heard
    assert 0 <= report.goodbye_to_hangup_ms <= 1000
    session = office.engine.sessions[-1]
    assert session.conversation.tool_debts() == session.offences == []
    assert row(office, report.call_sid, "ended_reason", "outcome") == ("goodbye", "answered")


def test_an_agent_that_only_calls_the_function_says_goodbye_first(house):
    office = house()
    office.engine.behaviour = Behaviour(turns=(Turn("", (use("end_call"),)),))
    report = office.place(script=caller(), seconds=60)
    assert report.ended_by == "network"
    assert "goodbye" in office.engine.sessions[-1].of_type("response.create")[-1]["response"]["instructions"]
    assert report.goodbye_to_hangup_ms <= 1000


def test_a_caller_is_joined_to_sales_and_the_call_is_over_then(house):
    office = house()
    office.engine.behaviour = Behaviour(
        turns=(Turn("I am connecting you.", (use("transfer_to_human", destination="sales"),), ms=1500),)
    )
    answered = {SALES: DialOutcome("answered", after_s=1.0, talked_s=3.0)}
    report = office.place(script=caller(), seconds=60, dials=answered)
    assert [(dial.number, dial.status) for dial in report.dials] == [(SALES, "completed")]
    assert report.dials[0].cut_ms == 0  # the announcement was heard
    assert row(office, report.call_sid, "ended_reason", "outcome") == ("transferred", "transferred")


@pytest.mark.parametrize("update", ["well", "error", "hangs"])
def test_a_transfer_that_nobody_answers_comes_back_to_the_agent(house, update):
    office = house()
    first = Behaviour(turns=(Turn("One moment.", (use("transfer_to_human", destination="sales"),), ms=800),))
    office.engine.script.append(first)
    report = office.place(
        script=caller(2, hang_up="politely"),
        seconds=90,
        dial=DialOutcome("busy", after_s=1.0),
        faults=Faults(updates=(update,)),
    )
    assert [(dial.number, dial.status) for dial in report.dials] == [(SALES, "busy")]
    assert len(report.streams) == 2
    before, after = office.engine.sessions[-2:]
    assert [len(each) for each in before.conversation.outputs.values()] == [1]
    recited = [item["item"] for item in after.of_type("conversation.item.create")]
    assert [item for item in recited if item["type"] == "function_call"]
    assert any(item.get("role") == "system" and "sales" in json.dumps(item) for item in recited)
    assert len(after.of_type("response.create")) == 1  # told, and not greeted again
    said = [turn["speaker"] for turn in office.turns(report.call_sid, at_least=5) if turn["text"]]
    assert said[:3] == ["agent", "caller", "agent"]
    assert said.count("caller") == 2
    assert row(office, report.call_sid, "ended_reason")[0] == "caller_hung_up"
    assert before.offences == after.offences == []


def test_a_number_that_was_only_spoken_of_is_never_dialled(house):
    office = house()
    office.engine.behaviour = Behaviour(
        turns=(Turn("", (use("transfer_to_human", destination="+15550199999"),)),)
    )
    report = office.place(script=caller(2, hang_up="politely"), seconds=60)
    assert report.dials == []
    assert report.dialled == []
    session = office.engine.sessions[-1]
    assert session.conversation.tool_debts() == []
    ((output,),) = session.conversation.outputs.values()
    assert "sales" in output  # it is told what there is
    assert report.answered


def test_a_message_is_taken_once_and_kept(house):
    office = house()
    taken = use("take_message", text="Please call me back", name="Grace", callback="+15550123")
    office.engine.behaviour = Behaviour(turns=(Turn("", (taken, taken)),))
    report = office.place(script=caller(1, hang_up="politely"), seconds=60)
    message, outcome = row(office, report.call_sid, "message", "outcome")
    assert json.loads(message)["text"] == "Please call me back"
    assert outcome == "message"
    assert office.engine.sessions[-1].conversation.tool_debts() == []

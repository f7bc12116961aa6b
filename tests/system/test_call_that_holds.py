"""A call on the running app ends when it should, hands over to a person, and costs no more than it may."""

from __future__ import annotations

import json
import textwrap

import pytest

from flaskapp.simulator.person import Script, Utterance
from flaskapp.simulator.sounds import tone
from flaskapp.simulator.spec import DialOutcome, Faults
from tests.behaviour import Behaviour, ToolUse, Turn, Usage, billing

pytestmark = pytest.mark.system

SALES = "+15550100001"
AGENT_FILE = f"""
name: Ada
greeting: Hello.
transfer_number:
  sales: "{SALES}"
"""


def caller(count: int = 1, hang_up: str = "never", **more) -> Script:
    said = tuple(Utterance(tone(1.0, 300 + 20 * at), name=f"line {at}") for at in range(count))
    return Script(said, quiet_ms=500, greeting_wait_s=12, reply_wait_s=20, hang_up=hang_up, **more)


@pytest.fixture
def house(rescue, tmp_path):
    """An office whose agent may transfer to sales."""

    def open_house(settings=None, agent=AGENT_FILE):
        file = tmp_path / "agent.yaml"
        file.write_text(textwrap.dedent(agent))
        return rescue({"AGENT_FILE": str(file), "AGENT_GREETING": "", **(settings or {})})

    return open_house


def row(office, call_sid, *fields):
    """The call's row once it has ended and is settled."""
    found = office.rows(
        f"select {', '.join(fields)} from calls where call_sid = ? and outcome is not null",
        call_sid,
        at_least=1,
        within_s=60,
    )
    return tuple(found[0])


def use(function, **arguments):
    return ToolUse(function, json.dumps(arguments))


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
    office.engine.behaviour = Behaviour(usage=billing(0.50, 64.0))
    report = office.place(script=caller(60), seconds=120)
    assert report.ended_by == "network"
    assert report.duration_s < 75  # half a dollar a minute: thirty cents are used up after 36 s
    last = office.engine.sessions[-1].of_type("response.create")[-1]
    assert "limit" in last["response"]["instructions"]
    reason, outcome, cost_usd = row(office, report.call_sid, "ended_reason", "outcome", "cost_usd")
    assert (reason, outcome) == ("max_cost", "limit")
    assert 0.30 <= cost_usd < 0.60


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
    office = house({"ENGINE_SESSION_SECONDS": "20"})
    office.engine.behaviour = Behaviour(expires_after_s=20.0, numbers_replies=True, usage=Usage())
    report = office.place(script=caller(200, hang_up="politely"), seconds=75)
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

"""A call over Exotel on the running app: it ends, is handed over, comes back, and no word is lost."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import requests

from flaskapp.phone.audio import mulaw_to_pcm16
from flaskapp.simulator.spec import DialOutcome, Faults, Flow
from tests import servers
from tests.behaviour import Behaviour, Turn
from tests.fakes import tone
from tests.system.exotel_line import exotel_line
from tests.system.holding import caller, row, use
from tests.viewer import Viewer

pytestmark = pytest.mark.system

RATES = [(8000, "snake"), (16_000, "camel"), (24_000, "snake")]


def asked(report) -> list[tuple[str, int]]:
    """The flow's questions, and what they were answered."""
    return [(each.url.rpartition("ask=")[2].partition("&")[0], each.status) for each in report.webhooks]


def place(office, **wanted):
    report = office.place(url=office.app.url, carrier="exotel", status_callback="", **wanted)
    assert not report.violations
    return report


@pytest.mark.parametrize(("rate_hz", "spelling"), RATES)
def test_the_agent_says_goodbye_and_hangs_up_once_it_was_heard(house, rate_hz, spelling):
    office = house()
    office.engine.behaviour = Behaviour(turns=(Turn("Thank you, goodbye.", (use("end_call"),), ms=1500),))
    report = place(office, script=caller(), seconds=60, sample_rate_hz=rate_hz, spelling=spelling)
    assert not report.failed, report.problems
    assert report.cleared_ms == 0  # all of it was heard
    assert asked(report) == [("over", 200)]
    session = office.engine.sessions[-1]
    assert session.conversation.tool_debts() == session.offences == []
    wanted = "audio/pcmu" if rate_hz == 8000 else "audio/pcm"
    assert session.session["audio"]["output"]["format"]["type"] == wanted
    assert row(office, report.call_sid, "ended_reason", "outcome") == ("goodbye", "answered")
    (known,) = office.rows("select carrier, mode from calls where call_sid = ?", report.call_sid)
    assert tuple(known) == ("exotel", "live")


def test_a_caller_is_connected_to_sales_by_the_flow(house):
    office = house()
    office.engine.behaviour = Behaviour(
        turns=(Turn("I am connecting you.", (use("transfer_to_human", destination="sales"),), ms=1500),)
    )
    answered = {"": DialOutcome("answered", after_s=1.0, talked_s=3.0)}
    report = place(office, script=caller(), seconds=60, dials=answered)
    assert asked(report) == [("over", 302), ("resume", 302), ("transfer", 200)]
    assert len(report.dials) == 1
    assert report.dials[0].cut_ms == 0  # the announcement was heard
    assert row(office, report.call_sid, "ended_reason", "outcome") == ("transferred", "transferred")
    assert not office.rows(
        "select kind from events where kind = 'transfer_refused'"
    )  # nobody was to be asked


def test_a_stream_that_breaks_off_goes_on_in_the_next_voicebot(house):
    office = house()
    office.engine.behaviour.numbers_replies = True
    report = place(
        office,
        script=caller(3, hang_up="politely"),
        seconds=90,
        sample_rate_hz=16_000,
        faults=Faults(break_at_ms=6000),
    )
    assert len(report.streams) == 2
    assert asked(report)[:2] == [("over", 302), ("resume", 200)]
    before, after = office.engine.sessions[-2:]
    assert after.of_type("conversation.item.create"), "it was told nothing of what was said"
    assert before.offences == after.offences == []
    spoken = [turn for turn in office.turns(report.call_sid, at_least=5) if turn["text"]]
    assert [turn["text"] for turn in spoken].count("Hello.") <= 1
    assert row(office, report.call_sid, "ended_reason")[0] == "caller_hung_up"


def test_a_caller_without_live_ai_goes_on_in_the_flow_and_what_he_said_is_understood(house, door, batch):
    office = house()
    office.engine.behaviour = Behaviour(stalls=True)
    office.engine.script.extend([Behaviour(dies_after_ms=300)])
    batch.hears = "Please call me back."
    report = place(office, script=caller(2), seconds=60)
    assert asked(report)[0] == ("over", 302)
    assert asked(report)[-1] == ("transfer", 302)
    assert report.recordings, "the flow's voicemail was never reached"
    assert row(office, report.call_sid, "ended_reason")[0] == "handed_over"


def test_a_caller_who_hangs_up_leaves_a_closed_book(house):
    office = house()
    report = place(office, script=caller(1, hang_up="politely"), seconds=60, sample_rate_hz=24_000)
    assert not report.failed, report.problems
    assert asked(report) == [("over", 200)]
    lines = [(turn["speaker"], turn["text"]) for turn in office.turns(report.call_sid, at_least=3)]
    assert [speaker for speaker, _ in lines[:3]] == ["agent", "caller", "agent"]
    ended = row(office, report.call_sid, "ended_reason", "outcome", "status")
    assert ended == ("caller_hung_up", "answered", "completed")


def test_an_interruption_takes_back_what_was_not_played(house):
    office = house()
    office.engine.behaviour = Behaviour(reply_ms=8000, speech_after_ms=100)
    first, second = caller(2).utterances
    impatient = replace(second, interrupts_after_ms=1500)
    script = replace(caller(hang_up="politely"), utterances=(first, impatient))
    place(office, script=script, seconds=60)
    (session,) = office.engine.sessions
    cuts = session.of_type("conversation.item.truncate")
    assert cuts, "the engine was never told what was heard"
    assert all(0 < cut["audio_end_ms"] < 8000 for cut in cuts)
    assert session.offences == []


def test_a_call_after_which_nobody_asks_is_closed_all_the_same(house):
    """A flow without a Passthru: the sweeper does it."""
    office = house()
    nobody = Flow(passthru_url="http://127.0.0.1:9/nobody", passthru_s=1.0)
    faults = Faults(break_at_ms=5000)
    report = office.place(
        url=office.app.url, carrier="exotel", script=caller(2), seconds=15, flow=nobody, faults=faults
    )
    assert row(office, report.call_sid, "ended_reason")[0] == "carrier_lost"


def test_on_a_one_way_stream_the_app_only_listens(house):
    office = house()
    script = replace(caller(2), greeting_wait_s=1.0, reply_wait_s=1.0)
    report = place(office, script=script, seconds=12, flow=Flow(is_one_way=True))
    session = office.engine.sessions[-1]
    assert not session.of_type("response.create")
    assert not session.session["audio"]["input"]["turn_detection"]["create_response"]
    said = [turn["speaker"] for turn in office.turns(report.call_sid, at_least=1)]
    assert set(said) == {"caller"}


def test_a_caller_whom_nobody_took_comes_back_to_the_agent_who_knows(house):
    """The flow leads from its Connect to another Voicebot."""
    office = house()
    office.engine.behaviour = Behaviour(
        turns=(Turn("I am connecting you.", (use("transfer_to_human", destination="sales"),), ms=800),)
    )
    with exotel_line(office.app.url, "back-1") as line:
        line.starts()
        office.engine.wait_for(lambda fake: fake.sessions and fake.sessions[0].session)
        before = Viewer(office.app.url, "back-1")
        line.speaks(mulaw_to_pcm16(tone(900, 16, seed=3)) + bytes(16_000))
        assert line.wait_closed() == 1000
    asked = {ask: requests.get(f"{office.app.url}/exotel/passthru?CallSid=back-1&ask={ask}", timeout=30)
             for ask in ("over", "transfer")}  # fmt: skip
    assert (asked["over"].status_code, asked["transfer"].status_code) == (302, 200)
    assert before.wait() == (1000, "")
    with exotel_line(office.app.url, "back-1") as line:
        line.starts(stream_sid="s2")
        whole = Viewer(office.app.url, "back-1")
        rest = Viewer(office.app.url, {"call_sid": "back-1", "after": len(before.told)})
        session = office.engine.wait_for(lambda fake: len(fake.sessions) > 1 and fake.sessions[1])
        office.engine.wait_for(lambda _: session.of_type("response.create"))
        told = json.dumps(session.of_type("conversation.item.create"))
        assert "could not be reached" in told
        assert "I am connecting you." in told
        rest.wait_for(1)
        line.stops()
        assert line.wait_closed() == 1000
    assert whole.wait() == rest.wait() == (1000, "")
    whole.check()
    rest.check(after=len(before.told))
    assert whole.told == before.told[:-1] + whole.told[len(before.told) - 1 : len(before.told)] + rest.told
    assert [each.get("event") for each in whole.told].count("call_ended") == 1
    assert rest.lines, "nobody hears what is said now"
    servers.wait_until(
        lambda: row(office, "back-1", "ended_reason") == ("caller_hung_up",), "its end is not known"
    )
    with exotel_line(office.app.url, "back-1") as line:
        line.starts(stream_sid="s3")
        assert line.wait_closed() == 1008  # now it is over for good

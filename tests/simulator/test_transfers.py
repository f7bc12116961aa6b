"""``<Dial>`` on the simulated network: who is rung, what comes of it, and what is written down."""

from __future__ import annotations

import asyncio

import pytest
from twilio.twiml.voice_response import Dial, VoiceResponse

from flaskapp.simulator import sounds
from flaskapp.simulator.person import Script
from flaskapp.simulator.spec import DialOutcome
from tests.simulator.stage import SILENT, Stage, stage
from tests.simulator.stub_bridge import Leg, hanging_up
from tests.simulator.test_live_calls_by_rest import client, rest, until_streaming

SALES, BOSS = "+15550001111", "+15550002222"
TALKING = DialOutcome("answered", after_s=0.2, talked_s=1.0)


def dialling(*numbers: str, **attributes: str):
    """TwiML by Twilio's own classes."""

    def answer(*_) -> str:
        response, dial = VoiceResponse(), Dial(action="/dialled", **attributes)
        for number in numbers:
            dial.number(number)
        response.append(dial)
        return str(response)

    return answer


def told(on: Stage) -> dict[str, str]:
    """What the action was told."""
    (form,) = [hook.form for hook in on.bridge.hooks if hook.path == "/dialled"]
    return {name: value for name, value in form.items() if name.startswith("Dial")}


async def test_an_answered_dial_tells_how_long_they_talked():
    async with stage() as on:
        on.bridge.answers["/in"] = dialling(SALES)
        on.bridge.answers["/dialled"] = hanging_up
        report = await on.call(dials={SALES: TALKING})
        about = told(on)
        assert about.pop("DialCallSid").startswith("CA")
        assert about == {"DialCallStatus": "completed", "DialBridged": "true", "DialCallDuration": "1"}
        (dial,) = report.dials
        assert (dial.number, dial.status, dial.caller_id) == (SALES, "completed", "")
        assert dial.talked_s == pytest.approx(1.0, abs=0.3)
        assert dial.ended_ms - dial.at_ms >= 1200
        assert report.dead_air(1000) == []


@pytest.mark.parametrize("status", ["busy", "no-answer", "failed"])
async def test_a_number_has_its_own_fate(status: str):
    async with stage() as on:
        on.bridge.answers["/in"] = dialling(BOSS)
        on.bridge.answers["/dialled"] = hanging_up
        report = await on.call(dials={SALES: TALKING, BOSS: DialOutcome(status, after_s=0.1)})
        about = told(on)
        assert (about["DialCallStatus"], about["DialBridged"]) == (status, "false")
        assert "DialCallDuration" not in about
        assert [(dial.number, dial.status) for dial in report.dials] == [(BOSS, status)]


async def test_who_answers_first_gets_the_call():
    fates = {SALES: DialOutcome("answered", 3.0, 5.0), BOSS: DialOutcome("answered", 0.1, 0.2)}
    async with stage() as on:
        on.bridge.answers["/in"] = dialling(SALES, BOSS)
        on.bridge.answers["/dialled"] = hanging_up
        report = await on.call(dials=fates)
        (dial,) = report.dials
        assert (dial.numbers, dial.status) == ([SALES, BOSS], "completed")
        assert dial.talked_s < 2.0
        assert report.dialled == [SALES, BOSS]


async def test_one_after_the_other_waits_for_each():
    fates = {SALES: DialOutcome("busy", 0.4), BOSS: DialOutcome("answered", 0.1, 0.1)}
    async with stage() as on:
        on.bridge.answers["/in"] = dialling(SALES, BOSS, sequential="true")
        on.bridge.answers["/dialled"] = hanging_up
        report = await on.call(dials=fates)
        assert told(on)["DialCallStatus"] == "completed"
        assert report.dials[0].ended_ms - report.dials[0].at_ms >= 590


async def test_nobody_rings_for_longer_than_allowed():
    async with stage() as on:
        on.bridge.answers["/in"] = dialling(SALES, timeout="1")
        on.bridge.answers["/dialled"] = hanging_up
        await on.call(dial=DialOutcome("answered", after_s=30.0))
        assert told(on)["DialCallStatus"] == "no-answer"


@pytest.mark.parametrize(
    ("number", "caller_id", "code"), [("sales", "", 13223), (SALES, "+19998887777", 13214)]
)
async def test_what_cannot_be_dialled_is_a_problem(number: str, caller_id: str, code: int):
    async with stage() as on:
        on.bridge.answers["/in"] = dialling(number, **({"caller_id": caller_id} if caller_id else {}))
        on.bridge.answers["/dialled"] = hanging_up
        report = await on.call(dial=TALKING)
        assert told(on)["DialCallStatus"] == "failed"
        assert [problem.code for problem in report.errors] == [code]


async def test_the_called_number_may_be_shown():
    async with stage() as on:
        on.bridge.answers["/in"] = dialling(SALES, caller_id="+15559870000")
        on.bridge.answers["/dialled"] = hanging_up
        report = await on.call(dial=DialOutcome("busy", 0.1))
        assert (report.errors, report.dials[0].caller_id) == ([], "+15559870000")


async def test_a_caller_who_hangs_up_while_it_rings_has_canceled():
    async with stage() as on:
        on.bridge.answers["/in"] = dialling(SALES)
        report = await on.call(SILENT, seconds=0.5, dial=DialOutcome("answered", after_s=20.0))
        assert told(on)["DialCallStatus"] == "canceled"
        assert (report.ended_by, report.dials[0].status) == ("limit", "canceled")


async def test_a_transfer_out_of_a_stream_says_what_was_heard_and_what_was_cut():
    async def talk(leg: Leg) -> None:
        await leg.until("start")
        await leg.play(sounds.tone(5.0, 300))
        await leg.until("stop")

    async with stage() as on:
        on.bridge.talk = talk
        on.bridge.answers["/dialled"] = hanging_up
        placed = asyncio.create_task(on.call(Script(hang_up="never"), dial=DialOutcome("busy", 0.3)))
        sid = await until_streaming(on)
        while on.network.calls[sid].line.playout.head < 8000:
            await asyncio.sleep(0.02)
        after = f"{on.bridge.url}/dialled"
        document = f'<Response><Dial action="{after}"><Number>{SALES}</Number></Dial></Response>'
        await rest(client(on).calls(sid).update, twiml=document)
        report = await placed
        (dial,) = report.dials
        assert on.bridge.legs[0].received[-1]["event"] == "stop"
        assert "/after" not in on.bridge.paths()
        assert told(on)["DialCallStatus"] == "busy"
        assert dial.heard_until_ms == pytest.approx(report.streams[0].ended_ms, abs=50)
        assert dial.cut_ms + report.played_ms == pytest.approx(5000, abs=5)
        assert 0 < dial.cut_ms < 4000
        assert report.streams[0].closed_by == "network"

"""Exotel's flows over real sockets: what follows a stream that ended like this and was answered like that."""

from __future__ import annotations

import asyncio
import json
import urllib.parse

import pytest

from flaskapp.simulator.spec import DialOutcome, Faults, Flow
from tests.simulator.exotel_bridge import CHUNK, Leg, exotel_stage, greeting, payloads, told, until_stop
from tests.simulator.stage import HELLO, speaks


async def test_after_two_refusals_the_flow_goes_on_as_failed():
    async with exotel_stage() as on:
        on.bridge.refuse = [401, 401, 401]
        report = await on.call(seconds=4)
        assert on.bridge.refused == 2
        assert on.bridge.questions == ["over"]
        assert told(report) == ("failed", "NA")
        assert report.webhooks[0].parameters["Stream[Error]"] == "3009"
        assert "401" in report.reason


async def test_a_caller_who_hangs_up_is_told_of_once():
    async def talk(leg: Leg) -> None:
        await until_stop(leg)

    async with exotel_stage() as on:
        on.bridge.talk = talk
        on.bridge.answers["over"] = lambda _: 302
        report = await on.call(speaks(reply_wait_s=0.3))
        assert (report.ended_by, told(report)) == ("caller", ("cancelled", "user"))
        assert on.bridge.questions == ["over"]
        assert on.bridge.legs[0].received[-1]["event"] == "stop"


@pytest.mark.parametrize("code", [1006, 1011])
async def test_a_stream_that_breaks_is_resumed_as_the_same_call(code: int):
    async def talk(leg: Leg) -> int:
        if len(on.bridge.legs) == 1:
            await leg.until("media")
            return code
        return await greeting(leg)

    async with exotel_stage() as on:
        on.bridge.talk = talk
        on.bridge.answers["over"] = lambda query: 200 if query["Stream[Status]"] == "completed" else 302
        on.bridge.answers["resume"] = lambda _: 200
        report = await on.call()
        assert on.bridge.questions == ["over", "resume", "over"]
        assert [told(report, number) for number in (0, 1)] == [("failed", "NA")] * 2
        assert told(report) == ("completed", "bot")
        starts = [leg.received[1]["start"] for leg in on.bridge.legs]
        assert starts[0]["call_sid"] == starts[1]["call_sid"] == report.call_sid
        assert starts[0]["stream_sid"] != starts[1]["stream_sid"]
        assert [stream.close_code for stream in report.streams] == [code, 1000]
        assert len(report.handovers()) == 1
        assert [(p.code, p.level) for p in report.problems] == [(code, "warning")]


async def test_after_the_last_voicebot_nobody_is_asked_to_resume():
    async with exotel_stage() as on:
        on.bridge.answers.update(over=lambda _: 302, resume=lambda _: 200, transfer=lambda _: 200)
        report = await on.call(flow=Flow(voicebots=2), dial=DialOutcome("answered", 0.1, 0.1))
        assert on.bridge.questions == ["over", "resume", "over", "transfer"]
        assert len(report.streams) == 2


async def test_a_transfer_asks_by_name_and_lets_the_two_talk():
    async with exotel_stage() as on:
        on.bridge.answers["over"] = lambda _: 302
        on.bridge.answers["transfer"] = lambda query: 200 if query.get("to") == "sales" else 302
        report = await on.call(
            flow=Flow(transfers=("support", "sales")), dials={"sales": DialOutcome("answered", 0.2, 0.3)}
        )
        asked = [(request.query["ask"], request.query.get("to")) for request in on.bridge.asked]
        assert asked[-2:] == [("transfer", "support"), ("transfer", "sales")]
        (dial,) = report.dials
        assert (dial.number, dial.status, report.recordings) == ("sales", "completed", [])
        assert dial.talked_s == pytest.approx(0.3, abs=0.2)
        assert report.dialled == ["sales"]


async def test_where_nothing_else_is_left_the_caller_leaves_a_message():
    async with exotel_stage() as on:
        on.bridge.answers["over"] = lambda _: 302
        report = await on.call(speaks(HELLO, greeting_wait_s=0.2, quiet_ms=100), seconds=30)
        assert on.bridge.questions == ["over", "resume", "transfer"]
        assert report.said == ["Please leave a message after the tone."]
        (made,) = report.recordings
        assert made.seconds > 0.1
        assert report.ended_by in ("network", "caller")


async def test_nobody_answering_the_transfer_leaves_the_message_too():
    async with exotel_stage() as on:
        on.bridge.answers.update(over=lambda _: 302, transfer=lambda _: 200)
        report = await on.call(dial=DialOutcome("no-answer", 0.1), seconds=12)
        assert [dial.status for dial in report.dials] == ["no-answer"]
        assert len(report.recordings) == 1


@pytest.mark.parametrize("shape", ["get", "form", "text", "json"])
async def test_a_passthru_comes_in_every_shape(shape: str):
    async with exotel_stage() as on:
        report = await on.call(flow=Flow(shape=shape))
        (request,), (body,) = on.bridge.asked, on.bridge.bodies
        fields = dict(request.query)
        if shape == "form":
            fields = dict(urllib.parse.parse_qsl(body, keep_blank_values=True))
        elif shape == "json":
            fields = json.loads(body)
        stream = fields.get("Stream") or {
            name[7:-1]: value for name, value in fields.items() if name.startswith("Stream[")
        }
        stream = json.loads(stream) if isinstance(stream, str) else stream
        assert request.method == ("GET" if shape in ("get", "text") else "POST")
        assert fields["CallSid"] == report.call_sid
        assert (stream["StreamSID"], stream["Status"]) == (report.stream_sids[0], "completed")
        assert request.query["ask"] == "over"


async def test_an_odd_answer_is_a_problem_and_takes_branch_b():
    async with exotel_stage() as on:
        on.bridge.answers.update(over=lambda _: 500, transfer=lambda _: 200)
        report = await on.call(dial=DialOutcome("answered", 0.1, 0.1))
        assert on.bridge.questions == ["over", "resume", "transfer"]
        assert "500" in report.reason


async def test_a_one_way_stream_listens_while_the_flow_goes_on_and_takes_no_audio():
    async def talk(leg: Leg) -> None:
        await leg.until("start")
        await leg.media(bytes(CHUNK))
        await until_stop(leg)

    async with exotel_stage() as on:
        on.bridge.talk = talk
        report = await on.call(speaks(reply_wait_s=0.5), flow=Flow(is_one_way=True))
        (leg,) = on.bridge.legs
        assert leg.query["stream-type"] == "unidirectional"
        assert any(any(sound) for sound in payloads(leg))
        assert leg.received[-1]["event"] == "stop"
        assert report.violations == {"one-way": 1}
        assert (report.played_ms, on.bridge.questions, report.ended_by) == (0, [], "caller")
        assert report.answered


async def test_a_stream_may_be_broken_off_while_the_call_goes_on():
    async def talk(leg: Leg) -> int | None:
        if len(on.bridge.legs) == 1:
            await until_stop(leg)
            return None
        return await greeting(leg)

    async with exotel_stage() as on:
        on.bridge.talk = talk
        on.bridge.answers["over"] = lambda query: 200 if query["Stream[Status]"] == "completed" else 302
        on.bridge.answers["resume"] = lambda _: 200
        report = await on.call(faults=Faults(break_at_ms=300))
        assert all(message["event"] != "stop" for message in on.bridge.legs[0].received)
        assert on.bridge.questions == ["over", "resume", "over"]
        assert [stream.close_code for stream in report.streams] == [1006, 1000]


@pytest.mark.parametrize("manner", ["reset", "vanish"])
async def test_a_caller_may_drop_off_without_a_stop(manner: str):
    ended = asyncio.Event()

    async def talk(leg: Leg) -> None:
        while True:
            try:
                async with asyncio.timeout(3):
                    if await leg.receive() is None:
                        break
            except TimeoutError:
                break
        ended.set()

    async with exotel_stage() as on:
        on.bridge.talk = talk
        script = speaks(reply_wait_s=0.2, hang_up=manner)
        report = await on.call(script)
        await ended.wait()
        assert all(message["event"] != "stop" for message in on.bridge.legs[0].received)
        assert told(report) == ("cancelled", "user")

"""Streamed calls over real sockets: signed, paced, played out in real time."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from itertools import pairwise

import aiohttp
import pytest

from flaskapp.simulator import sounds
from flaskapp.simulator.person import Script, Utterance
from flaskapp.simulator.report import CallReport
from flaskapp.simulator.route import Route
from flaskapp.simulator.twilio.handshake import HandshakeFailed, open_socket
from tests.simulator.stage import HELLO, SILENT, Stage, speaks, stage
from tests.simulator.stub_bridge import Leg, conversation, hanging_up

GREETING, REPLY = sounds.tone(0.3, 300), sounds.tone(0.3, 400)


def codes(report: CallReport) -> list[int]:
    return [problem.code for problem in report.errors]


def received(on: Stage, event: str) -> list[dict]:
    """What the bridge got of one kind, in order."""
    return [message for message in on.bridge.legs[0].received if message["event"] == event]


async def test_a_call_is_signed_streamed_and_answered():
    async with stage() as on:
        on.bridge.talk = conversation(GREETING, REPLY)
        report = await on.call(speaks(), status_callback=f"{on.bridge.url}/status")
        assert (report.answered, report.failed, report.status) == (True, False, "completed")
        assert all(hook.signed for hook in on.bridge.hooks)
        assert on.bridge.handshakes == [True]
        assert on.bridge.paths() == ["/in", "/stream-status", "/stream-status", "/after", "/status"]
        start = received(on, "start")[0]["start"]
        assert (start["callSid"], start["customParameters"]) == (report.call_sid, {"ticket": "once"})
        assert [hook.form["CallStatus"] for hook in on.bridge.hooks if hook.path == "/in"] == ["ringing"]
        assert on.bridge.hooks[-1].form["CallStatus"] == "completed"
        assert report.greeting_ms == pytest.approx(300, abs=30)
        (turn,) = report.turns
        assert turn.latency_ms == pytest.approx(300, abs=150)
        assert turn.heard_ms == pytest.approx(300, abs=30)
        left, right = report.stereo[0::4] + report.stereo[1::4], report.stereo[2::4] + report.stereo[3::4]
        assert any(left)
        assert any(right)
        assert len(report.stereo) / 4 / 8000 == pytest.approx(report.duration_s, abs=0.5)
        assert json.loads(json.dumps(report.to_json()))["turns"][0]["utterance"] == "hello"


async def test_frames_are_numbered_without_a_gap_and_stamped_every_20_ms():
    async with stage() as on:
        await on.call(SILENT, seconds=0.8)
        media = received(on, "media")
        stamps = [int(message["media"]["timestamp"]) for message in media]
        assert len(media) >= 35
        assert [int(m["media"]["chunk"]) for m in media] == list(range(1, len(media) + 1))
        assert {after - before for before, after in pairwise(stamps)} <= {19, 20, 21}
        numbers = [int(m["sequenceNumber"]) for m in on.bridge.legs[0].received if "sequenceNumber" in m]
        assert numbers == list(range(1, len(numbers) + 1))
        assert on.bridge.legs[0].received[0] == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
        assert received(on, "stop")[0]["stop"]["callSid"].startswith("CA")


async def test_marks_return_after_the_audio_before_them_and_not_earlier():
    times: dict[str, float] = {}

    async def talk(leg: Leg) -> None:
        loop = asyncio.get_running_loop()
        await leg.until("start")
        began = loop.time()
        await leg.mark("nothing")
        await leg.play(sounds.tone(0.5, 300))
        await leg.mark("half")
        await leg.play(sounds.tone(0.5, 300))
        await leg.mark("whole")
        for _ in range(3):
            name = (await leg.until("mark"))["mark"]["name"]
            times[name] = loop.time() - began

    async with stage() as on:
        on.bridge.talk = talk
        report = await on.call()
        assert list(times) == ["nothing", "half", "whole"]
        assert 0.499 <= times["half"] < 0.9
        assert 0.999 <= times["whole"] < 1.5
        at = [mark.at_ms for mark in report.marks]
        assert at[2] - at[1] == pytest.approx(500, abs=0.2)
        assert not any(mark.cleared for mark in report.marks)


async def test_clear_empties_the_buffer_and_returns_the_marks_at_once():
    async def talk(leg: Leg) -> None:
        await leg.until("start")
        await leg.play(sounds.tone(20.0, 300))
        await leg.mark("never heard")
        await asyncio.sleep(0.4)
        await leg.clear()
        await leg.until("mark")

    async with stage() as on:
        on.bridge.talk = talk
        report = await on.call()
        (mark,) = report.marks
        assert (mark.name, mark.cleared) == ("never heard", True)
        assert report.played_ms + report.cleared_ms == pytest.approx(20_000)
        assert 390 <= report.played_ms < 3000


async def test_a_caller_interrupts_and_is_answered():
    interruption = Utterance(HELLO.audio, name="stop", interrupts_after_ms=300)

    async def talk(leg: Leg) -> None:
        """Clears as soon as the caller is heard, then answers."""
        await leg.until("start")
        await leg.play(sounds.tone(10.0, 300))
        while (await leg.until("media"))["media"]["payload"].startswith("////"):
            pass
        await leg.clear()
        await asyncio.sleep(0.6)
        await leg.play(REPLY)
        await leg.until("stop")

    async with stage() as on:
        on.bridge.talk = talk
        report = await on.call(speaks(interruption))
        (turn,) = report.turns
        assert report.answered
        assert report.cleared_ms > 5000
        assert turn.heard_ms == pytest.approx(300, abs=30)
        assert (turn.latency_ms or 0) > 100


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x00" * 160, 31950),
        ("no json", 31951),
        ('{"event":"media","streamSid":"MZ0","media":{"payload":"//8="}}', 31951),
    ],
)
async def test_a_violation_has_its_code_and_fails_the_call(data, code):
    async def talk(leg: Leg) -> None:
        await leg.until("start")
        await leg.play(GREETING)
        await (leg.socket.send_bytes(data) if isinstance(data, bytes) else leg.socket.send_str(data))
        await asyncio.sleep(0.6)

    async with stage() as on:
        on.bridge.talk = talk
        report = await on.call()
        assert (report.answered, report.failed, codes(report)) == (True, True, [code])
        assert str(code) in report.reason


async def test_a_closed_stream_goes_on_with_the_action_then_with_the_next_verb():
    async def talk(leg: Leg) -> None:
        await leg.until("start")

    async with stage() as on:
        on.bridge.talk = talk
        first = await on.call()
        on.bridge.answers["/after"] = lambda bridge, _, __: (
            f'<Response><Connect><Stream url="{bridge.stream_url}"/></Connect><Say>Over.</Say></Response>'
        )
        second = await on.call()
        assert first.said == []
        assert (second.said, len(second.stream_sids)) == (["Over."], 2)
        assert [problem.code for problem in second.problems] == [31921, 31921]


async def test_a_refused_handshake_is_named_and_goes_on_with_the_action():
    async with stage() as on:
        on.bridge.answers["/in"] = lambda bridge, _, __: (
            f'<Response><Connect action="/after"><Stream url="{bridge.stream_url}/no"/></Connect></Response>'
        )
        report = await on.call()
        assert codes(report) == [31920]
        assert on.bridge.paths()[-1] == "/after"
        assert not report.answered


async def test_a_query_string_on_the_stream_is_an_error_as_it_is_with_twilio():
    async with stage() as on:
        on.bridge.answers["/in"] = lambda bridge, _, __: (
            f'<Response><Connect><Stream url="{bridge.stream_url}?t=1"/></Connect></Response>'
        )
        assert codes(await on.call()) == [31920]
        assert on.bridge.legs == []


async def test_the_public_url_is_signed_while_sockets_go_to_the_machine():
    async with stage(public="https://phone.example.com") as on:
        on.bridge.talk = conversation(GREETING, REPLY)
        report = await on.call(speaks(), public_url="https://phone.example.com")
        assert report.answered
        assert all(hook.signed for hook in on.bridge.hooks)
        assert on.bridge.hooks[0].headers["Host"] == "phone.example.com"
        assert on.bridge.handshakes == [True]


async def test_where_nothing_listens_the_address_that_was_dialled_is_named():
    public = "https://phone.example.com"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    async with stage() as on:
        report = await on.call(url=f"http://{place}/in", public_url=public)
        assert codes(report) == [11205]
        assert f"cannot connect to http://{place}/in: " in report.reason
    async with aiohttp.ClientSession() as session:
        with pytest.raises(HandshakeFailed, match=f"cannot connect to ws://{place}/media: "):
            await open_socket(
                session, Route(public, f"http://{place}"), "wss://phone.example.com/media", None, 5
            )


async def test_an_unencrypted_stream_is_refused_when_the_public_origin_is_encrypted():
    async with stage(public="https://phone.example.com") as on:
        on.bridge.answers["/in"] = lambda *_: (
            '<Response><Connect><Stream url="ws://phone.example.com/media"/></Connect></Response>'
        )
        report = await on.call(public_url="https://phone.example.com")
        assert codes(report) == [31922]


async def test_nothing_outside_this_machine_is_ever_called():
    async with stage() as on:
        on.bridge.answers["/in"] = lambda *_: (
            "<Response><Redirect>https://elsewhere.example/x</Redirect></Response>"
        )
        report = await on.call()
        assert codes(report) == [11200]
        assert "out of the simulated network" in report.reason


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "end of file"])
async def test_a_stream_that_breaks_off_goes_on_with_the_action(reset: bool):
    async def talk(leg: Leg) -> None:
        await leg.until("start")
        await leg.play(GREETING)
        await asyncio.sleep(0.5)
        transport = leg.socket._req.transport  # type: ignore[union-attr]
        if reset:
            raw = transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            raw = transport.get_extra_info("socket")
            socket.socket(fileno=os.dup(raw.fileno())).shutdown(socket.SHUT_WR)
        await asyncio.sleep(0.2)

    async with stage() as on:
        on.bridge.talk = talk
        report = await on.call()
        assert on.bridge.paths()[-1] == "/after"
        (stream,) = report.streams
        assert (stream.closed_by, stream.close_code, report.failed) == ("server", 1006, False)
        assert [problem.code for problem in report.problems] == [31921]


async def test_a_handover_is_measured_at_the_ear():
    async def talk(leg: Leg) -> None:
        """The first stream plays and ends; the second is silent for half a second, then plays."""
        await leg.until("start")
        if len(on.bridge.legs) > 1:
            await asyncio.sleep(0.5)
        await leg.play(sounds.tone(0.5, 300))
        await leg.mark("played")
        await leg.until("mark")

    async with stage() as on:
        on.bridge.talk = talk
        on.bridge.answers["/after"] = lambda bridge, _, __: (
            f'<Response><Connect><Stream url="{bridge.stream_url}"/></Connect></Response>'
        )
        report = await on.call()
        first, second = report.streams
        assert (first.closed_by, first.close_code) == ("server", 1000)
        (handover,) = report.handovers()
        assert first.ended_ms <= handover.resumed_ms == second.started_ms
        assert second.first_sound_ms is not None
        silence = second.first_sound_ms - first.ended_ms
        assert handover.silence_ms == pytest.approx(silence, abs=60)
        assert handover.silence_ms >= 480
        (dead,) = report.dead_air(400, since_ms=first.ended_ms - 50)
        assert dead[1] == pytest.approx(second.first_sound_ms, abs=1)
        assert report.to_json()["streams"][1]["sid"] == report.stream_sids[1]


async def test_who_ended_the_call_and_how_long_after_the_goodbye():
    async def talk(leg: Leg) -> None:
        await leg.until("start")
        await leg.play(GREETING)
        await leg.mark("heard")
        await leg.until("mark")
        await asyncio.sleep(0.7)

    async with stage() as on:
        on.bridge.talk = talk
        report = await on.call(SILENT)
        assert report.ended_by == "network"
        assert report.goodbye_to_hangup_ms is not None
        assert 690 <= report.goodbye_to_hangup_ms < 5000
        assert report.goodbye_to_hangup_ms == pytest.approx(report.silences[-1][1] - report.silences[-1][0])


@pytest.mark.parametrize("manner", ["reset", "vanish"])
async def test_a_caller_may_be_gone_without_a_word(manner):
    ended: list[str] = []

    async def talk(leg: Leg) -> None:
        await leg.until("start")
        await leg.play(GREETING)
        try:
            while await asyncio.wait_for(leg.receive(), 1.0) is not None:
                pass
            ended.append("closed")
        except TimeoutError:
            ended.append("silent")

    async with stage() as on:
        on.bridge.talk = talk
        await on.call(Script(hang_up=manner, quiet_ms=200))
        assert received(on, "stop") == []
        assert ended == [{"reset": "closed", "vanish": "silent"}[manner]]


async def test_unsigned_calls_carry_no_signature():
    async with stage() as on:
        on.bridge.answers["/in"] = hanging_up
        await on.call(signed=False)
        assert "X-Twilio-Signature" not in on.bridge.hooks[0].headers


async def test_twenty_calls_at_once_keep_their_frames_on_time():
    async with stage() as on:
        on.bridge.talk = conversation(GREETING, REPLY)
        calls = (on.call(speaks(repeat=True), seconds=3.0) for _ in range(20))
        reports = await asyncio.gather(*calls)
        assert all(report.answered and not report.failed for report in reports)
        assert {report.pacing.lost for report in reports} == {0}
        # No drift: the number of frames is the time, however late single ones were.
        for report in reports:
            assert report.pacing.frames == pytest.approx(150, abs=3)
        assert len({report.call_sid for report in reports}) == 20


async def test_a_call_that_is_silent_on_both_sides_is_not_answered():
    async def talk(leg: Leg) -> None:
        await leg.until("stop")

    async with stage() as on:
        on.bridge.talk = talk
        report = await on.call(SILENT, seconds=0.5)
        assert (report.answered, report.reason) == (False, "the agent was never heard")
        assert report.ended_by == "limit"

"""Calls of Exotel's over real sockets: streams at each rate, and the flow that follows them."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import urllib.parse

import pytest

from flaskapp.simulator import sounds
from flaskapp.simulator.person import Utterance
from flaskapp.simulator.report import CallReport
from flaskapp.simulator.spec import DialOutcome, Faults, Flow, Injection
from tests.simulator.exotel_bridge import CHUNK, Leg, exotel_stage, greeting, pcm
from tests.simulator.stage import HELLO, SILENT, speaks


def told(report: CallReport, number: int = -1) -> tuple[str, str]:
    """(Stream[Status], Stream[DisconnectedBy]) of one Passthru."""
    parameters = report.webhooks[number].parameters
    return parameters["Stream[Status]"], parameters["Stream[DisconnectedBy]"]


def payloads(leg: Leg) -> list[bytes]:
    return [base64.b64decode(m["media"]["payload"]) for m in leg.received if m["event"] == "media"]


async def until_stop(leg: Leg) -> None:
    while (message := await leg.receive()) is not None and message["event"] != "stop":
        pass


@pytest.mark.parametrize("spelling", ["snake", "camel"])
@pytest.mark.parametrize("rate", [8000, 16000, 24000])
async def test_a_caller_is_heard_and_answered(rate: int, spelling: str):
    async def talk(leg: Leg) -> int:
        await leg.until("start")
        await leg.play(pcm(0.3, 300, leg.rate_hz))
        spoke = False
        while True:
            sound = base64.b64decode((await leg.until("media"))["media"]["payload"])
            assert len(sound) == rate * 2 // 10
            spoke = spoke or any(sound)
            if spoke and not any(sound):
                break
        await leg.play(pcm(0.4, 500, leg.rate_hz))
        await leg.send("mark", mark={"name": "said"})
        await leg.until("mark")
        return 1000

    async with exotel_stage() as on:
        on.bridge.talk = talk
        report = await on.call(speaks(), sample_rate_hz=rate, spelling=spelling)
        assert (report.failed, report.reason, report.violations) == (False, "", {})
        assert (report.ended_by, report.status, told(report)) == (
            "network",
            "completed",
            ("completed", "bot"),
        )
        (turn,) = report.turns
        assert turn.heard_ms == pytest.approx(400, abs=30)
        assert report.greeting_ms == pytest.approx(300, abs=30)
        assert report.sample_rate_hz == rate
        left = b"".join(report.stereo[at : at + 2] for at in range(0, len(report.stereo), 4))
        assert any(left)
        assert len(report.stereo) / 4 / rate == pytest.approx(report.duration_s, abs=0.5)
        assert 0 < report.ahead_ms <= 360
        (leg,) = on.bridge.legs
        assert ("stream_sid" in leg.received[1]) is (spelling == "snake")
        assert leg.query.get("sample-rate", "8000") == str(rate)
        assert json.loads(json.dumps(report.to_json()))["sample_rate_hz"] == rate


async def test_messages_hold_100_ms_and_are_numbered_without_a_gap():
    async def talk(leg: Leg) -> None:
        await until_stop(leg)

    async with exotel_stage() as on:
        on.bridge.talk = talk
        report = await on.call(SILENT, seconds=0.9)
        (leg,) = on.bridge.legs
        media = [message for message in leg.received if message["event"] == "media"]
        assert len(media) >= 7
        assert [m["media"]["chunk"] for m in media] == list(range(1, len(media) + 1))
        assert [m["media"]["timestamp"] for m in media] == [str(100 * n) for n in range(len(media))]
        numbers = [m["sequence_number"] for m in leg.received if "sequence_number" in m]
        assert numbers == list(range(1, len(numbers) + 1))
        assert leg.received[0] == {"event": "connected"}
        assert leg.received[-1]["stop"]["reason"] == "callended"
        assert leg.received[-1]["stop"]["call_sid"] == report.call_sid


async def test_credentials_go_along_and_parameters_come_back_at_the_start():
    async with exotel_stage() as on:
        await on.call(api_key="k", api_token="t:1", parameters={"lang": "en"}, sample_rate_hz=16000)
        (leg,) = on.bridge.legs
        basic = "Basic " + base64.b64encode(b"k:t:1").decode()
        assert leg.headers["Authorization"] == on.bridge.asked[0].headers["Authorization"] == basic
        assert leg.received[1]["start"]["custom_parameters"] == {"lang": "en"}
        assert leg.query == {"lang": "en", "sample-rate": "16000"}


async def test_credentials_in_the_url_are_told_to_nobody_but_the_server():
    async with exotel_stage() as on:
        url = on.bridge.url.replace("http://", "ws://who:secret@") + "/exotel"
        report = await on.call(url=url)
        assert on.bridge.legs[0].headers["Authorization"] == (
            "Basic " + base64.b64encode(b"who:secret").decode()
        )
        assert "secret" not in json.dumps(report.to_json())
        assert not report.failed


async def test_a_dynamic_url_is_asked_for_and_dialled():
    async with exotel_stage() as on:
        on.bridge.dynamic = {
            "url": on.bridge.url.replace("http://", "ws://a:b@") + "/exotel?sample-rate=16000"
        }
        report = await on.call(url=on.bridge.url + "/stream-url", sample_rate_hz=16000)
        assert (report.failed, report.violations) == (False, {})
        assert on.bridge.asked[0].query["CallSid"] == report.call_sid
        assert on.bridge.asked[0].query["sample-rate"] == "16000"
        assert on.bridge.legs[0].headers["Authorization"].startswith("Basic ")


@pytest.mark.parametrize("answer", [None, {}, [], {"url": 7}, {"url": "wss://elsewhere.example/exotel"}])
async def test_a_dynamic_url_without_an_address_in_this_world_fails(answer: object):
    async with exotel_stage() as on:
        on.bridge.dynamic = answer
        on.bridge.answers["over"] = lambda _: 200
        report = await on.call(url=on.bridge.url + "/stream-url")
        assert [problem.code for problem in report.errors] == [3009]
        assert told(report) == ("failed", "NA")


async def test_a_dynamic_url_of_another_rate_or_with_too_much_in_it_is_a_violation():
    async with exotel_stage() as on:
        on.bridge.dynamic = {"url": on.bridge.url.replace("http", "ws", 1) + "/exotel?a=1&b=2&c=3&d=4"}
        report = await on.call(url=on.bridge.url + "/stream-url", sample_rate_hz=16000)
        assert report.violations == {"parameters": 2}


async def test_a_refused_handshake_is_tried_once_more():
    async with exotel_stage() as on:
        on.bridge.refuse = [503]
        report = await on.call()
        assert (report.failed, len(on.bridge.legs), on.bridge.refused) == (False, 1, 1)
        assert [(p.code, p.level) for p in report.problems] == [(3009, "warning")]


async def test_after_two_refusals_the_flow_goes_on_as_failed():
    async with exotel_stage() as on:
        on.bridge.refuse = [401, 401, 401]
        report = await on.call(seconds=4)
        assert on.bridge.refused == 2
        assert on.bridge.questions == ["over"]
        assert told(report) == ("failed", "NA")
        assert report.webhooks[0].parameters["Stream[Error]"] == "3009"
        assert "401" in report.reason


async def test_where_nothing_listens_the_report_says_so():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    async with exotel_stage() as on:
        report = await on.call(url=url, flow=Flow(voicebots=1), seconds=2)
        assert report.failed
        assert "cannot connect" in report.reason


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


async def test_a_mark_comes_back_after_play_and_a_clear_lets_the_chunk_end_that_has_begun():
    async def talk(leg: Leg) -> int:
        await leg.until("start")
        for _ in range(3):
            await leg.media(pcm(0.2, 300, 8000)[:CHUNK])
        await leg.send("mark", mark={"name": "never heard"})
        await leg.until("media")
        await leg.send("clear")
        await leg.until("mark")
        await leg.send("mark", mark={"name": "after the rest"})
        await leg.until("mark")
        return 1000

    async with exotel_stage() as on:
        on.bridge.talk = talk
        report = await on.call()
        assert [(mark.name, mark.cleared) for mark in report.marks] == [
            ("never heard", True),
            ("after the rest", False),
        ]
        assert report.played_ms % 200 == 0
        assert report.played_ms + report.cleared_ms == 600
        assert report.cleared_ms >= 200
        assert set(report.violations) == {"ahead"}


async def test_keys_reach_the_bot():
    pressing = Utterance(b"", digits="5")

    async def talk(leg: Leg) -> int:
        assert (await leg.until("dtmf"))["dtmf"]["digit"] == "5"
        return 1000

    async with exotel_stage() as on:
        on.bridge.talk = talk
        await on.call(speaks(pressing))
        assert any(message["event"] == "dtmf" for message in on.bridge.legs[0].received)


VIOLATIONS = {
    "size": lambda leg: leg.media(bytes(3202)),
    "stream": lambda leg: leg.send("clear", stream_sid="other"),
    "event": lambda leg: leg.send("speak"),
    "sequence": lambda leg: leg.send("clear", sequence_number=77),
    "chunk": lambda leg: leg.media(bytes(CHUNK), chunk=9),
    "timestamp": lambda leg: leg.media(bytes(CHUNK), timestamp="9"),
    "payload": lambda leg: leg.send("media", media={}),
    "name": lambda leg: leg.send("mark"),
    "json": lambda leg: leg.socket.send_str("{"),
    "binary": lambda leg: leg.socket.send_bytes(b"\0"),
    "ahead": lambda leg: leg.media(bytes(9600)),
}


@pytest.mark.parametrize("kind", VIOLATIONS)
async def test_each_broken_rule_is_found_counted_and_fails_the_call(kind: str):
    async def talk(leg: Leg) -> int:
        await leg.until("start")
        await VIOLATIONS[kind](leg)
        await leg.until("media")
        return 1000

    async with exotel_stage() as on:
        on.bridge.talk = talk
        report = await on.call()
        assert report.violations == {kind: 1}
        assert report.failed
        assert any(problem.text.startswith(kind) for problem in report.errors)


async def test_a_rule_broken_often_is_counted_every_time_and_told_a_few_times():
    async def talk(leg: Leg) -> int:
        await leg.until("start")
        for _ in range(20):
            await leg.socket.send_str("{")
        await leg.until("media")
        return 1000

    async with exotel_stage() as on:
        on.bridge.talk = talk
        report = await on.call()
        assert report.violations == {"json": 20}
        assert len([problem for problem in report.errors if "json" in problem.text]) == 5


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


async def test_marks_that_never_come_back_and_words_that_no_carrier_says():
    returned: list[str] = []

    async def talk(leg: Leg) -> int:
        await leg.until("start")
        await leg.send("mark", mark={"name": "lost"})
        for _ in range(4):
            message = await leg.receive()
            assert message is not None
            returned.append(message["event"])
        return 1000

    async with exotel_stage() as on:
        on.bridge.talk = talk
        made_up = json.dumps({"event": "weather", "stream_sid": "{streamSid}"})
        faults = Faults(returns_marks=False, injections=(Injection(0, made_up),), repeat_every=1)
        report = await on.call(faults=faults)
        assert returned == ["weather", "media", "media", "media"]
        assert report.marks == []


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


async def test_the_public_origin_is_told_while_the_server_under_test_is_dialled():
    async with exotel_stage() as on:
        report = await on.call(public_url="https://phone.example")
        assert on.bridge.legs[0].headers["Host"] == "phone.example"
        assert report.webhooks[0].parameters["Stream[StreamUrl]"] == "wss://phone.example/exotel"
        assert on.bridge.asked[0].headers["Host"] == "phone.example"


async def test_the_voice_keeps_its_quality_on_a_wide_line():
    """6 kHz, which a mu-law line cannot carry, reaches the bot at 24 kHz."""
    import numpy

    from flaskapp.phone import audio

    samples = numpy.sin(2 * numpy.pi * 6000 * numpy.arange(24000 * 0.5) / 24000) * 8000
    wide = audio.Wav(samples.astype("<i2").tobytes(), 24000)
    words = Utterance(sounds.tone(0.5, 400), original=wide)

    async def talk(leg: Leg) -> None:
        await until_stop(leg)

    async with exotel_stage() as on:
        on.bridge.talk = talk
        await on.call(speaks(words, reply_wait_s=0.2), sample_rate_hz=24000)
        heard = numpy.frombuffer(b"".join(payloads(on.bridge.legs[0])), dtype="<i2").astype(float)
        spectrum = numpy.abs(numpy.fft.rfft(heard))
        strongest = numpy.argmax(spectrum) * 24000 / len(heard)
        assert strongest == pytest.approx(6000, abs=5)

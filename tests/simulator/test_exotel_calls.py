"""Calls of Exotel's over real sockets: handshakes, streams at each rate, rules for what comes back."""

from __future__ import annotations

import base64
import json
import socket

import pytest

from flaskapp.simulator import sounds
from flaskapp.simulator.person import Utterance
from flaskapp.simulator.spec import Faults, Flow, Injection
from tests.simulator.exotel_bridge import CHUNK, Leg, exotel_stage, payloads, pcm, told, until_stop
from tests.simulator.stage import SILENT, speaks


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


async def test_where_nothing_listens_the_report_says_so():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    async with exotel_stage() as on:
        more = {"public_url": "https://phone.example", "flow": Flow(voicebots=1), "seconds": 2}
        report = await on.call(url=url, **more)
        assert report.failed
        assert f"cannot connect to {url.replace('http', 'ws')}" in report.reason


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

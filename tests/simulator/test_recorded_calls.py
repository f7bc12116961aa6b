"""The path without a stream: recordings, menus, spoken text, transfers."""

from __future__ import annotations

import asyncio
import io
import wave

import aiohttp
import pytest
from aiohttp import web

from flaskapp.phone import audio
from flaskapp.simulator import sounds
from flaskapp.simulator.person import Script, Utterance
from flaskapp.simulator.spec import Choices, DialOutcome
from flaskapp.simulator.twilio.account import PhoneNumber
from tests.simulator.stage import HELLO, Stage, speaks, stage
from tests.simulator.stub_bridge import hanging_up


def twiml(inside: str):
    """An answer that is always this."""
    return lambda *_: f"<Response>{inside}</Response>"


async def fetched(on: Stage, url: str, password: str | None = None) -> tuple[int, bytes]:
    """Status and body of a REST resource, with the account's credentials."""
    async with client(on, password) as session, session.get(url) as response:
        return response.status, await response.read()


def client(on: Stage, password: str | None = None) -> aiohttp.ClientSession:
    """An HTTP client that sends the account's credentials."""
    account = on.network.account
    basic = aiohttp.encode_basic_auth(account.sid, password or account.auth_token)
    return aiohttp.ClientSession(headers={"Authorization": basic})


async def test_a_caller_leaves_a_message_and_hears_the_answer():
    async with stage(recording_delay_s=0.3) as on:
        on.bridge.answers["/in"] = twiml(
            '<Say>Leave it.</Say><Record action="/process" timeout="1" recordingStatusCallback="/recorded"/>'
            "<Say>Nothing heard.</Say>"
        )
        on.bridge.answers["/process"] = twiml("<Say>Nine to five.</Say>")
        report = await on.call(speaks())
        assert report.said == ["Leave it.", "Nine to five."]
        assert (report.answered, report.failed) == (True, False)
        (form,) = [hook.form for hook in on.bridge.hooks if hook.path == "/process"]
        (told,) = [hook.form for hook in on.bridge.hooks if hook.path == "/recorded"]
        assert form["RecordingUrl"].startswith(f"{on.network.api_url}/2010-04-01/Accounts/")
        assert (form["RecordingDuration"], form["Digits"]) == ("1", "")
        assert (told["RecordingSid"], told["RecordingStatus"]) == (form["RecordingSid"], "completed")
        assert all(hook.signed for hook in on.bridge.hooks)
        status, body = await fetched(on, form["RecordingUrl"] + ".wav")
        assert status == 200
        with wave.open(io.BytesIO(body)) as wav:
            assert (wav.getframerate(), wav.getsampwidth(), wav.getnchannels()) == (8000, 2, 1)
            assert wav.getnframes() / 8000 == pytest.approx(0.3, abs=0.45)
        assert audio.rms(audio.read_wav(body).pcm) > 500


async def test_a_recording_is_404_until_ready_and_guarded_and_can_be_deleted():
    async with stage(recording_delay_s=0.5) as on:
        on.bridge.answers["/in"] = twiml('<Record action="/process" timeout="1" playBeep="false"/>')
        on.bridge.answers["/process"] = hanging_up
        report = await on.call(speaks())
        (url,) = [recording.url for recording in report.recordings]
        assert (await fetched(on, url))[0] == 404
        await asyncio.sleep(0.6)
        assert (await fetched(on, url))[0] == 200
        assert (await fetched(on, url, "wrong"))[0] == 401
        assert (await fetched(on, url + ".mp3"))[0] == 406
        assert (await fetched(on, url + "?RequestedChannels=2"))[0] == 400
        async with client(on) as session:
            assert (await session.delete(f"{url}.json")).status == 204
            assert (await session.delete(f"{url}.json")).status == 404
        assert (await fetched(on, url))[0] == 404


async def test_a_caller_who_hangs_up_while_recorded_is_still_processed():
    async with stage() as on:
        on.bridge.answers["/in"] = twiml('<Record action="/process" timeout="0" playBeep="false"/>')
        on.bridge.answers["/process"] = twiml("<Say>Nobody is there.</Say>")
        report = await on.call(speaks(reply_wait_s=0.3), status_callback=f"{on.bridge.url}/status")
        form = next(hook.form for hook in on.bridge.hooks if hook.path == "/process")
        assert (form["Digits"], form["CallStatus"]) == ("hangup", "completed")
        assert report.said == []
        assert on.bridge.paths()[-1] == "/status"


async def test_an_empty_recording_goes_on_to_the_next_verb_unless_chosen_otherwise():
    async with stage() as on:
        on.bridge.answers["/in"] = twiml('<Record action="/process" timeout="1"/><Say>Still there?</Say>')
        on.bridge.answers["/process"] = hanging_up
        silent = Script(hang_up="never")
        chosen = Choices(action_for_empty_recording=True)
        first, second = await asyncio.gather(on.call(silent), on.call(silent, choices=chosen))
        assert (first.said, second.said) == (["Still there?"], [])
        assert on.bridge.paths().count("/process") == 1


async def test_a_key_ends_the_recording_and_is_reported():
    async with stage() as on:
        on.bridge.answers["/in"] = twiml('<Record action="/process" finishOnKey="#" playBeep="false"/>')
        on.bridge.answers["/process"] = hanging_up
        await on.call(speaks(Utterance(HELLO.audio, digits="1#")))
        (form,) = [hook.form for hook in on.bridge.hooks if hook.path == "/process"]
        assert form["Digits"] == "#"


async def test_a_record_without_action_asks_the_current_document_again():
    async with stage() as on:
        asked: list[bool] = []

        def answer(bridge, request, form):
            asked.append("RecordingUrl" in form)
            verb = "<Hangup/>" if asked[-1] else '<Record timeout="1"/>'
            return f"<Response>{verb}</Response>"

        on.bridge.answers["/in"] = answer
        await on.call(speaks())
        assert asked == [False, True]


async def test_a_file_is_played_to_the_caller():
    async with stage() as on:
        on.bridge.files["a.wav"] = audio.write_wav(audio.mulaw_to_pcm16(sounds.tone(0.5, 400)))
        on.bridge.answers["/in"] = twiml("<Play>files/a.wav</Play>")
        report = await on.call()
        assert report.greeting_ms == pytest.approx(500, abs=30)
        assert report.played_ms == pytest.approx(500, abs=1)


async def test_keys_pressed_during_a_menu_reach_the_action():
    async with stage() as on:
        on.bridge.answers["/in"] = twiml(
            '<Gather action="/menu" numDigits="2" timeout="2"><Say>Press something, then wait.</Say></Gather>'
        )
        on.bridge.answers["/menu"] = hanging_up
        await on.call(Script((Utterance(digits="42"),), greeting_wait_s=0.1, quiet_ms=100, hang_up="never"))
        (form,) = [hook.form for hook in on.bridge.hooks if hook.path == "/menu"]
        assert form["Digits"] == "42"


async def test_a_menu_without_keys_goes_on_to_the_next_verb():
    async with stage() as on:
        on.bridge.answers["/in"] = twiml('<Gather action="/menu" timeout="1"/><Say>Goodbye.</Say>')
        report = await on.call()
        assert report.said == ["Goodbye."]


async def test_a_transfer_ends_as_it_was_arranged():
    async with stage() as on:
        on.bridge.answers["/in"] = twiml('<Dial action="/dialled">+15550001111</Dial>')
        on.bridge.answers["/dialled"] = hanging_up
        report = await on.call(dial=DialOutcome("busy", after_s=0.1))
        (form,) = [hook.form for hook in on.bridge.hooks if hook.path == "/dialled"]
        assert (form["DialCallStatus"], report.dialled) == ("busy", ["+15550001111"])


async def test_a_failing_webhook_goes_to_the_fallback_url():
    async with stage() as on:
        on.bridge.answers["/in"] = lambda *_: "<Response><Say>broken"
        on.bridge.answers["/fallback"] = twiml("<Say>We are sorry.</Say>")
        report = await on.call(fallback_url=f"{on.bridge.url}/fallback")
        form = on.bridge.hooks[-1].form
        assert (form["ErrorCode"], form["ErrorUrl"]) == ("12100", f"{on.bridge.url}/in")
        assert (report.said, [p.code for p in report.problems]) == (["We are sorry."], [12100])


async def test_without_a_fallback_the_call_fails_and_says_why():
    async with stage() as on:
        on.bridge.answers["/in"] = lambda *_: web.Response(status=500)
        broken = await on.call()
        assert (broken.status, broken.reason) == ("failed", f"error 11200: {on.bridge.url}/in answered 500")
        dead = await on.call(url="http://127.0.0.1:9/in")
        assert (dead.status, dead.answered) == ("failed", False)
        assert "Connection refused" in dead.reason
        assert "make run" in dead.reason
        assert len(dead.webhooks) == 2  # one retry


async def test_a_connection_that_is_cut_off_is_tried_again_then_the_fallback_is_asked():
    def cut(_, request, __):
        request.transport.abort()
        return web.Response()

    async with stage() as on:
        on.bridge.answers["/in"] = cut
        on.bridge.answers["/fallback"] = twiml("<Say>We are sorry.</Say>")
        number = PhoneNumber("+15550009999", voice_url=f"{on.bridge.url}/in")
        number.voice_fallback_url = f"{on.bridge.url}/fallback"
        on.network.account.numbers.append(number)
        report = await on.call(url="", to_number="+15550009999")
        assert on.bridge.paths() == ["/in", "/in", "/fallback"]
        first, second, fallback = on.bridge.hooks
        assert first.headers["I-Twilio-Idempotency-Token"] == second.headers["I-Twilio-Idempotency-Token"]
        assert (fallback.form["ErrorCode"], fallback.form["ErrorUrl"]) == ("11205", number.voice_url)
        assert all(hook.signed for hook in on.bridge.hooks)
        assert report.said == ["We are sorry."]


async def test_a_webhook_that_is_there_the_second_time_needs_no_fallback():
    asked: list[bool] = []

    def once_cut(_, request, __):
        asked.append(True)
        if len(asked) == 1:
            request.transport.abort()
        return "<Response><Say>Here.</Say></Response>"

    async with stage() as on:
        on.bridge.answers["/in"] = once_cut
        report = await on.call()
        assert (report.said, report.problems, len(report.webhooks)) == (["Here."], [], 2)


async def test_a_rejected_call_is_not_answered():
    async with stage() as on:
        on.bridge.answers["/in"] = twiml('<Reject reason="busy"/>')
        report = await on.call(status_callback=f"{on.bridge.url}/status")
        assert (report.rejected, report.duration_s, report.silences) == ("busy", 0.0, [])
        assert (report.status, report.reason) == ("busy", "the call was rejected")
        assert on.bridge.hooks[-1].form["CallStatus"] == "busy"


async def test_redirects_of_http_and_of_twiml_are_followed():
    async with stage() as on:
        on.bridge.answers["/in"] = twiml("<Redirect>moved</Redirect>")
        on.bridge.answers["/moved"] = lambda *_: web.Response(status=307, headers={"Location": "/here"})
        on.bridge.answers["/here"] = twiml("<Say>Here.</Say>")
        report = await on.call()
        assert report.said == ["Here."]
        assert all(hook.signed for hook in on.bridge.hooks)
        tokens = [hook.headers["I-Twilio-Idempotency-Token"] for hook in on.bridge.hooks]
        assert tokens[1] == tokens[2] != tokens[0]

"""The REST API, driven by Twilio's own client."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from requests.exceptions import Timeout
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from flaskapp.simulator import sounds
from flaskapp.simulator.person import Script
from flaskapp.simulator.spec import Faults
from flaskapp.simulator.twilio.account import PhoneNumber
from tests.simulator.stage import Stage, stage
from tests.simulator.stub_bridge import Leg, hanging_up, streaming

LISTENING = Script(hang_up="never")


def client(on: Stage) -> Client:
    """Twilio's client, pointed at the simulated network."""
    account = on.network.account
    twilio = Client(account.sid, account.auth_token)
    twilio.api.base_url = on.network.api_url
    return twilio


async def rest(work: Any, *arguments: Any, **named: Any) -> Any:
    """The client is synchronous: it runs beside the loop that serves it."""
    return await asyncio.to_thread(work, *arguments, **named)


async def until_streaming(on: Stage) -> str:
    """The sid of the call, once the application has its stream."""
    while not (on.bridge.legs and on.bridge.legs[-1].call_sid):
        await asyncio.sleep(0.02)
    return on.bridge.legs[-1].call_sid


async def test_status_completed_ends_the_call_with_a_stop():
    async with stage() as on:
        placed = asyncio.create_task(on.call(LISTENING, status_callback=f"{on.bridge.url}/status"))
        sid = await until_streaming(on)
        updated = await rest(client(on).calls(sid).update, status="completed")
        report = await placed
        assert updated.sid == sid
        assert (report.ended_by, report.status) == ("network", "completed")
        assert on.bridge.legs[0].received[-1]["event"] == "stop"
        assert "/after" not in on.bridge.paths()
        with pytest.raises(TwilioRestException) as gone:
            await rest(client(on).calls(sid).update, status="completed")
        assert (gone.value.status, gone.value.code) == (404, 20404)
        assert [status for _, _, status in on.network.api_requests] == [200, 404]


async def test_new_twiml_takes_the_call_from_its_stream():
    async with stage() as on:
        placed = asyncio.create_task(on.call(LISTENING))
        sid = await until_streaming(on)
        await rest(client(on).calls(sid).update, twiml="<Response><Say>Transferring.</Say></Response>")
        report = await placed
        assert report.said == ["Transferring."]
        assert on.bridge.legs[0].received[-1]["event"] == "stop"
        assert "/after" not in on.bridge.paths()


async def test_a_new_url_is_asked_for_the_next_document():
    async with stage() as on:
        on.bridge.answers["/transfer"] = lambda *_: "<Response><Say>Elsewhere.</Say></Response>"
        placed = asyncio.create_task(on.call(LISTENING))
        sid = await until_streaming(on)
        await rest(client(on).calls(sid).update, url=f"{on.bridge.url}/transfer")
        report = await placed
        assert report.said == ["Elsewhere."]
        assert on.bridge.hooks[-1].signed


async def test_a_url_is_asked_only_after_the_update_was_answered_and_falls_back():
    async with stage() as on:
        on.bridge.answers["/fallback"] = lambda *_: "<Response><Say>Sorry.</Say></Response>"
        fallback = f"{on.bridge.url}/fallback"
        placed = asyncio.create_task(on.call(LISTENING, fallback_url=fallback))
        sid = await until_streaming(on)
        await rest(client(on).calls(sid).update, url="http://127.0.0.1:9/nobody")
        report = await placed
        assert report.said == ["Sorry."]
        assert on.bridge.hooks[-1].form["ErrorUrl"] == "http://127.0.0.1:9/nobody"
        assert on.bridge.legs[0].received[-1]["event"] == "stop"


@pytest.mark.parametrize(("fate", "code"), [("error", 20500), ("gone", 20404)])
async def test_an_update_may_fail_and_the_call_goes_on(fate: str, code: int):
    async with stage() as on:
        faults = Faults(updates=(fate, "well"))
        placed = asyncio.create_task(on.call(LISTENING, faults=faults))
        sid = await until_streaming(on)
        with pytest.raises(TwilioRestException) as refused:
            await rest(client(on).calls(sid).update, twiml="<Response><Say>Never.</Say></Response>")
        assert refused.value.code == code
        await rest(client(on).calls(sid).update, twiml="<Response><Say>Then.</Say></Response>")
        assert (await placed).said == ["Then."]


@pytest.mark.parametrize(("fate", "said"), [("hangs", []), ("lost", ["There."])])
async def test_an_update_may_never_be_answered(fate: str, said: list[str]):
    async with stage() as on:
        placed = asyncio.create_task(on.call(LISTENING, seconds=6.0, faults=Faults(updates=(fate,))))
        sid = await until_streaming(on)
        impatient = client(on)
        impatient.http_client = TwilioHttpClient(timeout=1.0)
        with pytest.raises(Timeout):
            await rest(impatient.calls(sid).update, twiml="<Response><Say>There.</Say></Response>")
        assert (await placed).said == said


async def test_broken_twiml_is_refused_and_the_call_goes_on():
    async with stage() as on:
        placed = asyncio.create_task(on.call(LISTENING, seconds=1.0))
        sid = await until_streaming(on)
        with pytest.raises(TwilioRestException) as refused:
            await rest(client(on).calls(sid).update, twiml="<Response>")
        assert refused.value.status == 400
        assert (await placed).ended_by == "limit"


async def test_a_call_in_progress_can_be_watched_and_its_caller_moved():
    async def talk(leg: Leg) -> None:
        await leg.until("start")
        digit = await leg.until("dtmf")
        assert digit["dtmf"] == {"track": "inbound_track", "digit": "7"}
        await leg.play(sounds.tone(0.3, 300))
        await leg.until("stop")

    async with stage() as on:
        on.bridge.talk = talk
        placed = asyncio.create_task(on.call(LISTENING))
        sid = await until_streaming(on)
        call = on.network.calls[sid]
        assert (await rest(client(on).calls(sid).fetch)).status == "in-progress"
        call.line.person.press("7")
        while len(on.bridge.legs[0].received) < 4 or call.line.playout.head == 0:
            await asyncio.sleep(0.02)
        call.line.hang_up("caller")
        report = await placed
        assert report.ended_by == "caller"
        assert report.received_media == 1


async def test_a_number_is_pointed_elsewhere_and_calls_follow_it():
    async with stage() as on:
        number = PhoneNumber("+15550009999", voice_url=f"{on.bridge.url}/old")
        on.network.account.numbers.append(number)
        on.bridge.answers["/new"] = hanging_up
        twilio = client(on)
        (found,) = await rest(twilio.incoming_phone_numbers.list, phone_number="+15550009999")
        assert found.voice_url.endswith("/old")
        updated = await rest(
            twilio.incoming_phone_numbers(found.sid).update,
            voice_url=f"{on.bridge.url}/new",
            status_callback=f"{on.bridge.url}/status",
        )
        assert updated.voice_url.endswith("/new")
        await on.call(url="", to_number="+15550009999")
        assert on.bridge.paths() == ["/new", "/status"]
        assert await rest(twilio.incoming_phone_numbers.list, phone_number="+1") == []


async def test_strangers_are_not_let_in():
    async with stage() as on:
        on.bridge.answers["/in"] = streaming
        stranger = Client("AC" + "0" * 32, "guess")
        stranger.api.base_url = on.network.api_url
        with pytest.raises(TwilioRestException) as refused:
            await rest(stranger.calls("CA1").fetch)
        assert (refused.value.status, refused.value.code) == (401, 20003)

"""Recordings that never come, fail, or are something else; and what is told about them."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from flaskapp.phone.audio import read_wav, rms
from flaskapp.phone.errors import FetchRefused, NotAudio, NotReady
from flaskapp.phone.fetch import Recording, RecordingHost
from flaskapp.simulator.network import Network
from flaskapp.simulator.person import Script
from flaskapp.simulator.spec import Faults
from flaskapp.simulator.twilio.account import Account
from tests.simulator.stage import Stage, speaks, stage
from tests.simulator.stub_bridge import hanging_up

RECORDING = (
    '<Response><Record action="/process" timeout="1" playBeep="false" recordingStatusCallback="/recorded"'
    ' recordingStatusCallbackEvent="{events}"/><Say>Nothing heard.</Say></Response>'
)


def recorded(on: Stage, events: str = "completed absent") -> None:
    on.bridge.answers["/in"] = lambda *_: RECORDING.format(events=events)
    on.bridge.answers["/process"] = hanging_up


def told(on: Stage) -> list[tuple[str, str]]:
    """(status, error code) of each status callback."""
    forms = [hook.form for hook in on.bridge.hooks if hook.path == "/recorded"]
    return [(form["RecordingStatus"], form.get("ErrorCode", "")) for form in forms]


@pytest.mark.parametrize(
    ("fate", "status", "callback"),
    [
        ("well", 200, [("completed", "")]),
        ("never", 404, []),
        ("absent", 404, [("absent", "16101")]),
        ("failed", 404, [("failed", "16102")]),
        ("page", 200, [("completed", "")]),
        ("truncated", 200, [("completed", "")]),
        ("silent", 200, [("completed", "")]),
    ],
)
async def test_each_fate_is_served_and_told_as_it_is(fate, status, callback):
    async with stage() as on:
        recorded(on)
        report = await on.call(speaks(), faults=Faults(recordings=(fate,)))
        (made,) = report.recordings
        account = on.network.account
        basic = aiohttp.encode_basic_auth(account.sid, account.auth_token)
        async with (
            aiohttp.ClientSession(headers={"Authorization": basic}) as session,
            session.get(made.url) as answer,
        ):
            body = await answer.read()
        assert (answer.status, told(on)) == (status, callback)
        assert all(hook.signed for hook in on.bridge.hooks)
        if fate in ("well", "truncated", "silent"):
            sound = read_wav(body)
            assert (rms(sound.pcm) > 0) == (fate != "silent")
            assert (sound.duration_ms < made.seconds * 600) == (fate == "truncated")


async def test_each_of_a_calls_recordings_has_its_own_fate_and_the_last_is_everyones():
    async with stage() as on:
        recorded(on)
        again = "<Response><Say>Yes?</Say><Redirect>/in</Redirect></Response>"
        on.bridge.answers["/process"] = lambda *_: again
        hello = speaks().utterances[0]
        await on.call(speaks(hello, hello, hello), faults=Faults(recordings=("failed", "well")))
        assert [status for status, _ in told(on)][:3] == ["failed", "completed", "completed"]


async def test_a_caller_who_says_nothing_leaves_an_absent_recording_to_those_who_want_to_know():
    for events, expected in (("completed absent", [("absent", "16101")]), ("completed", [])):
        async with stage() as on:
            recorded(on, events)
            report = await on.call(Script(hang_up="never"))
            assert (report.said, report.recordings) == (["Nothing heard."], [])
            assert (told(on), on.network.recordings.made) == (expected, [])


async def test_the_call_goes_on_while_the_file_is_still_being_written():
    async with stage(recording_delay_s=2.0) as on:
        recorded(on)
        on.bridge.answers["/process"] = lambda *_: "<Response><Say>Thank you.</Say></Response>"
        report = await on.call(speaks())
        assert report.said == ["Thank you."]
        assert report.recordings[0].answer_ms < 1500
        assert told(on) == [("completed", "")]


async def test_an_account_without_a_token_lets_any_password_in_but_no_other_account():
    async with Network(Account(auth_token="")) as network:
        kept = network.recordings.keep("CA1", bytes(800))
        ours, theirs = Recording(network.account.sid, kept.sid), Recording("AC2", kept.sid)
        trial = RecordingHost(network.api_url)
        with_token = RecordingHost(network.api_url, ours.account_sid, "x")
        for host in (trial, with_token):
            assert (await asyncio.to_thread(host.fetch, ours)).sound.duration_ms == 100
        with pytest.raises(FetchRefused):
            await asyncio.to_thread(trial.fetch, theirs)
        for header in ("", "Basic", "Basic !", "Bearer x", "Basic " + "QQ=="):
            async with aiohttp.ClientSession(headers={"Authorization": header}) as session:
                assert (await session.get(network.api_url + ours.path)).status == 401


async def test_the_applications_own_fetching_gets_on_with_the_simulated_host():
    async with Network(recording_delay_s=0.3) as network:
        account = network.account
        host = RecordingHost(network.api_url, account.sid, account.auth_token)
        kept = network.recordings.keep("CA1", bytes(8000))
        url = f"{network.api_url}/2010-04-01/Accounts/{account.sid}/Recordings/{kept.sid}"
        which = host.identify(url, kept.sid, account.sid)
        with pytest.raises(NotReady):
            await asyncio.to_thread(host.fetch, which)
        await asyncio.sleep(0.4)
        assert (await asyncio.to_thread(host.fetch, which)).sound.duration_ms == 1000
        kept.fate = "truncated"
        assert (await asyncio.to_thread(host.fetch, which)).is_truncated
        kept.fate = "page"
        with pytest.raises(NotAudio, match="page"):
            await asyncio.to_thread(host.fetch, which)
        await asyncio.to_thread(host.delete, which)
        await asyncio.to_thread(host.delete, which)
        with pytest.raises(NotReady):
            await asyncio.to_thread(host.fetch, which)

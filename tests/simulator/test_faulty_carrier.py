"""What a faulty carrier does to an application, on request."""

from __future__ import annotations

import asyncio

from flaskapp.simulator.faulty import FaultyFrames
from flaskapp.simulator.spec import Faults, Injection
from tests.simulator.stage import SILENT, stage
from tests.simulator.stub_bridge import Leg


def sent(faults: Faults, frames: int) -> list[str | bytes]:
    faulty = FaultyFrames(faults, {"streamSid": "MZ1", "callSid": "CA1"})
    return [data for n in range(1, frames + 1) for data in faulty.instead_of(str(n), n * 20)]


def test_a_faultless_carrier_changes_nothing():
    assert sent(Faults(), 4) == ["1", "2", "3", "4"]


def test_frames_are_lost_doubled_swapped_and_flooded():
    assert sent(Faults(lose_every=2), 4) == ["1", "3"]
    assert sent(Faults(repeat_every=2), 4) == ["1", "2", "2", "3", "4", "4"]
    assert sent(Faults(swap_every=2), 4) == ["1", "3", "2", "4"][:3]
    assert sent(Faults(swap_every=2), 5) == ["1", "3", "2", "5", "4"]
    assert sent(Faults(flood=3), 2) == ["1"] * 3 + ["2"] * 3


def test_made_up_frames_come_at_their_time_with_the_sids_filled_in():
    faults = Faults(injections=(Injection(40, "{streamSid} {callSid}"), Injection(20, b"\x00")))
    assert sent(faults, 2) == [b"\x00", "1", "MZ1 CA1", "2"]


async def test_media_before_start_and_a_foreign_call_sid_reach_the_application():
    early = '{"event":"media","streamSid":"{streamSid}","media":{"payload":"/w=="}}'
    faults = Faults(start_call_sid="CAother", injections=(Injection(-1, early), Injection(100, early)))
    async with stage() as on:
        await on.call(SILENT, seconds=0.5, faults=faults)
        leg = on.bridge.legs[0]
        assert [message["event"] for message in leg.received[:3]] == ["connected", "media", "start"]
        assert leg.call_sid == "CAother"


async def test_the_first_webhook_may_come_more_than_once():
    async with stage() as on:
        await on.call(SILENT, seconds=0.2, faults=Faults(webhook_copies=3))
        first = [hook.form["CallSid"] for hook in on.bridge.hooks if hook.path == "/in"]
        assert (len(first), len(set(first))) == (3, 1)


async def test_a_wrong_secret_gives_wrong_signatures():
    async with stage() as on:
        await on.call(SILENT, seconds=0.2, faults=Faults(sign_with="wrong"))
        assert not any(hook.signed for hook in on.bridge.hooks)
        assert on.bridge.handshakes == [False]


async def test_a_server_that_does_not_read_loses_frames_and_the_call_goes_on():
    async def talk(leg: Leg) -> None:
        await leg.until("start")
        await asyncio.sleep(5.0)  # nothing is received meanwhile

    async with stage() as on:
        on.bridge.talk = talk
        report = await on.call(SILENT, seconds=4.0, faults=Faults(flood=400))
        assert [problem.code for problem in report.problems if problem.code == 31930] == [31930]
        assert report.pacing.lost > 0
        assert report.errors == []


async def test_a_carrier_may_stop_reading():
    async def talk(leg: Leg) -> None:
        await leg.until("start")
        await asyncio.sleep(0.5)
        await leg.play(b"\x10" * 800)
        await leg.until("stop")

    async with stage() as on:
        on.bridge.talk = talk
        report = await on.call(SILENT, seconds=1.2, faults=Faults(stop_reading_at_ms=200))
        assert report.received_media == 0

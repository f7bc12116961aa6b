"""The caller speaks over the agent, a hundred times at random moments."""

from __future__ import annotations

import random
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from flaskapp.simulator.person import Script
from flaskapp.simulator.report import CallReport
from tests.fakes import Session, tone

pytestmark = pytest.mark.system

CALLS, TIMES = 10, 10
REPLY_MS = 3000
LISTENER = Script(hang_up="never")


@dataclass(frozen=True)
class Interruption:
    """One, as the simulated line and the engine saw it."""

    told_ms: int  # audio_end_ms of the truncation
    played_ms: float  # what the simulator really played
    received_ms: int
    clear_s: float  # from speech started at the engine to the clear at the line


def interrupt(place: Any, call: Any, session: Session, rng: random.Random) -> Interruption:
    """Have the agent speak, let the caller begin to speak at a random moment, see what is made of it."""
    playout = call.line.playout
    begins_at, cleared = len(playout.audio), len(playout.cleared)
    item = place.engine.say(session, tone(REPLY_MS, seed=session.number), finish=rng.random() < 0.7)
    place.engine.wait_for(lambda _: len(playout.audio) > begins_at)
    time.sleep(rng.uniform(0.1, REPLY_MS / 1000 - 0.3))
    spoke_at = time.monotonic()
    heard = session.speech_started()
    place.engine.wait_for(lambda _: len(playout.cleared) > cleared)
    told = place.engine.wait_for(
        lambda _: [e for e in session.of_type("conversation.item.truncate") if e["item_id"] == item]
    )
    session.speech_stopped(heard, "wait a moment")
    clear = playout.cleared[-1]
    received_ms = (len(playout.audio) - begins_at) // 8
    return Interruption(
        told[0]["audio_end_ms"], (clear.first - begins_at) / 8, received_ms, clear.at - spoke_at
    )


def test_a_hundred_interruptions_are_told_as_they_were_heard(office):
    place = office()
    place.engine.behaviour.hears = False
    place.engine.behaviour.reply_ms = 200
    opened = [
        place.new_session(lambda: place.exchange.start(place.spec(script=LISTENER, seconds=90)))
        for _ in range(CALLS)
    ]
    calls = [(place.call(number), session) for number, (_, session) in enumerate(opened)]
    for _, session in calls:
        place.engine.wait_for(lambda _, session=session: session.of_type("response.create"))
    time.sleep(1.0)  # the greeting is over

    def converse(number: int) -> list[Interruption]:
        rng = random.Random(number)
        return [interrupt(place, *calls[number], rng) for _ in range(TIMES)]

    with ThreadPoolExecutor(CALLS) as pool:
        found = [each for one in pool.map(converse, range(CALLS)) for each in one]
    errors = sorted(abs(each.told_ms - each.played_ms) for each in found)
    clears = sorted(each.clear_s * 1000 for each in found)
    print(
        f"\n{len(found)} interruptions: |audio_end_ms - played| p50 {statistics.median(errors):.0f}"
        f" p99 {errors[98]:.0f} max {errors[-1]:.0f} ms;"
        f" clear after p50 {statistics.median(clears):.1f} p99 {clears[98]:.1f} max {clears[-1]:.1f} ms"
    )
    assert len(found) == CALLS * TIMES
    assert all(0 <= each.told_ms <= each.received_ms for each in found)
    assert statistics.median(errors) <= 60
    agent_is_not_mute(place, calls)
    reports = [end(place, future, call) for (future, _), (call, _) in zip(opened, calls, strict=True)]
    assert not [report.problems for report in reports if report.errors]
    for _, session in calls:
        assert session.offences == []
        assert len(session.of_type("conversation.item.truncate")) == TIMES


def agent_is_not_mute(place: Any, calls: list[Any]) -> None:
    """After all that, the next reply is played to its end."""
    for call, session in calls:
        before = len(call.line.playout.audio)
        place.engine.say(session, tone(300, seed=session.number))
        place.engine.wait_for(
            lambda _, call=call, before=before: len(call.line.playout.audio) == before + 2400
        )


def end(place: Any, future: Any, call: Any) -> CallReport:
    place.exchange.soon(call.hang_up)
    report: CallReport = future.result(120)
    return report

"""Twenty calls at once: everybody is answered, and not one frame or line lands in a wrong call."""

from __future__ import annotations

import base64
import json
from collections import defaultdict

import pytest

from flaskapp.simulator.person import Script, Utterance
from flaskapp.simulator.report import Message
from tests.fakes import tone

pytestmark = pytest.mark.system

CALLS = 20
SECONDS = 60


def voice(number: int) -> bytes:
    """Speech that only this caller has."""
    return tone(1000, period=16, seed=number + 100)


def chatty(number: int) -> Script:
    return Script((Utterance(voice(number), name=f"caller {number}"),), repeat=True, quiet_ms=300)


def test_twenty_calls_at_once_are_kept_apart(office):
    place = office()
    place.engine.behaviour.reply_ms = 1500
    received: dict[str, list[bytes]] = defaultdict(list)

    def watch(message: Message) -> None:
        event = json.loads(message.text)
        if message.direction == "received" and event["event"] == "media":
            received[message.call_sid].append(base64.b64decode(event["media"]["payload"]))

    started = []
    for number in range(CALLS):
        spec = place.spec(script=chatty(number), seconds=SECONDS, watch=watch)
        started.append(place.new_session(lambda spec=spec: place.exchange.start(spec)))
    reports = [future.result(SECONDS + 120) for future, _ in started]

    assert [report.reason for report in reports if report.failed] == []
    assert all(len(report.turns) >= 5 for report in reports)
    for number, (report, (_, session)) in enumerate(zip(reports, started, strict=True)):
        own = tone(1500, seed=session.number)
        heard = b"".join(received[report.call_sid])
        assert heard == own * (len(heard) // len(own)) + own[: len(heard) % len(own)]
        assert voice(number)[:800] in bytes(session.audio)
        strangers = [other for other in range(CALLS) if other != number]
        assert not [other for other in strangers if voice(other)[:800] in bytes(session.audio)]
        assert session.offences == []
        turns = place.turns(report.call_sid, at_least=2 * len(report.turns))
        agents = {turn["text"] for turn in turns if turn["speaker"] == "agent" and not turn["interrupted"]}
        assert agents == {f"reply of session {session.number}"}
    log = place.app.log.read_text()
    assert "Traceback" not in log

"""AudioHandler in a plain script: Exotel's messages over a leg of one's own, no Flask, no gevent."""

from __future__ import annotations

import base64
import json
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from flaskapp.phone.agent import Agent, Agents
from flaskapp.phone.audio import mulaw_to_pcm16
from flaskapp.phone.exotel import AudioHandler
from tests.fakes import Behaviour, FakeRealtime, tone
from tests.phone.callers import Ear, eventually

PROJECT = Path(__file__).resolve().parents[2]
QUIET = Agents(Agent(greeting=""))


class Leg:
    """Exotel's side: what it says, and what it is sent."""

    def __init__(self) -> None:
        self.inbox: queue.Queue[str | None] = queue.Queue()
        self.messages: list[dict[str, Any]] = []
        self.closed_with: int | None = None

    def send(self, text: str) -> None:
        self.messages.append(json.loads(text))

    def receive(self, timeout: float) -> str | None:
        try:
            text = self.inbox.get(timeout=timeout)
        except queue.Empty:
            return None
        if text is None:
            raise ConnectionError("gone")
        return text

    def close(self, code: int) -> None:
        self.closed_with = code

    def says(self, event: str, **body: Any) -> None:
        self.inbox.put(json.dumps({"event": event, **({event: body} if body else {})}))

    def speaks(self, pcm: bytes, size: int = 1600) -> None:
        for at in range(0, len(pcm), size):
            self.says("media", payload=base64.b64encode(pcm[at : at + size]).decode(), chunk=at // size + 1)

    @property
    def heard(self) -> bytes:
        media = (each["media"]["payload"] for each in self.messages if each["event"] == "media")
        return b"".join(map(base64.b64decode, media))


@pytest.fixture
def engine():
    with FakeRealtime(Behaviour(hears=False)).running() as fake:
        yield fake


@pytest.fixture
def handler(engine):
    return AudioHandler(engine.base_url, "gpt-realtime", "key", agents=QUIET, listener=Ear())


@pytest.fixture
def serve(handler):
    """Serves a leg in a thread of its own: it must be over when the test is."""
    threads: list[threading.Thread] = []

    def begin(leg: Leg, *call_sid: str) -> threading.Thread:
        threads.append(threading.Thread(target=handler.serve, args=(leg, *call_sid), daemon=True))
        threads[-1].start()
        return threads[-1]

    yield begin
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def test_the_call_is_the_one_that_the_start_names_and_both_hear_each_other(handler, engine, serve):
    leg = Leg()
    serve(leg)
    leg.says("connected")
    leg.says("start", stream_sid="s1", call_sid="c1", **{"from": "0987", "to": "0801"})
    said = tone(1000)
    leg.speaks(mulaw_to_pcm16(said))
    session = engine.wait_for(lambda fake: [each for each in fake.sessions if bytes(each.audio) == said])[0]
    assert set(handler.sessions) == {"c1"}
    engine.say(session, tone(2000, seed=2))
    eventually(lambda: len(leg.heard) >= 2 * 16_000, within_s=30)
    assert leg.heard[:32_000] == mulaw_to_pcm16(tone(2000, seed=2))
    assert {each[name] for each in leg.messages for name in ("stream_sid", "streamSid")} == {"s1"}
    leg.says("stop", reason="callended")
    eventually(lambda: leg.closed_with == 1000)
    assert [ended.reason for ended in handler.listener.ended] == ["caller_hung_up"]


def test_the_stream_of_another_call_than_the_one_served_is_turned_away(handler, engine, serve):
    leg = Leg()
    serve(leg, "c1")
    leg.says("start", stream_sid="s1", call_sid="c2")
    eventually(lambda: leg.closed_with == 1008)
    assert engine.sessions == []


def test_a_leg_that_never_says_whose_it_is_is_closed(engine, serve, monkeypatch):
    monkeypatch.setattr("flaskapp.phone.doorstep.START_WITHIN_S", 0.3)
    leg = Leg()
    serve(leg)
    eventually(lambda: leg.closed_with == 1008)
    assert engine.sessions == []


def test_a_leg_that_is_gone_before_its_start_ends_quietly(engine, serve):
    leg = Leg()
    thread = serve(leg)
    leg.inbox.put(None)
    thread.join(10)
    assert not thread.is_alive()
    assert engine.sessions == []


def test_open_calls_are_listed_and_closed_one_by_one_and_the_transcript_is_told(handler, engine, serve):
    told: list[dict[str, Any]] = []
    handler.on_transcript = told.append
    legs = {sid: Leg() for sid in ("c1", "c2")}
    for sid, leg in legs.items():
        serve(leg)
        leg.says("start", streamSid=f"s-{sid}", callSid=sid)
    engine.wait_for(lambda fake: len([each for each in fake.sessions if each.session]) == 2)
    assert set(handler.sessions) == set(legs)
    assert handler.close("c1")
    eventually(lambda: set(handler.sessions) == {"c2"})
    assert legs["c1"].closed_with == 1000
    legs["c2"].says("stop")
    eventually(lambda: len(told) == 2)
    assert [(each["call_sid"], each["event"]) for each in told] == [
        ("c1", "call_ended"),
        ("c2", "call_ended"),
    ]


@pytest.mark.parametrize("sound", [{"chunk_bytes": 100}, {"chunk_bytes": 3201}])
def test_chunks_that_exotel_does_not_take_are_refused_at_once(sound):
    with pytest.raises(ValueError, match="chunks"):
        AudioHandler("http://127.0.0.1:9/v1", "m", "k", **sound)


def test_the_module_that_lends_it_starts_nothing():
    check = (
        "import sys, exotel;"
        "assert not [name for name in sys.modules if name.startswith('flaskapp')], 'too much';"
        "from exotel import AudioHandler; AudioHandler('http://127.0.0.1:9/v1', 'm', 'k');"
        "print(sorted({'flask', 'gevent', 'gunicorn', 'redis', 'sqlalchemy', 'werkzeug'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "[]\n", done.stderr

"""Engines that fail on real sockets: what the caller hears, what the next session is given, what is told."""

from __future__ import annotations

import base64
import json
import threading
import time
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from flaskapp.phone.agent import Agent, Agents
from flaskapp.phone.audio import MULAW_SILENCE
from flaskapp.phone.commands import TellLine
from flaskapp.phone.engines.connection import Engine
from flaskapp.phone.past import Past
from flaskapp.phone.rtmt_audio_handler import RTMTAudioHandler, hold_clip
from flaskapp.phone.transcript import Line
from tests.behaviour import strange
from tests.fakes import Behaviour, FakeRealtime, Session, tone
from tests.phone.callers import Caller, Ear, begin, eventually

QUIET = Agents(Agent(greeting=""))
CLIP = base64.b64decode(hold_clip("en").payload)
WELL = Behaviour(reply_ms=200)
QUESTION = tone(400) + MULAW_SILENCE * 8 * 500


class Witness(Ear):
    """Remembers lines and reopenings too."""

    def __init__(self) -> None:
        super().__init__()
        self.reopenings: list[str] = []
        self.lines: list[TellLine] = []

    def reconnected(self, call_sid: str, result: str) -> None:
        self.reopenings.append(result)

    def line(self, call_sid: str, line: TellLine) -> None:
        self.lines.append(line)

    @property
    def final(self) -> list[tuple[int, str, str]]:
        return sorted(
            (line.position, line.speaker, line.text) for line in self.lines if line.is_final and line.text
        )


@pytest.fixture
def engine():
    with FakeRealtime(WELL).running() as fake:
        yield fake


@pytest.fixture
def witness():
    return Witness()


@pytest.fixture
def call(engine, witness):
    """Begins a call: ``call(*behaviours of the first sessions)``."""
    begun: list[tuple[Caller, threading.Thread]] = []

    def start(*behaviours: Behaviour, greets: bool = True, **options: Any) -> Caller:
        engine.script.extend(behaviours)
        agents = Agents() if greets else QUIET
        handler = RTMTAudioHandler(engine.base_url, "m", "k", agents=agents, listener=witness, **options)
        caller, thread = begin(handler, "CA1")
        begun.append((caller, thread))
        caller.handler, caller.thread = handler, thread
        return caller

    yield start
    for caller, thread in begun:
        caller.hangs_up()
        thread.join(20)
        assert not thread.is_alive()


def session(engine: FakeRealtime, number: int) -> Session:
    """The engine's session of this number, agreed."""
    return engine.wait_for(
        lambda fake: len(fake.sessions) > number and fake.sessions[number].session and fake.sessions[number]
    )


def recited(said_to: Session) -> list[tuple[str, str]]:
    items = [event["item"] for event in said_to.of_type("conversation.item.create")]
    return [(item["role"], item["content"][0]["text"]) for item in items]


def asked(said_to: Session) -> list[str]:
    return [event.get("response", {}).get("instructions", "") for event in said_to.of_type("response.create")]


def reply_of(said: Session) -> bytes:
    return tone(said.behaviour.reply_ms, seed=said.number)


def test_an_engine_that_hangs_is_covered_by_the_clip_and_opened_again(call, engine, witness):
    began = time.monotonic()
    caller = call(Behaviour(hangs=True))
    eventually(lambda: CLIP in caller.heard)
    clip_s = time.monotonic() - began
    greeted = session(engine, 0)
    eventually(lambda: reply_of(greeted) in caller.heard, within_s=20)
    assert 1.0 <= clip_s < 3.0
    assert caller.closed_with is None
    assert "Greet the caller" in asked(greeted)[0]
    assert witness.reopenings == ["ok"]
    assert [kind for _, kind in witness.faults][:1] in (["engine_slow"], ["engine_unreachable"])


def test_an_engine_that_comes_to_itself_serves_the_caller(call, engine, witness):
    caller = call(Behaviour(handshake_status=503), Behaviour(handshake_status=500))
    greeted = session(engine, 0)
    eventually(lambda: reply_of(greeted) in caller.heard)
    assert witness.reopenings == ["failed", "ok"]
    assert caller.handler.breaker.is_well


def test_a_busy_engine_is_left_alone_for_as_long_as_it_asks(call, engine):
    began = time.monotonic()
    call(Behaviour(handshake_status=429, retry_after="1.5"))
    session(engine, 0)
    assert time.monotonic() - began >= 1.5
    assert engine.refused == 1


def test_an_engine_that_dies_in_mid_reply_is_followed_by_one_that_goes_on(call, engine, witness):
    caller = call(replace(WELL, dies_after_ms=4000))
    second = session(engine, 1)
    eventually(lambda: asked(second))
    assert any(message["event"] == "clear" for message in caller.messages)
    assert "Do not greet again" in asked(second)[0]
    told = recited(second)
    assert [role for role, _ in told] == ["assistant"] * len(told)
    assert all("a reply that".startswith(text) for _, text in told)
    eventually(lambda: reply_of(second) in caller.heard)
    assert not second.offences
    cut = next(line for line in witness.lines if line.position == 0 and line.is_final)
    assert cut.interrupted
    assert [kind for _, kind in witness.faults] == ["engine_lost"]


def test_what_the_caller_says_across_a_loss_is_one_line_and_heard_whole(call, engine, witness):
    caller = call(greets=False)
    first = session(engine, 0)
    caller.speaks(MULAW_SILENCE * 8 * 200 + tone(2000, seed=3))
    eventually(lambda: first.heard_ms >= 2200)
    engine.script.append(WELL)
    first.die()
    caller.speaks(tone(1000, seed=3) + MULAW_SILENCE * 8 * 500)
    second = session(engine, 1)
    eventually(lambda: witness.final)
    heard = bytes(second.audio)
    assert heard.count(tone(8, seed=3)) == 3000 // 8
    assert [position for position, speaker, _ in witness.final if speaker == "caller"] == [0]
    eventually(lambda: reply_of(second) in caller.heard)


def test_an_expired_session_is_rolled_over_with_its_history(call, engine, witness):
    caller = call(replace(WELL, expires_after_s=6.0))
    first = session(engine, 0)
    eventually(lambda: len(witness.final) == 1)
    caller.speaks(MULAW_SILENCE * 8 * 100 + QUESTION)
    eventually(lambda: len(witness.final) == 3)
    second = engine.wait_for(
        lambda fake: len(fake.sessions) > 1 and fake.sessions[1].session and fake.sessions[1]
    )
    eventually(lambda: len(recited(second)) == 3)
    assert [role for role, _ in recited(second)] == ["assistant", "user", "assistant"]
    assert asked(second) == []
    assert [kind for _, kind in witness.faults] == ["session_expired"]
    caller.speaks(QUESTION)
    eventually(lambda: len(witness.final) == 5)
    assert [position for position, _, _ in witness.final] == [0, 1, 2, 3, 4]
    assert first.number == 0
    assert CLIP not in caller.heard


def test_an_engine_that_stalls_is_covered_and_replaced(call, engine, witness):
    caller = call(replace(WELL, stalls=True), greets=False)
    session(engine, 0)
    caller.speaks(MULAW_SILENCE * 8 * 100 + QUESTION)
    eventually(lambda: CLIP in caller.heard, within_s=15)
    line = threading.Thread(target=lambda: keep_on(caller), daemon=True)
    line.start()
    second = engine.wait_for(
        lambda fake: len(fake.sessions) > 1 and fake.sessions[1].session and fake.sessions[1]
    )
    eventually(lambda: reply_of(second) in caller.heard, within_s=20)
    assert [kind for _, kind in witness.faults] == ["engine_stalled"]
    assert recited(second)[0][0] == "user"
    assert eventually(lambda: not engine.sessions[0].is_open)


def keep_on(caller: Caller) -> None:
    """A line that is open though nobody speaks."""
    while caller.closed_with is None and caller.thread.is_alive():
        caller.speaks(MULAW_SILENCE * 160)
        time.sleep(0.1)


BAD_AUDIO = json.dumps(
    {"type": "response.output_audio.delta", "response_id": "r", "item_id": "i", "delta": "???"}
)


@pytest.mark.parametrize(
    "messages",
    [("{", "[1", "nonsense"), (BAD_AUDIO,) * 3, (json.dumps({"type": "x", "delta": "A" * (1 << 20)}),)],
    ids=["no JSON", "bad audio", "too long"],
)
def test_an_engine_that_talks_nonsense_is_replaced(call, engine, witness, messages):
    caller = call(replace(WELL, says_first=messages))
    second = session(engine, 1)
    eventually(lambda: reply_of(second) in caller.heard)
    assert witness.reopenings == ["ok"]
    assert caller.closed_with is None


@pytest.mark.parametrize("seed", range(3))
def test_events_that_nobody_knows_leave_the_call_alone(call, engine, witness, seed):
    caller = call(replace(WELL, says_first=strange(200, seed)))
    first = session(engine, 0)
    eventually(lambda: reply_of(first) in caller.heard)
    assert len(engine.sessions) == 1
    assert witness.reopenings == []


def test_a_session_that_opens_too_late_is_not_the_calls(engine, witness):
    """The first dial is answered only when the second session serves already."""

    class Twin(Engine):
        released, dials = threading.Event(), 0

        def open(self):
            self.dials += 1
            if self.dials == 1:
                self.released.wait(60)
            return super().open()

    handler = RTMTAudioHandler(engine.base_url, "m", "k", agents=Agents(), listener=witness)
    handler.engine = Twin(handler.engine.at, "m", "k")
    caller, thread = begin(handler, "CA1")
    serving = session(engine, 0)
    eventually(lambda: reply_of(serving) in caller.heard)
    handler.engine.released.set()
    late = engine.wait_for(lambda fake: len(fake.sessions) > 1 and fake.sessions[1])
    eventually(lambda: not late.is_open)
    assert late.events == []
    engine.say(serving, tone(300, seed=9))
    eventually(lambda: tone(300, seed=9) in caller.heard)
    assert witness.reopenings == ["ok"]
    caller.hangs_up()
    thread.join(20)
    assert not thread.is_alive()


class Keeper:
    """Takes once, when it is released."""

    keeps_sound = False

    def __init__(self, witness: Ear) -> None:
        self.witness, self.log, self.sources = witness, [], {}
        self.audio: tuple[int, bytes] | None = None
        self.lines: list[Line] = []

    def follow(self, call_sid, source):
        self.log.append(("follow", call_sid))
        self.sources[call_sid] = source

    def release(self, call_sid):
        self.log.append(("release", call_sid, len(self.witness.ended)))
        source = self.sources[call_sid]
        self.audio, self.lines = source.take_audio(), source.take_lines()
        assert source.take_audio() is None
        assert source.take_lines() == []


def test_a_keeper_is_given_all_that_was_said_before_the_end_is_told(call, engine, witness):
    keeper = Keeper(witness)
    caller = call(keeper=keeper, greets=False)
    session(engine, 0)
    said = MULAW_SILENCE * 8 * 100 + QUESTION
    caller.speaks(said)
    eventually(lambda: len(witness.final) == 2)
    assert 800 <= keeper.sources["CA1"].heard_until_ms <= len(said) // 8  # the rest is silence
    caller.hangs_up()
    caller.thread.join(20)
    assert keeper.log == [("follow", "CA1"), ("release", "CA1", 0)]
    assert keeper.audio == (0, said)
    assert [(line.position, line.speaker, line.is_final) for line in keeper.lines] == [
        (0, "caller", True),
        (1, "agent", True),
    ]
    (ended,) = witness.ended
    assert list(ended.lines) == keeper.lines
    assert 800 <= ended.heard_until_ms <= len(said) // 8
    assert not ended.owes_reply


def test_without_a_keeper_nothing_is_kept(call, engine):
    caller = call(greets=False)
    session(engine, 0)
    caller.speaks(QUESTION)
    bridge = caller.handler.sessions["CA1"]
    eventually(lambda: bridge.call.intake.received_ms >= 900)
    assert bridge.call.intake.flow is None
    assert bridge.take_audio() is None


def test_a_later_leg_of_a_call_goes_on_with_positions_and_times(engine, witness):
    keeper = Keeper(witness)
    handler = RTMTAudioHandler(engine.base_url, "m", "k", listener=witness, keeper=keeper)
    past = [
        Line("t1", 6, "caller", "Hello?", 1000, 2000, True),
        Line("t2", 7, "agent", "Good day.", is_final=True),
    ]
    caller = Caller("CA1")
    serve = partial(handler.serve, caller, "CA1", past=Past(past, 60_000))
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    caller.starts()
    first = session(engine, 0)
    caller.speaks(MULAW_SILENCE * 8 * 100 + QUESTION)
    eventually(lambda: len(witness.final) == 2)
    caller.hangs_up()
    thread.join(20)
    assert recited(first) == [("user", "Hello?"), ("assistant", "Good day.")]
    assert asked(first) == []
    assert [position for position, _, _ in witness.final] == [8, 9]
    assert keeper.audio is not None
    assert keeper.audio[0] == 60_000
    (ended,) = witness.ended
    assert [line.position for line in ended.lines] == [8, 9]
    assert ended.lines[0].start_ms >= 60_000
    assert ended.duration_ms >= ended.base_ms == 60_000


def test_a_call_that_is_given_up_says_what_was_not_heard(call, engine, witness):
    caller = call(greets=False)
    first = session(engine, 0)
    caller.speaks(MULAW_SILENCE * 8 * 400 + tone(600))
    eventually(lambda: first.heard_ms >= 1000)
    engine.behaviour = Behaviour(handshake_status=401)
    first.die()
    eventually(lambda: witness.ended)
    (ended,) = witness.ended
    assert (ended.needs_fallback, ended.owes_reply, ended.reason) == (True, True, "engine_rejected")
    assert ended.heard_until_ms == 400
    eventually(lambda: caller.closed_with == 1000)

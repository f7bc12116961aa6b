"""Calls that change between live and recorded: one call, one row, one transcript."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from flaskapp.simulator.person import Script, Utterance
from flaskapp.simulator.sounds import tone
from tests import servers

pytestmark = pytest.mark.system


def questions(count: int, seconds: float = 1.0) -> Script:
    said = tuple(Utterance(tone(seconds, 300 + 20 * at), name=f"question {at}") for at in range(count))
    return Script(said, quiet_ms=500, greeting_wait_s=12, reply_wait_s=30)


def transcript(office, call_sid, at_least):
    return [
        (turn["speaker"], turn["mode"]) for turn in office.turns(call_sid, at_least=at_least) if turn["text"]
    ]


def test_a_call_that_begins_while_ai_is_down_ends_live(rescue, batch, door):
    office = rescue()
    door.realtime = "resets"
    threading.Timer(20, lambda: setattr(door, "realtime", "open")).start()
    report = office.exchange.place_call(office.spec(script=questions(6), seconds=120))
    assert report.answered, report.reason
    said = transcript(office, report.call_sid, 12)
    modes = [mode for speaker, mode in said if speaker == "caller"]
    assert modes[0] == "recorded"
    assert modes[-1] == "live"
    assert modes == sorted(modes, reverse=True)  # recorded first, live afterwards, nothing in between
    assert [speaker for speaker, _ in said if speaker == "caller"] == ["caller"] * 6
    assert office.rows("select * from calls where ended_reason = 'caller_hung_up'", at_least=1)
    assert [row["mode"] for row in office.rows("select * from calls")] == ["both"]
    live = office.engine.sessions[-1]
    assert [item["item"]["role"] for item in live.of_type("conversation.item.create")][:2] == [
        "user",
        "assistant",
    ]
    assert live.of_type("response.create") == []  # nobody is greeted twice
    assert live.offences == []


def test_while_the_engine_is_known_to_be_down_new_calls_are_recorded_at_once(rescue, batch, door):
    office = rescue()
    door.realtime = "resets"
    office.exchange.place_calls([office.spec(script=questions(1), seconds=60)] * 3)
    before = door.connections["realtime"]
    report = office.place(script=questions(1), seconds=60)
    assert report.stream_sids == []
    assert report.answered, report.reason
    assert any("speak after the tone" in said for said in report.said)
    door.realtime = "open"
    deadline = time.monotonic() + 60
    while not (back := office.place(script=questions(1), seconds=60)).stream_sids:
        assert time.monotonic() < deadline, "new calls never went live again"
    assert back.answered, back.reason
    assert door.connections["realtime"] > before


def test_words_that_nobody_understood_join_the_history(rescue, batch, door):
    office = rescue()
    batch.words = ["said while nobody listened"]
    start = office.spec(script=questions(1, seconds=6), seconds=60)
    _, session = office.new_session(lambda: office.exchange.start(start))
    office.engine.wait_for(lambda _: session.sent_of_type("input_audio_buffer.speech_started"), within_s=60)
    door.realtime = "resets"
    heard_ms = session.heard_ms
    office.engine.wait_for(lambda _: session.heard_ms > heard_ms + 1500, within_s=60)
    session.die()
    call = office.call()
    office.exchange.soon(lambda: call.line.hang_up("caller"))
    servers.wait_until(
        lambda: (
            [turn["mode"] for turn in office.turns(call.sid) if turn["speaker"] == "caller"] == ["unheard"]
        ),
        "what was said last is not in the history",
        60,
    )
    last = office.turns(call.sid)[-1]
    assert last["text"] == "said while nobody listened"
    assert office.recordings(call.sid)[0][1] == "understood"


def test_a_worker_that_is_killed_takes_no_word_with_it(rescue, batch, redis_of_our_own):
    office = rescue({"REDIS_URL": redis_of_our_own})
    batch.words = ["said before the worker died"]
    office.engine.behaviour.silence_ms = 60_000  # it hears, and never gets to words
    start = office.spec(script=questions(1, seconds=4), seconds=60)
    _, session = office.new_session(lambda: office.exchange.start(start))
    office.engine.wait_for(lambda _: session.sent_of_type("input_audio_buffer.speech_started"), within_s=60)
    heard_ms = session.heard_ms
    office.engine.wait_for(lambda _: session.heard_ms > heard_ms + 3500, within_s=60)
    call = office.call()
    for worker in workers_of(office):
        os.kill(worker, signal.SIGKILL)
    office.exchange.soon(lambda: call.line.hang_up("caller"))
    servers.wait_until(
        lambda: [turn["text"] for turn in office.turns(call.sid) if turn["mode"] == "unheard"] == batch.words,
        "what was said to the killed worker is not in the history",
        90,
    )


def workers_of(office) -> list[int]:
    """The processes that serve, below gunicorn's own."""
    pid = office.app.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

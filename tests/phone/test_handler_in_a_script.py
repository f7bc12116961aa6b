"""RTMTAudioHandler in a plain script: threads, no gevent, no Flask; two calls that hear only themselves."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flaskapp.phone.agent import Agent, Agents
from flaskapp.phone.rtmt_audio_handler import RTMTAudioHandler
from tests.fakes import Behaviour, FakeRealtime, tone
from tests.phone.callers import Ear, begin, eventually

PROJECT = Path(__file__).resolve().parents[2]
QUIET = Agents(Agent(greeting=""))
CALLS = ("CA-one", "CA-two")


@pytest.fixture
def engine():
    with FakeRealtime(Behaviour(hears=False)).running() as fake:
        yield fake


@pytest.fixture
def handler(engine):
    return RTMTAudioHandler(engine.base_url, "gpt-realtime", "key", agents=QUIET, listener=Ear())


@pytest.fixture
def calls(handler, engine):
    """Two calls, each with the engine's session that hears its tone."""
    begun = {}
    for seed, call_sid in enumerate(CALLS, 1):
        caller, thread = begin(handler, call_sid)
        sound = tone(1000, seed=seed)
        caller.speaks(sound)
        session = engine.wait_for(
            lambda fake, sound=sound: [s for s in fake.sessions if bytes(s.audio) == sound]
        )
        begun[call_sid] = (caller, thread, session[0])
    yield begun
    for caller, thread, _ in begun.values():
        caller.hangs_up()
        thread.join(10)
        assert not thread.is_alive()


def test_each_call_is_heard_byte_for_byte_in_a_session_of_its_own(calls, engine):
    assert len({session.number for _, _, session in calls.values()}) == len(engine.sessions) == 2
    for seed, (_, _, session) in enumerate(calls.values(), 1):
        assert bytes(session.audio) == tone(1000, seed=seed)


def test_each_caller_hears_its_own_reply_byte_for_byte(calls, engine):
    for seed, (_, _, session) in enumerate(calls.values(), 10):
        engine.say(session, tone(3000, seed=seed))
    for seed, (caller, _, _) in enumerate(calls.values(), 10):
        eventually(lambda caller=caller: len(caller.heard) >= 24_000)
        assert caller.heard == tone(3000, seed=seed)


def test_nothing_is_said_that_the_models_do_not_know(calls):
    for _, _, session in calls.values():
        assert session.offences == []
        assert len(session.of_type("session.update")) == 1


def test_transcripts_are_told_call_by_call_in_order(handler, calls, engine):
    told = []
    handler.on_transcript = told.append
    for bridge in handler.sessions.values():
        bridge.on_transcript = told.append
    for number, (call_sid, (_, _, session)) in enumerate(calls.items()):
        session.transcribed(f"u{number}", f"words of {call_sid}")
    eventually(lambda: len(told) == 2)
    assert {(each["call_sid"], each["transcript"]) for each in told} == {
        (call_sid, f"words of {call_sid}") for call_sid in CALLS
    }


def test_open_calls_are_listed_until_they_end(handler, calls):
    assert set(handler.sessions) == set(CALLS)
    caller, thread, _ = calls[CALLS[0]]
    caller.hangs_up()
    thread.join(10)
    assert set(handler.sessions) == {CALLS[1]}


def test_one_call_can_be_closed_and_the_other_goes_on(handler, calls, engine):
    assert handler.close(CALLS[0])
    calls[CALLS[0]][1].join(10)
    assert calls[CALLS[0]][0].closed_with == 1000
    other, _, session = calls[CALLS[1]]
    engine.say(session, tone(500, seed=3))
    assert eventually(lambda: other.heard == tone(500, seed=3))
    assert not handler.close("CA-nobody")


def test_the_sessions_are_closed_when_their_calls_end(handler, calls, engine):
    handler.close(CALLS[0])
    assert engine.wait_for(lambda fake: not calls[CALLS[0]][2].is_open)
    assert calls[CALLS[1]][2].is_open


def test_the_subscriber_of_a_call_hears_it_to_its_end(engine):
    told = []
    handler = RTMTAudioHandler(engine.base_url, "gpt-realtime", "key")
    handler.on_transcript = told.append
    caller, thread = begin(handler, "CA-three")
    eventually(lambda: any("reply of session" in each["transcript"] for each in told))
    caller.hangs_up()
    thread.join(10)
    assert told[-1]["event"] == "call_ended"
    assert [each["sequence"] for each in told] == list(range(1, len(told) + 1))
    assert {each["call_sid"] for each in told} == {"CA-three"}


@pytest.mark.alone
def test_a_caller_who_hangs_up_leaves_no_thread_behind(engine):
    import threading

    handler = RTMTAudioHandler(engine.base_url, "gpt-realtime", "key", agents=QUIET)
    for number in range(5):
        caller, thread = begin(handler, f"CA{number}")
        engine.wait_for(lambda fake, number=number: len(fake.sessions) == number + 1)
        caller.hangs_up()
        thread.join(10)
    ours = {"leg-writer", "engine-leg", "call-pulse", "wire-drain"}
    assert eventually(lambda: not ours & {each.name for each in threading.enumerate()})


def test_neither_flask_nor_gevent_is_needed():
    check = (
        "import sys, flaskapp.phone.rtmt_audio_handler as module;"
        "module.RTMTAudioHandler('http://127.0.0.1:9/v1', 'm', 'k');"
        "print(sorted({'flask', 'gevent', 'redis', 'sqlalchemy', 'werkzeug'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "[]\n", done.stderr


def test_a_stream_that_is_not_admitted_leaves_the_running_call_alone(calls, handler, engine):
    from flaskapp.phone.errors import TicketError
    from tests.phone.callers import Caller

    def refuse(started):
        raise TicketError("none")

    stranger = Caller(CALLS[0])
    stranger.starts()
    stranger.hangs_up()
    handler.serve(stranger, CALLS[0], admit=refuse)
    assert stranger.closed_with == 1008
    assert handler.listener.ended == []
    caller, _, session = calls[CALLS[0]]
    engine.say(session, tone(200, seed=5))
    assert eventually(lambda: caller.heard == tone(200, seed=5))
    assert set(handler.sessions) == set(CALLS)


def test_two_starts_in_one_breath_are_one(engine):
    from tests.phone.callers import Caller

    handler = RTMTAudioHandler(engine.base_url, "m", "key", agents=QUIET, listener=Ear())
    started = []
    handler.listener.call_started = lambda call_sid, event: started.append(call_sid)
    caller = Caller("CA-twice")
    thread = threading.Thread(target=handler.serve, args=(caller, "CA-twice"), daemon=True)
    caller.starts()
    caller.starts()
    thread.start()
    session = engine.wait_for(lambda fake: fake.sessions and fake.sessions[-1].session and fake.sessions[-1])
    engine.say(session, tone(200))
    assert eventually(lambda: caller.heard == tone(200))
    assert started == ["CA-twice"]
    caller.hangs_up()
    thread.join(10)
    assert not thread.is_alive()


def test_a_second_stream_that_is_admitted_takes_the_call_over(calls, handler):
    first, thread, _ = calls[CALLS[0]]
    second, second_thread = begin(handler, CALLS[0])
    assert eventually(lambda: first.closed_with == 1000)
    thread.join(10)
    assert [ended.reason for ended in handler.listener.ended] == ["replaced"]
    assert set(handler.sessions) == set(CALLS)
    second.hangs_up()
    second_thread.join(10)
    assert not second_thread.is_alive()


def test_subscribers_and_listeners_that_fail_do_not_end_a_call(engine):
    class Broken(Ear):
        def refuse(self, *_):
            raise RuntimeError("no room")

        call_started = engine_opened = engine_closed = line = turn = frame_delay = call_ended = refuse

    handler = RTMTAudioHandler(engine.base_url, "m", "key", agents=QUIET, listener=Broken())
    handler.on_transcript = lambda update: 1 / 0
    caller, thread = begin(handler, "CA-broken")
    session = engine.wait_for(lambda fake: fake.sessions and fake.sessions[-1].session and fake.sessions[-1])
    engine.say(session, tone(300))
    assert eventually(lambda: caller.heard == tone(300))
    caller.hangs_up()
    thread.join(10)
    assert not thread.is_alive()
    assert caller.closed_with == 1000


def test_a_stream_that_names_another_call_does_not_take_this_one_over(calls, handler, engine):
    from tests.phone.callers import Caller

    stranger = Caller("CA-somebody-else")
    stranger.starts()
    handler.serve(stranger, CALLS[0])
    assert stranger.closed_with == 1008
    assert handler.listener.ended == []
    caller, _, session = calls[CALLS[0]]
    engine.say(session, tone(200, seed=6))
    assert eventually(lambda: caller.heard == tone(200, seed=6))

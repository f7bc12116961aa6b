"""An engine that does not serve gets no new calls until it has been seen to serve again."""

from __future__ import annotations

import logging
import threading

import pytest

from flaskapp.phone.breaker import (
    ASKED_WITHIN_S,
    PROBE_EVERY_S,
    PROBE_REFUSED_EVERY_S,
    Breaker,
    Health,
    probe,
)
from flaskapp.phone.engines.connection import Engine, endpoint
from flaskapp.phone.errors import EngineRejected, EngineUnreachable
from flaskapp.phone.rtmt_audio_handler import RTMTAudioHandler
from tests.fakes import Behaviour, FakeRealtime
from tests.phone.callers import Ear, begin, eventually


class Watched:
    """A breaker on a clock of its own: its thread rests until the test lets time pass."""

    def __init__(self, *outcomes: Exception | None) -> None:
        self.now, self.rests, self.probes = 1000.0, [], 0
        self.wanted: list[bool] = []
        self._outcomes = list(outcomes)
        self._go, self._rested = threading.Semaphore(0), threading.Semaphore(0)
        self.breaker = Breaker(self._probe, lambda: self.now, self._wait)

    def _probe(self, wants_reply: bool) -> None:
        self.probes += 1
        self.wanted.append(wants_reply)
        if self._outcomes and (outcome := self._outcomes.pop(0)) is not None:
            raise outcome

    def _wait(self, seconds: float) -> None:
        self.rests.append(seconds)
        self._rested.release()
        self._go.acquire()  # for ever, where the test is done with it: its thread ends with the process
        self.now += seconds

    def passes(self) -> None:
        """The thread's present rest is over; back when it rests again, or is no more."""
        thread = self.thread
        assert thread is not None
        assert self._rested.acquire(timeout=30)
        self._go.release()
        eventually(lambda: self._rested._value or not thread.is_alive())

    @property
    def thread(self) -> threading.Thread | None:
        return self.breaker._prober

    def fails(self, times: int, every_s: float = 1.0, status: int = 503) -> None:
        for _ in range(times):
            self.breaker.failed("engine_rejected", status)
            self.now += every_s


def test_an_engine_of_which_nothing_bad_is_known_is_well_and_not_watched():
    watched = Watched()
    assert (watched.breaker.allows_new_calls, watched.breaker.is_well) == (True, True)
    assert watched.thread is None


def test_a_failure_makes_it_doubtful_and_a_session_makes_up_for_it():
    watched = Watched()
    watched.fails(1)
    assert (watched.breaker.allows_new_calls, watched.breaker.is_well) == (True, False)
    watched.breaker.succeeded()
    assert watched.breaker.is_well


@pytest.mark.parametrize(
    ("times", "every_s", "is_open"), [(4, 1.0, False), (5, 1.0, True), (5, 7.5, True), (5, 8.0, False)]
)
def test_five_failures_in_half_a_minute_open_it(times, every_s, is_open):
    watched = Watched()
    watched.fails(times, every_s)
    assert watched.breaker.allows_new_calls is not is_open


def test_failures_before_a_success_do_not_count():
    watched = Watched()
    watched.fails(4)
    watched.breaker.succeeded()
    watched.fails(4)
    assert watched.breaker.allows_new_calls


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_only_a_person_can_mend_opens_it_at_once_and_is_said_once(status, caplog):
    watched = Watched()
    with caplog.at_level(logging.ERROR):
        watched.fails(3, status=status)
    assert not watched.breaker.allows_new_calls
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert str(status) in caplog.text


def test_an_engine_that_fails_is_looked_at_every_five_seconds_until_it_is_well():
    watched = Watched(EngineUnreachable("x"), EngineRejected(503), ValueError("anything"), None)
    watched.fails(5)
    thread = watched.thread
    for number in range(1, 4):
        watched.passes()
        assert watched.probes == number
        assert watched.breaker.health is Health.OPEN
    watched.passes()
    assert watched.breaker.is_well
    assert set(watched.rests) == {PROBE_EVERY_S}
    watched.passes()
    assert not thread.is_alive()
    assert watched.thread is None


def test_one_that_refuses_us_is_looked_at_every_half_minute():
    watched = Watched(EngineRejected(401))
    watched.fails(1, status=401)
    watched.passes()
    assert watched.rests == [PROBE_REFUSED_EVERY_S] * 2


def test_nobody_looks_at_an_engine_that_nobody_asks_for_until_somebody_does():
    watched = Watched(*[EngineUnreachable("x")] * 1000)
    watched.fails(5, 0.0)
    thread = watched.thread
    while thread.is_alive():
        watched.passes()
    assert watched.probes == ASKED_WITHIN_S / PROBE_EVERY_S
    assert not watched.breaker.allows_new_calls  # which asks
    assert watched.thread is not None
    watched.passes()
    assert watched.probes == ASKED_WITHIN_S / PROBE_EVERY_S + 1


def test_an_engine_that_let_callers_wait_has_to_reply_before_it_is_well():
    watched = Watched(EngineUnreachable("x"), None, EngineUnreachable("x"))
    watched.fails(1)
    watched.breaker.failed("engine_stalled")
    watched.passes()
    watched.passes()
    assert watched.breaker.is_well
    watched.passes()
    watched.fails(1)
    watched.passes()
    assert watched.wanted == [True, True, False]


@pytest.mark.parametrize("stalls", [False, True])
def test_a_probe_can_ask_for_a_reply(stalls, monkeypatch):
    with FakeRealtime(Behaviour(stalls=stalls)).running() as engine:
        at = Engine(endpoint(engine.base_url), "m", "k")
        if stalls:
            with pytest.raises(EngineUnreachable):
                probe(at, wants_reply=True)
        else:
            probe(at, wants_reply=True)
        assert [event["type"] for event in engine.sessions[0].events] == ["response.create"]
        assert engine.sessions[0].offences == []


def test_an_engine_that_grants_sessions_and_never_replies_gets_no_more_calls():
    with FakeRealtime(Behaviour(stalls=True)).running() as engine:
        handler = RTMTAudioHandler(engine.base_url, "m", "k", listener=Ear())
        handler.breaker = Breaker(lambda wants_reply: None, wait=lambda seconds: threading.Event().wait(3600))
        begun = [begin(handler, f"CA{number}") for number in range(3)]
        for caller, thread in begun:
            thread.join(60)
            assert caller.closed_with == 1000
        assert not handler.breaker.allows_new_calls


def test_a_probe_opens_a_session_and_closes_it():
    with FakeRealtime().running() as engine:
        probe(Engine(endpoint(engine.base_url), "m", "k"))
        assert eventually(lambda: not engine.sessions[0].is_open)
        assert engine.sessions[0].events == []


@pytest.mark.parametrize("status", [401, 503])
def test_a_probe_that_is_refused_says_so(status):
    with FakeRealtime(Behaviour(handshake_status=status)).running() as engine:
        with pytest.raises(EngineRejected) as refused:
            probe(Engine(endpoint(engine.base_url), "m", "k"))
        assert refused.value.status == status


def test_calls_tell_the_breaker_how_the_engine_does():
    with FakeRealtime(Behaviour(handshake_status=503)).running() as engine:
        handler = RTMTAudioHandler(engine.base_url, "m", "k", listener=Ear())
        handler.breaker = Breaker(lambda wants_reply: None, wait=lambda seconds: threading.Event().wait(3600))
        for _ in range(2):
            caller, thread = begin(handler, "CA1")
            thread.join(30)
            assert caller.closed_with == 1000
        assert not handler.breaker.allows_new_calls
        engine.behaviour = Behaviour()
        caller, thread = begin(handler, "CA2")
        assert eventually(lambda: handler.breaker.is_well)
        caller.hangs_up()
        thread.join(30)

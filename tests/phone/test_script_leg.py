"""A leg made of anything that sends, receives and closes text."""

from __future__ import annotations

import queue
import threading
import time

import pytest

from flaskapp.phone.errors import LegClosed
from flaskapp.phone.script_leg import QUEUE_MESSAGES, ScriptLeg
from tests.phone.callers import eventually


class Pipe:
    """Somebody's leg, which does what a test says."""

    def __init__(self) -> None:
        self.inbox: queue.Queue[str | bytes | Exception] = queue.Queue()
        self.sent: list[str] = []
        self.codes: list[int] = []
        self.may_send = threading.Event()
        self.may_send.set()
        self.breaks = False

    def send(self, text: str) -> None:
        if self.breaks:
            raise ConnectionError("gone")
        self.may_send.wait(10)
        self.sent.append(text)

    def receive(self, timeout: float):
        try:
            got = self.inbox.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(got, Exception):
            raise got
        return got

    def close(self, code: int) -> None:
        self.codes.append(code)


@pytest.fixture
def pipe():
    return Pipe()


@pytest.fixture
def leg(pipe):
    leg = ScriptLeg(pipe)
    yield leg
    pipe.may_send.set()
    leg.close()
    eventually(lambda: not leg._writer.is_alive())


def test_text_and_bytes_are_received_alike(leg, pipe):
    pipe.inbox.put("grüß")
    pipe.inbox.put(b"raw")
    assert [leg.receive(1), leg.receive()] == [["grüß".encode()], [b"raw"]]


def test_nothing_within_the_time_is_nothing(leg):
    assert leg.receive(0.01) == []


def test_messages_are_sent_in_order(leg, pipe):
    leg.send([b"1", b"2"])
    leg.send([b"3"], droppable=True)
    assert eventually(lambda: len(pipe.sent) == 3)
    assert pipe.sent == ["1", "2", "3"]


def test_a_slow_send_holds_nobody_up(leg, pipe):
    pipe.may_send.clear()
    began = time.monotonic()
    leg.send([b"x"] * (QUEUE_MESSAGES + 200), droppable=True)
    assert time.monotonic() - began < 1.0
    assert 0 < leg.dropped <= 200


def test_what_may_not_be_dropped_is_kept(leg, pipe):
    pipe.may_send.clear()
    leg.send([b"x"] * (QUEUE_MESSAGES + 10), droppable=True)
    leg.send([b"clear"])
    pipe.may_send.set()
    assert eventually(lambda: pipe.sent and pipe.sent[-1] == "clear")


def test_dropping_the_queue_forgets_what_was_not_sent(leg, pipe):
    pipe.may_send.clear()
    leg.send([b"%d" % n for n in range(50)], droppable=True)
    time.sleep(0.05)
    leg.drop_queued()
    leg.send([b"clear"])
    pipe.may_send.set()
    assert eventually(lambda: "clear" in pipe.sent)
    assert pipe.sent == ["0", "clear"]


def test_an_exception_from_receive_ends_the_leg(leg, pipe):
    pipe.inbox.put(RuntimeError("whatever"))
    for _ in range(2):
        with pytest.raises(LegClosed) as closed:
            leg.receive(1)
        assert closed.value.code == 1006


def test_an_exception_from_send_ends_the_leg_and_closes_theirs(leg, pipe):
    pipe.breaks = True
    leg.send([b"x"])
    with pytest.raises(LegClosed):
        leg.receive()
    leg.close(1000)
    assert pipe.codes == [1000]


def test_closing_sends_what_is_queued_and_closes_once(leg, pipe):
    leg.send([b"last words"])
    leg.close(1008, "so")
    leg.close(1000)
    leg._writer.join(10)
    assert (pipe.sent, pipe.codes) == (["last words"], [1008])
    with pytest.raises(LegClosed) as closed:
        leg.receive(1)
    assert (closed.value.code, closed.value.reason) == (1008, "so")


def test_after_the_end_nothing_is_queued(leg, pipe):
    leg.close()
    leg._writer.join(10)
    leg.send([b"x"] * 10)
    assert leg._outbox.qsize() == 0


def test_closing_waits_for_nobody(pipe):
    """The thread that lets time pass for every call closes this one."""
    pipe.may_send.clear()
    leg = ScriptLeg(pipe)
    leg.send([b"x"])
    leg.close(1000)
    assert leg._writer.is_alive()
    pipe.may_send.set()
    assert eventually(lambda: pipe.codes == [1000])


def test_dropping_the_queue_of_a_leg_that_ended_still_ends_its_thread(pipe):
    pipe.may_send.clear()
    leg = ScriptLeg(pipe)
    leg.send([b"x"])
    pipe.inbox.put(EOFError())
    with pytest.raises(LegClosed):
        leg.receive()
    leg.drop_queued()
    pipe.may_send.set()
    assert eventually(lambda: not leg._writer.is_alive())


def test_a_receive_that_does_not_wait_does_not_spin():
    class Hasty(Pipe):
        asked = 0

        def receive(self, timeout):
            self.asked += 1
            return None

    hasty = Hasty()
    leg = ScriptLeg(hasty)
    threading.Timer(0.2, leg.close).start()
    with pytest.raises(LegClosed):
        leg.receive()
    assert hasty.asked < 100

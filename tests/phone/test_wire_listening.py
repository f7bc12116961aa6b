"""A wire that the event loop reads: what it tells, how it pauses, what a listener that fails brings about."""

from __future__ import annotations

import threading
import time

import pytest

from flaskapp.phone.errors import LegClosed
from flaskapp.phone.waiting import is_cooperative
from flaskapp.phone.wire import Wire
from tests.phone.wires import PAIRS, PATIENCE_S, close_payload, joined, messages

TEXT, CLOSE = 1, 8
pytestmark = pytest.mark.skipif(not is_cooperative(), reason="there is no event loop that calls back")


class Ear:
    """Keeps what it is told; ``stumbles`` over a message if it is to."""

    def __init__(self, stumbles: bytes = b"") -> None:
        self.heard: list[bytes] = []
        self.ends: list[LegClosed] = []
        self._stumbles, self._news = stumbles, threading.Event()

    def hear(self, messages: list[bytes]) -> None:
        self.heard += messages
        self._news.set()
        if self._stumbles in messages:
            raise ZeroDivisionError

    def ended(self, closed: LegClosed) -> None:
        self.ends.append(closed)
        self._news.set()

    def waits(self, until) -> None:
        while not until(self):
            assert self._news.wait(PATIENCE_S), (self.heard, self.ends)
            self._news.clear()

    def is_told_nothing(self, within_s: float = 0.1) -> bool:
        self._news.clear()
        return not self._news.wait(within_s)


@pytest.fixture(params=PAIRS)
def ends(request):
    with joined(PAIRS[request.param]) as pair:
        yield pair


def test_what_came_before_anybody_listened_is_told_first_and_at_once(ends):
    wire, peer = ends
    peer.write(peer.frame(TEXT, b"one") + peer.frame(TEXT, b"two"))
    wire.unread(Wire.receive(wire, PATIENCE_S))
    ear = Ear()
    wire.listen(ear.hear, ear.ended)
    assert ear.heard == [b"one", b"two"]
    peer.says(TEXT, b"three")
    ear.waits(lambda ear: len(ear.heard) == 3)
    assert ear.heard == [b"one", b"two", b"three"]


def test_an_end_that_came_before_anybody_listened_is_told_at_once(ends):
    wire, peer = ends
    peer.write(peer.frame(TEXT, b"last words") + peer.frame(CLOSE, close_payload(1000)))
    wire.unread(Wire.receive(wire, PATIENCE_S))
    ear = Ear()
    wire.listen(ear.hear, ear.ended)
    ear.waits(lambda ear: ear.ends)
    assert (ear.heard, [end.code for end in ear.ends]) == ([b"last words"], [1000])


def test_nothing_is_told_while_it_pauses_and_everything_afterwards(ends):
    wire, peer = ends
    ear = Ear()
    wire.listen(ear.hear, ear.ended)
    wire.pause(True)
    for number in range(20):
        peer.says(TEXT, b"%d" % number)
    assert ear.is_told_nothing()
    wire.pause(False)
    wire.pause(False)
    ear.waits(lambda ear: len(ear.heard) == 20)
    assert ear.heard == [b"%d" % number for number in range(20)]


def test_an_end_during_a_pause_is_told_after_it(ends):
    wire, peer = ends
    ear = Ear()
    wire.listen(ear.hear, ear.ended)
    wire.pause(True)
    peer.write(peer.frame(TEXT, b"last words") + peer.frame(CLOSE, close_payload(1000)))
    assert ear.is_told_nothing()
    wire.pause(False)
    ear.waits(lambda ear: ear.ends)
    assert ear.heard == [b"last words"]


def test_a_listener_that_fails_ends_the_connection_and_is_told_so(ends):
    """The event loop forgets whoever fails: nobody would ever hear of this peer again."""
    wire, peer = ends
    ear = Ear(stumbles=b"two")
    wire.listen(ear.hear, ear.ended)
    peer.says(TEXT, b"one")
    ear.waits(lambda ear: ear.heard)
    peer.says(TEXT, b"two")
    ear.waits(lambda ear: len(ear.heard) == 2)
    time.sleep(0)  # the event loop finds out when its listener is done
    wire.tick(time.monotonic())
    assert [end.code for end in ear.ends] == [1006]
    peer.reads_to_the_end()


def test_time_ends_no_connection_that_is_listened_to_or_pauses(ends):
    wire, _ = ends
    ear = Ear()
    wire.listen(ear.hear, ear.ended)
    for is_paused in (True, False):
        wire.pause(is_paused)
        wire.tick(time.monotonic())
    assert ear.is_told_nothing(0.05)


def test_a_wire_that_is_disposed_of_tells_no_more(ends):
    wire, peer = ends
    ear = Ear()
    wire.listen(ear.hear, ear.ended)
    peer.says(TEXT, b"one")
    ear.waits(lambda ear: ear.heard)
    wire.dispose()
    assert ear.is_told_nothing(0.05)
    assert ear.ends == []


def test_two_wires_are_heard_side_by_side():
    with joined() as (one, ones_peer), joined() as (two, twos_peer):
        ear = Ear()
        two.listen(ear.hear, ear.ended)
        twos_peer.says(TEXT, b"two")
        ones_peer.says(TEXT, b"one")
        assert messages(one, 1) == [b"one"]
        ear.waits(lambda ear: ear.heard)
        assert ear.heard == [b"two"]

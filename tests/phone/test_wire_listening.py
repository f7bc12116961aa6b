"""A wire that the event loop reads: what it tells, how it pauses, what a listener that fails brings about."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from functools import partial

import pytest

from flaskapp.phone import frames
from flaskapp.phone.errors import LegClosed
from flaskapp.phone.reader import WAIT, Reader
from flaskapp.phone.waiting import is_cooperative
from flaskapp.phone.wire import Wire
from tests.phone.wires import (
    PAIRS,
    PATIENCE_S,
    QUEUE,
    close_payload,
    joined,
    memory_tls_pair,
    messages,
    small_buffers,
)

TEXT, CLOSE = 1, 8
pytestmark = pytest.mark.skipif(not is_cooperative(), reason="there is no event loop that calls back")


narrow_tls = partial(memory_tls_pair, pair=small_buffers)


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
    with joined(PAIRS[request.param], max_size=1 << 20) as pair:
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
    wire.tick(time.monotonic())
    assert len(ear.ends) == 1
    peer.reads_to_the_end()


def test_after_the_end_the_socket_is_watched_no_more(ends):
    """At its end a socket can be read for ever: the event loop would do nothing else."""
    wire, peer = ends
    ear = Ear()
    wire.listen(ear.hear, ear.ended)
    peer.says(CLOSE, close_payload(1000))
    ear.waits(lambda ear: ear.ends)
    assert wire._watcher is None


class Keen(Reader):
    """Takes reads of so many bytes for itself."""

    __slots__ = ("took",)

    def __init__(self) -> None:
        self.took: list[int] = []

    def read(self) -> None:
        try:
            data = self._recv(1 << 16)
        except WAIT:
            return
        if len(data) < 100:
            self._took(data)
        else:
            self.took.append(len(data))


def test_what_a_reader_takes_for_itself_nobody_else_is_told(ends):
    wire, peer = ends
    ear, keen = Ear(), Keen()
    wire.listen(ear.hear, ear.ended, keen)
    peer.says(TEXT, b"." * 200)
    deadline = time.monotonic() + PATIENCE_S
    while not keen.took:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    peer.says(TEXT, b"short")
    ear.waits(lambda ear: ear.heard)
    assert ear.heard == [b"short"]


def test_where_a_lone_frame_may_be_too_long_no_reader_takes_any():
    with joined(max_size=1 << 15) as (wire, peer):
        ear, keen = Ear(), Keen()
        wire.listen(ear.hear, ear.ended, keen)
        peer.says(TEXT, b"." * 200)
        ear.waits(lambda ear: ear.heard)
        assert keen.took == []
        peer.says(TEXT, b"." * 40_000)
        ear.waits(lambda ear: ear.ends)
        assert ear.ends[0].code == 1009


def put(wire: Wire, text: bytes) -> None:
    """As whoever makes frames himself has to do it."""
    if not wire.is_clear:
        wire.send([text], droppable=True)
        return
    frame = frames.text_frame(text, wire._is_client)
    try:
        sent = wire.put(frame)
    except (OSError, ValueError) as error:
        wire.left(frame, 0, error)
    else:
        if sent < len(frame):
            wire.left(frame, sent)


def test_what_is_passed_on_keeps_its_place_among_what_is_sent(ends):
    wire, peer = ends
    wanted = []
    for number in range(60):
        wanted += [b"passed %d" % number + b"." * (number * 30), b"sent %d" % number]
        put(wire, wanted[-2])
        wire.send([wanted[-1]])
    assert peer.reads(lambda peer: len(peer.texts) == 120 and peer.texts) == wanted


@pytest.mark.parametrize("pair", [small_buffers, narrow_tls], ids=["plain", "TLS"])
def test_what_is_passed_on_to_a_slow_peer_waits_or_is_dropped_and_counted(pair):
    with joined(pair, queue_bytes=QUEUE) as (wire, peer):
        for number in range(600):
            put(wire, b"%05d" % number + b"x" * 2000)
        wire.send([b"the end"])
        assert 0 < wire.waiting.size < QUEUE + 70_000
        peer.reads(lambda peer: b"the end" in peer.texts)
        numbers = [int(text[:5]) for text in peer.texts[:-1]]
        assert numbers == sorted(set(numbers))
        assert wire.dropped == 600 - len(numbers) > 0


def test_what_is_passed_on_overtakes_nothing_that_waits():
    """The peer has just made room, and whoever drains the queue has not come round yet."""
    with joined(small_buffers, queue_bytes=64 << 20) as (wire, peer):
        for number in range(200):
            put(wire, b"%05d" % number + b"x" * 2000)
            if number > 20:
                peer._take(peer.sock.recv(1500))
        wire.send([b"the end"])
        peer.reads(lambda peer: b"the end" in peer.texts)
        assert [int(text[:5]) for text in peer.texts[:-1]] == list(range(200))


@pytest.mark.parametrize("way", ["send", "put"])
def test_the_last_of_what_was_encrypted_goes_out_though_nothing_follows(way):
    with joined(narrow_tls) as (wire, peer):
        text = b"x" * 60_000
        wire.send([text]) if way == "send" else put(wire, text)
        assert wire.waiting.size > 0
        assert peer.reads(lambda peer: peer.texts) == [text]


def test_nothing_is_passed_on_over_a_connection_that_is_over(ends):
    wire, peer = ends
    put(wire, b"before")
    wire.close(1000)
    assert not wire.is_clear
    put(wire, b"after")
    raw = b""
    peer.sock.settimeout(0.2)
    with contextlib.suppress(TimeoutError):
        while True:
            raw += peer.sock.recv(65_536)
    assert b"before" in raw
    assert b"after" not in raw


@pytest.mark.parametrize("code", [CLOSE, None])
def test_nobody_puts_a_frame_on_a_connection_whose_peer_has_gone(ends, code):
    wire, peer = ends
    ear = Ear()
    wire.listen(ear.hear, ear.ended)
    assert wire.is_clear
    if code is None:
        peer.sock.close()
    else:
        peer.says(CLOSE, close_payload(1000))
    ear.waits(lambda ear: ear.ends)
    assert not wire.is_clear


def test_what_a_connection_that_broke_did_not_take_is_no_error():
    with joined() as (wire, _):
        wire._sock.shutdown(socket.SHUT_RDWR)
        put(wire, b"." * 300)
        assert not wire.is_clear


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

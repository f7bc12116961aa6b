"""What a wire sends: whole frames, at once, bounded, whatever the peer does; and how it ends a connection."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time

import pytest
from websockets.frames import Opcode

from flaskapp.phone.wire import CLOSE_WITHIN_S, PING_EVERY_S, PONG_WITHIN_S, STALLED_AFTER_S
from tests.phone.wires import PAIRS, Clock, close_payload, ending, joined, unix_pair

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
QUEUE = 256 << 10


@pytest.fixture(params=[*PAIRS, "client"])
def ends(request):
    with joined(PAIRS.get(request.param, PAIRS["tcp"]), client=request.param == "client") as pair:
        yield pair


@contextlib.contextmanager
def small_buffers():
    """A pair on which very little fits between the two ends."""
    with unix_pair() as (ours, theirs):
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        yield ours, theirs


@pytest.fixture
def narrow():
    """A wire with a small queue, on small buffers, to a peer that reads only when told to."""
    with joined(small_buffers, queue_bytes=QUEUE) as pair:
        yield pair


def fill(wire, size: int = 8000, droppable: bool = True) -> int:
    """Send until the socket takes no more; how many messages that took."""
    for number in range(10_000):
        wire.send([b"%06d" % number + b"x" * size], droppable=droppable)
        if wire._outbox_bytes > QUEUE // 2:
            return number + 1
    raise AssertionError("the socket takes everything")


def test_messages_arrive_as_they_were_sent(ends):
    wire, peer = ends
    wire.send([b"one", "zwei, grüß".encode(), b"x" * 65_536])
    assert peer.reads(lambda peer: len(peer.texts) == 3 and peer.texts) == [
        b"one",
        "zwei, grüß".encode(),
        b"x" * 65_536,
    ]


def test_a_peer_that_never_reads_blocks_nobody(narrow):
    wire, _ = narrow
    began = time.monotonic()
    for _ in range(2000):
        wire.send([b"x" * 8000], droppable=True)
    assert time.monotonic() - began < 5.0
    assert wire._outbox_bytes <= QUEUE + 8200


def test_the_oldest_audio_goes_first_and_is_counted(narrow):
    """Messages larger than the socket's buffer: the one on its way is half sent and must stay."""
    wire, peer = narrow
    total, size = 100, 20_000
    for number in range(total):
        wire.send([b"%06d" % number + b"x" * size], droppable=True)
    wire.send([b"the end"])
    peer.reads(lambda peer: b"the end" in peer.texts)
    numbers = [int(text[:6]) for text in peer.texts[:-1]]
    assert numbers == sorted(numbers)
    assert wire.dropped == total - len(numbers) > 0
    assert wire._outbox_bytes == 0
    kept = QUEUE // (size + 100) - 2
    assert numbers[-kept:] == list(range(total - kept, total))


def test_what_may_not_be_dropped_is_kept_in_its_place(narrow):
    wire, peer = narrow
    first = fill(wire)
    for number in range(20):
        wire.send([b"keep %d" % number])
        wire.send([b"x" * 30_000], droppable=True)
    wire.send([b"the end"])
    peer.reads(lambda peer: b"the end" in peer.texts)
    assert [text for text in peer.texts if text[:4] == b"keep"] == [b"keep %d" % n for n in range(20)]
    assert wire.dropped == first + 20 + 20 + 1 - len(peer.texts) > 0


def test_dropping_the_queue_leaves_whole_messages_and_what_comes_after(narrow):
    wire, peer = narrow
    sent = fill(wire)
    wire.send([b"not audio"])
    wire.drop_queued()
    wire.send([b"clear"])
    peer.reads(lambda peer: b"clear" in peer.texts)
    assert peer.texts[-2:] == [b"not audio", b"clear"]
    assert all(len(text) == 8006 for text in peer.texts[:-2])
    assert wire.dropped == sent - len(peer.texts[:-2]) > 0


def test_whole_frames_leave_when_many_send_at_once_through_a_narrow_socket(narrow):
    wire, peer = narrow
    count = 60

    def speak(name: int) -> None:
        for number in range(count):
            wire.send([b"%d:%d:" % (name, number) + b"%d" % name * (number * 40), b"%d:mark" % name])

    sys.setswitchinterval(1e-5)  # threads take turns in the middle of everything
    speakers = [threading.Thread(target=speak, args=(name,)) for name in range(8)]
    for speaker in speakers:
        speaker.start()
    peer.reads(lambda peer: len(peer.texts) == 8 * count * 2)
    for name in range(8):
        own = [text for text in peer.texts if text.startswith(b"%d:" % name)]
        wanted = [b"%d:%d:" % (name, n) + b"%d" % name * (n * 40) for n in range(count)]
        assert own[::2] == wanted
        assert own[1::2] == [b"%d:mark" % name] * count


@pytest.fixture(autouse=True)
def _the_usual_switching():
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


def test_a_peer_that_pings_and_never_reads_fills_no_memory(narrow):
    wire, peer = narrow
    fill(wire, droppable=False)
    pings = peer.frame(PING, b"p" * 125) * 100
    for _ in range(60):
        peer.write(pings)
        wire.receive(0.01)
    assert wire._outbox_bytes < QUEUE + 70_000


def test_a_ping_is_sent_every_twenty_seconds():
    clock = Clock()
    with joined(clock=clock) as (wire, peer):
        for _ in range(3):
            clock.now += PING_EVERY_S
            wire.tick(clock.now)
            seen = len(peer.of_kind(Opcode.PING))
            peer.reads(lambda peer, seen=seen: len(peer.of_kind(Opcode.PING)) > seen)
            peer.says(PONG)
            wire.receive(0.05)
        wire.tick(clock.now + PING_EVERY_S - 1)
        assert len(peer.of_kind(Opcode.PING)) == 3


def test_a_peer_that_answers_no_ping_is_given_up():
    clock = Clock()
    with joined(clock=clock) as (wire, _):
        wire.tick(clock.now + PING_EVERY_S)
        wire.tick(clock.now + PING_EVERY_S + PONG_WITHIN_S)
        assert wire.receive(0) == []
        wire.tick(clock.now + PING_EVERY_S + PONG_WITHIN_S + 0.25)
        assert ending(wire, 1)[1].code == 1006


def test_a_peer_that_answers_pings_is_kept():
    clock = Clock()
    with joined(clock=clock) as (wire, peer):
        for _ in range(10):
            clock.now += PING_EVERY_S + 1
            wire.tick(clock.now)
            peer.says(PONG)
            assert wire.receive(0.05) == []


def test_a_peer_that_takes_nothing_for_ten_seconds_is_given_up():
    clock = Clock()
    with joined(clock=clock) as (wire, _):
        fill(wire)
        wire.tick(clock.now + STALLED_AFTER_S)
        assert wire.receive(0) == []
        wire.tick(clock.now + STALLED_AFTER_S + 0.25)
        assert ending(wire, 1)[1].code == 1006


@pytest.mark.parametrize("code", [1000, 1003, 1007, 1008, 1009, 1011, 1013, 4000])
def test_closing_tells_the_peer_why_and_ends_with_its_answer(ends, code):
    wire, peer = ends
    wire.close(code, "because")
    peer.reads(lambda peer: peer.close_code)
    assert (peer.close_code, peer.protocol.close_rcvd.reason) == (code, "because")
    for data in peer.protocol.data_to_send():
        peer.write(data)
    assert ending(wire)[1].code == code


def test_a_reason_too_long_for_a_close_frame_is_cut_at_a_character():
    with joined() as (wire, peer):
        wire.close(1000, "x" * 122 + "ü" * 100)
        peer.reads(lambda peer: peer.close_code)
        assert peer.protocol.close_rcvd.reason == "x" * 122


def test_messages_before_a_close_arrive_and_none_after_it(ends):
    wire, peer = ends
    wire.send([b"last words"])
    wire.close(1000)
    wire.send([b"too late"])
    wire.close(1011)
    peer.reads(lambda peer: peer.close_code)
    assert (peer.texts, peer.close_code) == ([b"last words"], 1000)


def test_a_close_waits_behind_what_a_slow_peer_has_not_read(narrow):
    wire, peer = narrow
    count = fill(wire, droppable=False)
    wire.close(1000, "goodbye")
    peer.reads(lambda peer: peer.close_code)
    assert (len(peer.texts), peer.close_code) == (count, 1000)


def test_a_peer_that_ignores_the_close_is_left_within_a_second():
    with joined() as (wire, _):
        wire.close(1000)
        began = time.monotonic()
        ticking = threading.Thread(
            target=lambda: [(time.sleep(0.05), wire.tick(time.monotonic())) for _ in range(40)]
        )
        ticking.start()
        ending(wire)
        assert time.monotonic() - began < CLOSE_WITHIN_S + 0.5
        ticking.join()


def test_what_comes_after_our_close_is_not_delivered():
    with joined() as (wire, peer):
        wire.close(1000)
        peer.says(TEXT, b"I was not finished")
        peer.says(CLOSE, close_payload(1000))
        assert ending(wire)[0] == []


def test_sending_on_a_dead_connection_is_silent():
    with joined(PAIRS["tcp"]) as (wire, peer):
        peer.sock.close()
        for _ in range(100):
            wire.send([b"x" * 1000], droppable=True)
        assert ending(wire)[1].code == 1006
        wire.send([b"x"])
        wire.close()
        wire.drop_queued()


def test_a_peer_cut_off_in_mid_message_is_not_reset_and_learns_why():
    """Closing a socket with unread bytes in it resets the connection."""
    with joined(PAIRS["tcp"]) as (wire, peer):
        size = 32 << 20  # more than all buffers between the two ends
        huge = b"\x81\xff" + size.to_bytes(8, "big") + bytes(4) + b"x" * size
        failures: list[OSError] = []
        writer = threading.Thread(target=_write, args=(peer, huge, failures))
        writer.start()
        assert ending(wire)[1].code == 1009
        wire.dispose(close_socket=True)
        writer.join()
        peer.reads_to_the_end()
        assert (peer.close_code, failures) == (1009, [])


def _write(peer, data: bytes, failures: list[OSError]) -> None:
    try:
        peer.write(data)
    except OSError as error:
        failures.append(error)


def test_a_send_that_fails_wakes_the_reader():
    with joined() as (wire, peer):
        peer.sock.shutdown(socket.SHUT_RD)
        wire.send([b"x"])
        assert ending(wire, 1)[1].code == 1006

"""How a wire keeps a connection, and how it ends one: pings, closes, deadlines, failures."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from websockets.frames import Opcode

from flaskapp.phone.wire import CLOSE_WITHIN_S, PING_EVERY_S, PONG_WITHIN_S, STALLED_AFTER_S
from tests.phone.wires import (
    PAIRS,
    QUEUE,
    Clock,
    close_payload,
    ending,
    fill,
    joined,
    narrow_tcp_pair,
    small_buffers,
)

TEXT, CLOSE, PONG = 1, 8, 10


@pytest.fixture(params=[*PAIRS, "client"])
def ends(request):
    with joined(PAIRS.get(request.param, PAIRS["tcp"]), client=request.param == "client") as pair:
        yield pair


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


@pytest.mark.parametrize("client", [False, True])
def test_pings_and_their_answers_make_no_protocol(client):
    clock = Clock()
    with joined(clock=clock, client=client) as (wire, peer):
        for answer in (b"", b"as you said"):
            clock.now += PING_EVERY_S
            wire.tick(clock.now)
            seen = len(peer.of_kind(Opcode.PING))
            peer.reads(lambda peer, seen=seen: len(peer.of_kind(Opcode.PING)) > seen)
            assert wire._protocol._protocol is None
            peer.says(PONG, answer)
            wire.receive(0.05)
            assert wire._protocol._protocol is None
            wire.tick(clock.now + PONG_WITHIN_S + 0.25)  # it was heard: nobody gives the peer up
            assert wire.is_clear


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


def test_a_close_waits_behind_what_a_slow_peer_has_not_read():
    with joined(small_buffers, queue_bytes=QUEUE) as (wire, peer):
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
    with joined(narrow_tcp_pair, clock=Clock()) as (wire, peer):  # however long the peer takes over it
        size = 2 << 20  # more than all buffers between the two ends
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

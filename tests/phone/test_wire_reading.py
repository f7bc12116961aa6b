"""What a wire reads: messages whole and together, and the end of the connection with its code."""

from __future__ import annotations

import struct
import threading
import time

import pytest
from websockets.frames import Opcode

from flaskapp.phone.errors import LegClosed
from tests.phone.wires import PAIRS, close_payload, ending, joined, messages

TEXT, BINARY, CONT, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10


@pytest.fixture(params=[*PAIRS, "client"])
def ends(request):
    """A wire and its peer: over a socket pair, over TCP, and with ours as the client."""
    with joined(PAIRS.get(request.param, PAIRS["tcp"]), client=request.param == "client") as pair:
        yield pair


def test_everything_that_one_read_brought_comes_at_once(ends):
    wire, peer = ends
    peer.write(b"".join(peer.frame(TEXT, b"message %d" % n) for n in range(200)))
    assert wire.receive(5) == [b"message %d" % n for n in range(200)]


def test_a_message_in_a_thousand_pieces_of_one_byte_is_whole(ends):
    wire, peer = ends
    for at, byte in enumerate(data := b"a message that comes slowly" * 10):
        peer.says(TEXT if at == 0 else CONT, bytes([byte]), fin=at == len(data) - 1)
    assert messages(wire, 1) == [data]


def test_bytes_that_trickle_in_make_the_same_message(ends):
    wire, peer = ends
    for byte in peer.frame(TEXT, b"slow"):
        peer.write(bytes([byte]))
    assert messages(wire, 1) == [b"slow"]


def test_a_ping_between_fragments_is_answered_and_disturbs_nothing(ends):
    wire, peer = ends
    peer.says(TEXT, b"one ", fin=False)
    peer.says(PING, b"are you there")
    peer.says(CONT, b"message")
    assert messages(wire, 1) == [b"one message"]
    assert peer.reads(lambda peer: peer.of_kind(Opcode.PONG)) == [b"are you there"]


def test_nothing_within_the_time_is_nothing(ends):
    wire, _ = ends
    began = time.monotonic()
    assert wire.receive(0.05) == []
    assert 0.04 < time.monotonic() - began < 2.0


def test_pings_do_not_lengthen_the_wait_for_a_message():
    with joined() as (wire, peer):
        timers = [threading.Timer(0.05 * n, peer.says, (PING, b"x")) for n in range(1, 20)]
        began = time.monotonic()
        for timer in timers:
            timer.start()
        assert wire.receive(0.2) == []
        assert time.monotonic() - began < 0.6
        for timer in timers:
            timer.join()


@pytest.mark.parametrize("text", ["", "grüß Gott", "\U0001f4de" * 100])
def test_any_text_comes_as_it_was_sent(ends, text):
    wire, peer = ends
    peer.says(TEXT, text.encode())
    assert messages(wire, 1) == [text.encode()]


def test_a_character_split_between_fragments_is_whole_again(ends):
    wire, peer = ends
    euro = "€".encode()
    peer.says(TEXT, euro[:1], fin=False)
    peer.says(CONT, euro[1:])
    assert messages(wire, 1) == [euro]


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 4999])
def test_the_peers_close_code_and_reason_are_told_and_echoed(ends, code):
    wire, peer = ends
    peer.says(TEXT, b"last words")
    peer.says(CLOSE, close_payload(code, "tschüß"))
    got, closed = ending(wire)
    assert (got, closed.code, closed.reason) == ([b"last words"], code, "tschüß")
    peer.reads(lambda peer: peer.close_code)
    assert peer.close_code == code


def test_a_close_without_a_code_is_1005(ends):
    wire, peer = ends
    peer.says(CLOSE)
    assert ending(wire)[1].code == 1005


@pytest.mark.parametrize("how", ["end", "reset"])
def test_a_connection_that_breaks_is_1006(how):
    with joined(PAIRS["tcp"]) as (wire, peer):
        peer.says(TEXT, b"last words")
        peer.write(peer.frame(TEXT, b"cut off")[:5])
        time.sleep(0.05)
        if how == "reset":
            peer.sock.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER: close sends RST
            got = wire.receive(1)
        else:
            got = []
        peer.sock.close()
        rest, closed = ending(wire)
        assert (got + rest, closed.code) == ([b"last words"], 1006)


def test_an_end_that_was_told_once_is_told_again(ends):
    wire, peer = ends
    peer.says(CLOSE, close_payload(1000))
    ending(wire)
    with pytest.raises(LegClosed):
        wire.receive(1)


def test_messages_before_a_protocol_error_are_not_lost(ends):
    wire, peer = ends
    peer.write(peer.frame(TEXT, b"stop") + peer.frame(TEXT, b"x", rsv=1))
    got, closed = ending(wire)
    assert (got, closed.code) == ([b"stop"], 1002)


def test_a_binary_message_is_1003():
    with joined() as (wire, peer):
        peer.says(TEXT, b"before")
        peer.says(BINARY, b"\0\1\2")
        got, closed = ending(wire)
        peer.reads_to_the_end()
        assert (got, closed.code, peer.close_code) == ([b"before"], 1003, 1003)


def test_a_wire_that_takes_binary_reads_it_like_text():
    with joined(takes_binary=True) as (wire, peer):
        peer.says(BINARY, b'{"type":"session.created"}')
        assert messages(wire, 1) == [b'{"type":"session.created"}']


@pytest.mark.parametrize(
    "text", [b"\xff", b"ok \xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"cut \xe2\x82"]
)
def test_text_that_is_not_utf8_is_1007(ends, text):
    wire, peer = ends
    peer.says(TEXT, text)
    assert ending(wire)[1].code == 1007
    peer.reads(lambda peer: peer.close_code)
    assert peer.close_code == 1007


def test_a_message_of_exactly_the_limit_is_read(ends):
    wire, peer = ends
    peer.says(TEXT, b"x" * 65_536)
    assert messages(wire, 1) == [b"x" * 65_536]


def test_a_message_beyond_the_limit_is_1009_before_it_is_read(ends):
    wire, peer = ends
    peer.write(peer.frame(TEXT, b"x" * 65_537)[:20])
    assert ending(wire)[1].code == 1009


def test_fragments_beyond_the_limit_together_are_1009(ends):
    wire, peer = ends
    for at in range(5):
        peer.says(TEXT if at == 0 else CONT, b"x" * 16_000, fin=False)
    assert ending(wire)[1].code == 1009


def test_empty_fragments_take_no_memory():
    with joined() as (wire, peer):
        peer.says(TEXT, b"", fin=False)
        peer.write(peer.frame(CONT, b"", fin=False) * 5000)
        assert wire.receive(0.1) == []
        assert len(wire._inlet._parts) <= 1
        peer.says(CONT, b"text")
        assert messages(wire, 1) == [b"text"]


@pytest.mark.parametrize("size", [126, 1000])
def test_a_control_frame_that_is_too_long_is_1002(ends, size):
    wire, peer = ends
    peer.says(PING, b"x" * size)
    assert ending(wire)[1].code == 1002


def test_an_end_during_the_wait_wakes_the_reader():
    with joined() as (wire, peer):
        peer.sock.close()
        assert ending(wire)[1].code == 1006

"""TLS in memory: records come split and together, leave through narrow sockets, and end in every way."""

from __future__ import annotations

import random
import socket
import ssl
import time

import pytest

from tests.phone.certificates import contexts
from tests.phone.sealed import Ear, frame, met, talking
from tests.phone.wires import PATIENCE_S, ending, messages, small_buffers

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture(params=VERSIONS, ids=lambda version: version.name)
def server(request):
    """The tests' TLS server, for once of this version only."""
    context = contexts()[0]
    before = context.minimum_version, context.maximum_version
    context.minimum_version = context.maximum_version = request.param
    yield context
    context.minimum_version, context.maximum_version = before


def test_a_record_may_come_byte_by_byte(server):
    with talking(server=server) as (wire, sealer):
        data = sealer.sealed(frame(b"slowly"), frame(b"and on"))
        for at in range(len(data)):
            sealer.says(data[at : at + 1])
        assert messages(wire, 2) == [b"slowly", b"and on"]


def test_many_records_may_come_in_one_read(server):
    texts = [b"message %d" % number for number in range(300)]
    with talking(server=server) as (wire, sealer):
        sealer.says(sealer.sealed(*(frame(text) for text in texts)))
        assert messages(wire, len(texts)) == texts


def test_a_read_that_ends_within_a_record_gives_what_was_whole_before_it():
    with talking() as (wire, sealer):
        first, second = sealer.sealed(frame(b"whole")), sealer.sealed(frame(b"in two"))
        sealer.says(first + second[:9])
        assert messages(wire, 1) == [b"whole"]
        assert wire.receive(0.05) == []
        sealer.says(second[9:])
        assert messages(wire, 1) == [b"in two"]


@pytest.mark.parametrize("seed", range(8))
def test_records_split_anywhere_are_the_same_messages(seed):
    chance = random.Random(seed)
    texts = [chance.randbytes(chance.choice([0, 5, 160, 400, 20_000])).hex().encode() for _ in range(60)]
    with talking() as (wire, sealer):
        stream = b"".join(frame(text) for text in texts)
        parts, at = [], 0
        while at < len(stream):
            size = chance.choice([1, 7, 300, 1500, 16_384, 40_000])
            parts.append(stream[at : at + size])
            at += size
        data = sealer.sealed(*parts)
        sealer.sock.setblocking(True)
        got: list[bytes] = []
        cuts = sorted(chance.sample(range(1, len(data)), 80))
        for begin, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
            sealer.says(data[begin:end])
            got += wire.receive(0)
        assert got + messages(wire, len(texts) - len(got)) == texts


@pytest.mark.parametrize("size", [16_384, 16_385, 65_537, 300_000])
def test_messages_larger_than_a_record_pass_both_ways(server, size):
    with talking(server=server) as (wire, sealer):
        big = bytes([97 + size % 26]) * size
        sealer.says(sealer.sealed(frame(big), frame(b"small")))
        assert messages(wire, 2) == [big, b"small"]
        wire.send([big, b"small"])
        assert Ear(sealer).hears(b"small") == [big, b"small"]


def test_what_the_system_does_not_take_waits_encrypted_and_goes_out_whole_and_in_order():
    texts = [b"%05d" % number + b"x" * 9000 for number in range(120)]
    with talking(pair=small_buffers) as (wire, sealer):
        for text in texts:
            wire.send([text])
        assert wire.waiting.size > 0
        assert len(wire._tls.unsent) > 0
        assert Ear(sealer).hears(texts[-1]) == texts
        wait_until(lambda: not wire.waiting.size)
        assert not wire._tls.unsent


def test_audio_that_is_dropped_breaks_no_record():
    """Encrypted bytes have a number: whoever leaves some out ends the connection."""
    with talking(pair=small_buffers, queue_bytes=100_000) as (wire, sealer):
        for number in range(300):
            wire.send([b"%05d" % number + b"x" * 3000], droppable=True)
            if number % 50 == 49:
                wire.send([b"keep %d" % number])
                wire.drop_queued()
        wire.send([b"the end"])
        heard = Ear(sealer).hears(b"the end")
        audio = [int(text[:5]) for text in heard if text.endswith(b"x")]
        assert audio == sorted(audio)
        assert len(audio) + wire.dropped == 300
        assert wire.dropped > 0
        assert [text for text in heard if text[:4] == b"keep"] == [b"keep %d" % n for n in range(49, 300, 50)]


def test_a_peer_that_reads_nothing_holds_nobody_up_and_what_waits_is_known():
    with talking(pair=small_buffers, queue_bytes=100_000) as (wire, _):
        for _ in range(500):
            wire.send([b"x" * 3000], droppable=True)
        assert wire.waiting.size < 100_000 + 2 * 16_384 + 6000
        assert wire.dropped > 0


def test_a_goodbye_of_tls_is_the_end_after_all_that_came_before_it():
    with talking() as (wire, sealer):
        sealer.says(sealer.sealed(frame(b"last words")) + sealer.farewell())
        got, closed = ending(wire)
        assert (got, closed.code) == ([b"last words"], 1006)


def test_a_goodbye_of_tls_alone_is_the_end():
    with talking() as (wire, sealer):
        sealer.says(sealer.farewell())
        assert ending(wire)[1].code == 1006


def test_an_end_without_a_goodbye_is_the_end_after_all_that_came_before_it():
    with talking() as (wire, sealer):
        sealer.says(sealer.sealed(frame(b"last words")) + b"\x17\x03\x03\x00")
        sealer.sock.close()
        got, closed = ending(wire)
        assert (got, closed.code) == ([b"last words"], 1006)


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 no\r\n\r\n", b"\x17\x03\x03\x00\x40" + b"?" * 64])
def test_what_is_no_tls_is_the_end_after_all_that_came_before_it(garbage):
    with talking() as (wire, sealer):
        sealer.says(sealer.sealed(frame(b"last words")) + garbage)
        got, closed = ending(wire)
        assert (got, closed.code) == ([b"last words"], 1006)


def test_a_close_frame_and_the_goodbye_of_tls_in_one_read_tell_why():
    with talking() as (wire, sealer):
        closes = b"\x88\x02\x03\xf3"  # 1011
        sealer.says(sealer.sealed(frame(b"last words"), closes) + sealer.farewell())
        got, closed = ending(wire)
        assert (got, closed.code) == ([b"last words"], 1011)


def test_sending_to_a_peer_that_is_gone_is_silent():
    with talking() as (wire, sealer):
        sealer.sock.close()
        for _ in range(50):
            wire.send([b"x" * 1000], droppable=True)
        assert ending(wire)[1].code == 1006
        wire.send([b"x"])
        wire.close()


def wait_until(condition) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.01)


def test_a_socket_as_any_other_has_a_number_and_options():
    with met() as (ours, _):
        assert ours.fileno() > 0
        ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)

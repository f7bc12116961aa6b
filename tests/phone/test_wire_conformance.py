"""RFC 6455 on a real socket, case by case, with our wire as the server and as the client."""

from __future__ import annotations

import pytest
from websockets.frames import Opcode

from flaskapp.phone.errors import LegClosed
from tests.phone.rfc6455 import CASES, PING, Case
from tests.phone.wires import Peer, joined, raw_frame, tcp_pair

MARKER = b"the last ping"


@pytest.fixture(params=["server", "client"])
def ends(request):
    with joined(client=request.param == "client", takes_binary=True) as pair:
        yield pair


def play(peer: Peer, case: Case, piecemeal: bool) -> None:
    """All at once, or byte by byte; a last ping shows whether the endpoint still listens."""
    frames = [peer.frame(each.opcode, each.payload, fin=each.fin, rsv=each.rsv) for each in case.sent]
    data = b"".join(frames) + (peer.frame(PING, MARKER) if case.ends is None else b"")
    if piecemeal:
        for byte in data:
            peer.write(bytes([byte]))
    else:
        peer.write(data)


def outcome(wire, peer: Peer) -> tuple[list[bytes], int | None]:
    """What came out of the wire, and how its owner learned of the end."""
    got: list[bytes] = []
    try:
        while MARKER not in peer.of_kind(Opcode.PONG):
            got += wire.receive(0.01)
            peer.sock.settimeout(0.0)
            try:
                peer._take(peer.sock.recv(1 << 16))
            except BlockingIOError:
                continue
    except LegClosed as closed:
        return got, closed.code
    return got, None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_endpoint_does_what_the_standard_says(ends, case):
    wire, peer = ends
    play(peer, case, piecemeal=False)
    got, told = outcome(wire, peer)
    assert (tuple(got), told) == (case.messages, case.told or case.ends)
    check_answers(peer, case)


SMALL = [case for case in CASES if sum(len(each.payload) for each in case.sent) < 200]


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)
def test_the_endpoint_does_the_same_when_every_byte_comes_alone(case):
    with joined(tcp_pair) as (wire, peer):
        play(peer, case, piecemeal=True)
        got, told = outcome(wire, peer)
        assert (tuple(got), told) == (case.messages, case.told or case.ends)


def check_answers(peer: Peer, case: Case) -> None:
    if case.ends is None:
        assert tuple(peer.of_kind(Opcode.PONG)) == (*case.pongs, MARKER)
        return
    peer.sock.settimeout(5)
    while peer.close_code is None:
        peer._take(peer.sock.recv(1 << 16))
    assert peer.close_code == case.ends


def test_a_client_that_does_not_mask_is_1002():
    with joined() as (wire, peer):
        peer.write(raw_frame(1, b"bare", mask=False))
        assert outcome(wire, peer) == ([], 1002)


def test_a_server_that_masks_is_1002():
    with joined(client=True) as (wire, peer):
        peer.write(raw_frame(1, b"masked", mask=True))
        assert outcome(wire, peer) == ([], 1002)


def test_the_server_closes_its_side_once_both_have_said_close():
    with joined() as (wire, peer):
        peer.write(raw_frame(8, b"\x03\xe8"))
        outcome(wire, peer)
        peer.reads_to_the_end()
        assert peer.is_ended


def test_the_client_waits_for_the_server_to_close_its_side():
    with joined(client=True) as (wire, peer):
        peer.write(raw_frame(8, b"\x03\xe8", mask=False))
        outcome(wire, peer)
        peer.reads(lambda peer: peer.close_code)
        peer.sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            peer.sock.recv(1)

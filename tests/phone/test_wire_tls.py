"""The wire over TLS: what OpenSSL holds back is not forgotten, what it wants is given."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from tests.phone.certificates import contexts
from tests.phone.wires import close_payload, ending, joined, messages, tls_pair

TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9


@pytest.fixture
def sealed():
    with joined(partial(tls_pair, *contexts()), queue_bytes=64 << 20) as pair:
        yield pair


def test_messages_pass_both_ways(sealed):
    wire, peer = sealed
    peer.says(TEXT, "grüß Gott".encode())
    assert messages(wire, 1) == ["grüß Gott".encode()]
    wire.send([b"Servus"])
    assert peer.reads(lambda peer: peer.texts) == [b"Servus"]


def test_what_waits_decrypted_inside_tls_is_read(sealed):
    """Many messages in one TLS record: the socket itself has nothing more to show after the first read."""
    wire, peer = sealed
    for _ in range(20):
        peer.write(b"".join(peer.frame(TEXT, b"x" * 500) for _ in range(30)))
    assert messages(wire, 600) == [b"x" * 500] * 600


def test_nothing_within_the_time_is_nothing(sealed):
    assert sealed[0].receive(0.05) == []


def test_close_codes_pass_both_ways(sealed):
    wire, peer = sealed
    peer.says(CLOSE, close_payload(4001, "so"))
    assert ending(wire)[1].code == 4001
    assert peer.reads(lambda peer: peer.close_code) == 4001


def test_a_binary_message_is_1003(sealed):
    wire, peer = sealed
    peer.says(BINARY, b"\0")
    assert ending(wire)[1].code == 1003
    assert peer.reads(lambda peer: peer.close_code) == 1003


def test_an_abrupt_end_is_1006(sealed):
    wire, peer = sealed
    peer.sock.close()
    assert ending(wire)[1].code == 1006


def test_a_slow_peer_gets_every_message_whole(sealed):
    wire, peer = sealed
    sent = [b"%05d" % number + b"y" * 20_000 for number in range(400)]
    for message in sent:
        wire.send([message])
    assert peer.reads(lambda peer: len(peer.frames) == len(sent) and peer.texts) == sent


def test_both_directions_at_full_speed_stay_whole(sealed):
    wire, peer = sealed
    out = [b"out %05d" % number + b"o" * 3000 for number in range(1000)]
    inward = [b"in %05d" % number + b"i" * 3000 for number in range(1000)]
    heard: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: [wire.send([message]) for message in out]),
        threading.Thread(target=lambda: heard.extend(messages(wire, len(inward), 30))),
        threading.Thread(target=lambda: peer.write(b"".join(peer.frame(TEXT, each) for each in inward))),
    ]
    for thread in threads:
        thread.start()
    peer.reads(lambda peer: len(peer.frames) == len(out), 30)
    for thread in threads:
        thread.join(30)
    assert peer.texts == out
    assert heard == inward


def test_a_ping_is_answered(sealed):
    wire, peer = sealed
    peer.says(PING, b"x")
    wire.receive(0.05)
    assert peer.reads(lambda peer: peer.frames)[0].data == b"x"

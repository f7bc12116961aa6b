"""What a wire sends: whole frames, at once, bounded, whatever the peer does."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from tests.phone.wires import PAIRS, QUEUE, fill, joined, small_buffers

PING = 9


@pytest.fixture(params=[*PAIRS, "client"])
def ends(request):
    with joined(PAIRS.get(request.param, PAIRS["tcp"]), client=request.param == "client") as pair:
        yield pair


@pytest.fixture
def narrow():
    """A wire with a small queue, on small buffers, to a peer that reads only when told to."""
    with joined(small_buffers, queue_bytes=QUEUE) as pair:
        yield pair


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
    assert wire._outbox.size <= QUEUE + 8200


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
    assert wire._outbox.size == 0
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
    assert wire._outbox.size < QUEUE + 70_000

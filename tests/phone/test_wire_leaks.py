"""Two hundred connections, ended in every way, leave nothing behind."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.phone.wires import close_payload, ending, joined, tcp_pair

TEXT, CLOSE = 1, 8


def talk_and_close(wire, peer) -> None:
    wire.send([b"hello"])
    peer.says(CLOSE, close_payload(1000))


def leave_without_a_word(wire, peer) -> None:
    peer.sock.close()


def never_read(wire, peer) -> None:
    for _ in range(30):
        wire.send([b"x" * 100_000], droppable=True)
    wire.abort()


def be_binary(wire, peer) -> None:
    peer.says(2, b"\0")


ENDINGS = [talk_and_close, leave_without_a_word, never_read, be_binary]


def connect_and_end(how) -> None:
    with joined(tcp_pair) as (wire, peer):
        how(wire, peer)
        ending(wire)
        if how is be_binary:
            peer.sock.close()


def census() -> dict[str, int]:
    """What this process holds: threads, open files, and under gevent greenlets."""
    gc.collect()
    held = {"threads": threading.active_count()}
    if Path("/proc/self/fd").exists():
        held["files"] = len(os.listdir("/proc/self/fd"))
    if "greenlet" in sys.modules:
        from greenlet import greenlet

        held["greenlets"] = sum(isinstance(each, greenlet) and not each.dead for each in gc.get_objects())
    return held


def settled(before: dict[str, int]) -> dict[str, int]:
    """The census, once what is ending has ended."""
    for _ in range(100):
        if (now := census()) == before:
            break
        time.sleep(0.02)
    return now


@pytest.mark.alone
def test_two_hundred_connections_leave_nothing_behind():
    for how in ENDINGS:  # whatever is made once, is made now
        connect_and_end(how)
    time.sleep(0.2)
    before = census()
    for number in range(200):
        connect_and_end(ENDINGS[number % len(ENDINGS)])
    assert all(left <= before[what] for what, left in settled(before).items())

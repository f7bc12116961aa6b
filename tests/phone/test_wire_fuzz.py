"""Random bytes and mutilated frames: a wire ends with LegClosed, and with nothing else."""

from __future__ import annotations

import random

import pytest

from flaskapp.phone.errors import LegClosed
from tests.phone.rfc6455 import CASES
from tests.phone.wires import ending, joined, raw_frame

SEEDS = range(40)
ROUNDS = 15


def noise(chance: random.Random) -> bytes:
    return chance.randbytes(chance.randrange(1, 400))


def frames(chance: random.Random) -> bytes:
    """A few frames with random headers, some of them right."""
    made = [
        raw_frame(
            chance.choice([0, 1, 1, 1, 2, 8, 9, 10, chance.randrange(16)]),
            chance.choice([b"", b"text", "ü".encode(), chance.randbytes(chance.randrange(200))]),
            fin=chance.random() < 0.7,
            rsv=chance.choice([0, 0, 0, 0, 0, chance.randrange(8)]),
            mask=chance.random() < 0.95,
        )
        for _ in range(chance.randrange(1, 12))
    ]
    return b"".join(made)


def mutilated(chance: random.Random) -> bytes:
    """What a table of right and wrong frames becomes when bytes are changed, lost or doubled."""
    case = chance.choice(CASES)
    data = bytearray().join(raw_frame(each.opcode, each.payload[:300], fin=each.fin) for each in case.sent)
    for _ in range(chance.randrange(1, 5)):
        at = chance.randrange(len(data))
        choice = chance.randrange(3)
        if choice == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif choice == 1:
            del data[at : at + chance.randrange(1, 4)]
        else:
            data[at:at] = data[at : at + chance.randrange(1, 20)]
        data = data or bytearray(b"x")
    return bytes(data)


@pytest.mark.parametrize("make", [noise, frames, mutilated])
@pytest.mark.parametrize("client", [False, True])
def test_nothing_but_the_end_comes_of_it(make, client):
    for seed in SEEDS:
        chance = random.Random(f"{seed} {make.__name__}")
        with joined(client=client, takes_binary=chance.random() < 0.5) as (wire, peer):
            feed(wire, peer, make, chance)


def feed(wire, peer, make, chance: random.Random) -> None:
    """Everything is written, then the peer is gone: the wire must say so, soon."""
    try:
        for _ in range(ROUNDS):
            peer.write(make(chance))
            for message in wire.receive(0):
                message.decode()
            wire.send([b"still here"], droppable=True)
    except (LegClosed, OSError):
        pass
    peer.sock.close()
    ending(wire)

"""Messages that were right once: values swapped for odd ones, bytes changed, pieces lost. Seeded."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterable, Iterator
from typing import Any

ODD = [
    None,
    *(True, False, 0, -1, 1.5, 10**30, -(10**30), 1e300, 2**63, 2**64),
    *("", "x", "5", "\u0000", "ü", "x" * 5000),
    *([], {}, [[]], [None], {"a": {"b": []}}),
]
FRAGMENTS = [b"1e999", b"-1e999", b"9" * 400, b'"\\ud800"', b"NaN", b"\xff", b"[" * 3000, b"{" * 3000]


def mutants(seeds: Iterable[dict[str, Any]], chance: random.Random, count: int) -> Iterator[bytes]:
    """So many messages, each one a seed that went wrong in one to three places."""
    seeds = list(seeds)
    for _ in range(count):
        message = json.loads(json.dumps(chance.choice(seeds)))
        for _ in range(chance.randrange(1, 4)):
            _swap(message, chance)
        data = bytearray(json.dumps(message, ensure_ascii=chance.random() < 0.5).encode())
        if chance.random() < 0.4:
            _scratch(data, chance)
        yield bytes(data)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a message."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    here = [(value, key) for key, _ in items]
    return here + [place for key in [key for _, key in here] for place in _places(value[key])]


def _swap(message: dict[str, Any], chance: random.Random) -> None:
    places = _places(message)
    if not places:
        return
    container, key = chance.choice(places)
    if chance.random() < 0.2 and isinstance(container, dict):
        del container[key]
    else:
        container[key] = copy.deepcopy(chance.choice(ODD))


def _scratch(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    choice = chance.randrange(4)
    if choice == 0:
        data[at] = chance.randrange(256)
    elif choice == 1:
        del data[at : at + chance.randrange(1, 9)]
    elif choice == 2:
        data[at:at] = chance.choice(FRAGMENTS)
    else:
        colon = data.find(b":", at)
        data[colon + 1 : colon + 2] = chance.choice(FRAGMENTS)

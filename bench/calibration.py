"""A fixed piece of pure Python, timed: what this machine is worth at this moment."""

from __future__ import annotations

import statistics
import time

ROUNDS = 250


def work() -> int:
    """The same work for ever: numbers, text, a dictionary, function calls. Never change it."""
    seen: dict[bytes, int] = {}
    total = 0
    for number in range(ROUNDS):
        name = b"%d" % (number % 50)
        seen[name] = seen.get(name, 0) + len(name)
        total += max(number, seen[name]) % 7
    return total


def calibrate(seconds: float = 0.25) -> float:
    """Microseconds of CPU that the work takes: the median of as many times as fit."""
    clock = time.thread_time_ns
    taken: list[int] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until or len(taken) < 9:
        began = clock()
        work()
        taken.append(clock() - began)
    return statistics.median(taken) / 1000

"""The highest number that still passes: doubled until one fails, then halved between the two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

NEAR_ENOUGH = 0.1


@dataclass(frozen=True)
class Found:
    """``passed``: the highest number that did, 0 if none; ``failed``: the lowest that did not, 0 if none."""

    passed: int
    failed: int


def highest(passes: Callable[[int], bool], start: int, most: int, may_go_on: Callable[[], bool]) -> Found:
    """Search upwards from ``start``, or downwards if that fails already.

    ``may_go_on`` is asked before each try: time is limited, and what is known by then is returned.
    """
    passed = failed = 0
    number = min(start, most)
    while number and may_go_on():
        if passes(number):
            passed = number
        else:
            failed = number
        number = _next(passed, failed, most)
    return Found(passed, failed)


def _next(passed: int, failed: int, most: int) -> int:
    """What to try next; 0 when it is known to 10 %."""
    if not failed:
        return min(passed * 2, most) if passed < most else 0
    if not passed:
        return failed // 2
    if failed - passed <= max(passed * NEAR_ENOUGH, 1):
        return 0
    return _rounded((passed + failed) // 2, passed, failed)


def _rounded(number: int, above: int, below: int) -> int:
    """To tens where there is room for it: nobody believes the last digit."""
    tens = round(number, -1)
    return tens if above < tens < below else number

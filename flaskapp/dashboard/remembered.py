"""What several pages ask for within a second or two, worked out once for all of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

Answer = TypeVar("Answer")

MOST = 64


class Remembered:
    """One worker's."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[Any, tuple[float, Any]] = {}

    def get(self, key: Any, for_s: float, make: Callable[[], Answer]) -> Answer:
        """The answer, at most so old. What ``make`` raises is not remembered."""
        now = self._clock()
        until, answer = self._known.get(key, (0.0, None))
        if now >= until:
            answer = make()
            if len(self._known) >= MOST:
                self._known = {name: each for name, each in self._known.items() if each[0] > now}
            self._known[key] = (now + for_s, answer)
        return answer

"""A faulty carrier's media frames: lost, doubled, swapped, flooded, or made up.

Pure: decides what leaves in place of each frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from flaskapp.simulator.spec import Faults, Injection


class FaultyFrames:
    """What the ``Faults`` of a call make of its stream of frames."""

    def __init__(self, faults: Faults, names: Mapping[str, str]) -> None:
        self._faults = faults
        self._names = names
        ordered = sorted(faults.injections, key=lambda injection: injection.at_ms)
        self._before = [injection for injection in ordered if injection.at_ms < 0]
        self._later = deque(injection for injection in ordered if injection.at_ms >= 0)
        self._count = 0
        self._held: str | None = None
        self._reading = True

    def before_start(self) -> list[str | bytes]:
        """Made-up frames that precede ``start``."""
        return [self._filled(injection) for injection in self._before]

    def instead_of(self, text: str, at_ms: int) -> list[str | bytes]:
        """What is really sent where a faultless carrier sends ``text``."""
        self._count += 1
        out: list[str | bytes] = []
        while self._later and self._later[0].at_ms <= at_ms:
            out.append(self._filled(self._later.popleft()))
        if self._every(self._faults.lose_every):
            return out
        if self._held is not None:
            held, self._held = self._held, None
            return [*out, text, held]
        if self._every(self._faults.swap_every):
            self._held = text
            return out
        copies = max(1, self._faults.flood) + self._every(self._faults.repeat_every)
        return out + [text] * copies

    def stops_reading(self, at_ms: int) -> bool:
        """True once, when the socket is to be read no longer."""
        limit = self._faults.stop_reading_at_ms
        if limit is None or not self._reading or at_ms < limit:
            return False
        self._reading = False
        return True

    def _every(self, number: int) -> bool:
        return number > 0 and self._count % number == 0

    def _filled(self, injection: Injection) -> str | bytes:
        data = injection.data
        for name, value in self._names.items() if isinstance(data, str) else ():
            data = str(data).replace("{" + name + "}", value)
        return data

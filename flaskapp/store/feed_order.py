"""What readers of a live transcript are told, put into the conversation's order; knows no clock, no Redis.

A line's place and its growing words are told at once. A line that is final
waits for those that were placed before it - the caller's words arrive later
than the agent's answer to them - and is told meanwhile as one that may grow.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

#: So long a final line waits for those before it (seconds).
PATIENCE_S = 5.0


class Update(NamedTuple):
    """A line as readers are told of it: the whole of it so far.

    A final one without words takes back a line that was announced.
    """

    item: str
    position: int
    speaker: str
    text: str
    is_final: bool


@dataclass(slots=True)
class _Line:
    """What is known of a line of which more is to be told.

    Attributes:
        told: its words as they were told last; None: nobody knows of it yet.
        blocks: later lines wait for it.
        due: it is final, and is told so by then.
    """

    item: str
    position: int
    speaker: str
    text: str = ""
    told: str | None = None
    blocks: bool = True
    due: float | None = None


class LineOrder:
    """One call's lines. ``now``: seconds, on any clock; what is returned is to be told, in this order."""

    def __init__(self) -> None:
        self._open: dict[str, _Line] = {}
        self._over: set[str] = set()

    def placed(self, item: str, position: int, speaker: str, is_over: bool = False) -> list[Update]:
        """A line has its place and no words yet; ``is_over``: it will never have any."""
        line = self._open.get(item)
        if is_over:
            return self._withdrawn(line) if line is not None else []
        return (
            [] if line is not None or item in self._over else self._grown(self._new(item, position, speaker))
        )

    def line(
        self, item: str, position: int, speaker: str, text: str, is_final: bool, now: float
    ) -> list[Update]:
        """A line as it stands."""
        if item in self._over:
            return []
        line = self._new(item, position, speaker)
        if line.due is not None and not is_final:
            return []
        line.text = text
        if not is_final:
            return self._grown(line)
        if not text:
            return self._withdrawn(line)
        line.blocks = False
        line.due = now + PATIENCE_S if line.due is None else line.due
        released = self._released()
        return released if item in self._over else [*released, *self._grown(line)]

    def withdrawn(self, kept: Collection[str]) -> list[Update]:
        """Nobody knows any more what was to become of open lines, but for these."""
        lost = [each for each in self._open.values() if each.item not in kept and each.due is None]
        return [update for line in lost for update in self._withdrawn(line)]

    def adopt(self, update: Update) -> None:
        """Somebody else has told this of one of the call's lines; nobody waits for others' lines."""
        if update.item in self._over:
            return
        line = self._new(update.item, update.position, update.speaker)
        line.text = line.told = update.text
        line.blocks = False
        if update.is_final:
            self._finished(line)

    def late(self, now: float) -> list[Update]:
        """Final lines that have waited long enough, and those that they would overtake."""
        expired = [line.position for line in self._held() if line.due is not None and line.due <= now]
        if not expired:
            return []
        for line in self._open.values():
            if line.position < max(expired):
                line.blocks = False  # it was waited for in full
        return self._released()

    def next_due(self) -> float | None:
        """When ``late`` has something to say, as far as is known."""
        return min((line.due for line in self._open.values() if line.due is not None), default=None)

    def release(self) -> list[Update]:
        """All lines that are final already, waiting or not, in order."""
        return [update for line in self._held() for update in self._finished(line)]

    def flush(self) -> list[Update]:
        """Nothing more will come: every line is told as it stands, in order."""
        lines = sorted(self._open.values(), key=_place)
        return [update for line in lines for update in self._closed(line)]

    def is_over(self, item: str) -> bool:
        """Whether nothing more is to be told of this line."""
        return item in self._over

    # ------------------------------------------------------------------ one line

    def _new(self, item: str, position: int, speaker: str) -> _Line:
        return self._open.setdefault(item, _Line(item, position, speaker))

    def _grown(self, line: _Line) -> list[Update]:
        if line.told == line.text:
            return []
        line.told = line.text
        return [Update(line.item, line.position, line.speaker, line.text, False)]

    def _finished(self, line: _Line) -> list[Update]:
        self._over.add(line.item)
        self._open.pop(line.item, None)
        return [Update(line.item, line.position, line.speaker, line.text, True)]

    def _closed(self, line: _Line) -> list[Update]:
        """The line as it stands; nothing, where it has no words and nobody knows of it."""
        told = self._finished(line)
        return told if line.text or line.told is not None else []

    def _withdrawn(self, line: _Line) -> list[Update]:
        line.text = ""
        return [*self._closed(line), *self._released()]

    # ------------------------------------------------------------------ several

    def _held(self) -> list[_Line]:
        return sorted((line for line in self._open.values() if line.due is not None), key=_place)

    def _released(self) -> list[Update]:
        """Final lines before which nobody is waited for."""
        first = min((line.position for line in self._open.values() if line.blocks), default=None)
        free = [line for line in self._held() if first is None or line.position < first]
        return [update for line in free for update in self._finished(line)]


def _place(line: _Line) -> tuple[int, str]:
    return line.position, line.item

"""The agent's audio where the caller heard it, for whoever keeps it: noted as it is sent, placed later.

What is sent is noted in order, and a note takes no time: this stands on the
path of every frame. Whoever takes it, once a second, works out where it was
heard; what has not been heard by then may still be cut off, and waits. Times
are seconds, as those of the playout.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from flaskapp.phone.audio import BYTES_PER_MS
from flaskapp.phone.payloads import decoded

#: So much of a reply waits to be heard at most: a line plays no more than that.
LONGEST_S = 300.0
SPARE_S = 0.1
#: No line lags more: a mark is never early, but late wherever somebody had no time to look at it.
MOST_LAG_S = 0.5


@dataclass(frozen=True, slots=True)
class From:
    """What follows is heard from then on: the line was silent."""

    at: float


@dataclass(frozen=True, slots=True)
class Until:
    """Of what came before, nothing after this was heard."""

    at: float


@dataclass(slots=True)
class Run:
    """What is left of a stretch that plays without a gap.

    Attributes:
        start: when that begins on the playout's clock.
        lag: how far the line was behind that clock when the first of it was taken; None: nothing was yet.
    """

    start: float
    sound: bytearray = field(default_factory=bytearray)
    lag: float | None = None


class AgentTrack:
    """One leg's.

    Attributes:
        keep: notes a payload (base64 in the stream's format) that goes on from what was noted before.
    """

    __slots__ = ("_notes", "_runs", "keep")

    def __init__(self) -> None:
        self._notes: deque[bytes | From | Until] = deque()
        self._runs: deque[Run] = deque()
        self.keep: Callable[[bytes], None] = self._notes.append

    @property
    def is_empty(self) -> bool:
        """Whether all that was noted was heard, and taken."""
        return not (self._notes or self._runs)

    def begins(self, at: float) -> None:
        """What is noted next is heard from then on."""
        self._notes.append(From(at))

    def cut(self, now: float, lag: float) -> None:
        """What was noted is heard until now, and no longer."""
        self._notes.append(Until(now - min(lag, MOST_LAG_S)))

    def take(self, now: float, lag: float, audio_format: str) -> list[tuple[float, bytes]]:
        """What was heard by now and was not taken yet: when each stretch began, and its sound.

        Args:
            lag: how far the line is behind the playout's clock.
        """
        rate, lag = BYTES_PER_MS[audio_format] * 1000, min(lag, MOST_LAG_S)
        self._place(rate)
        taken: list[tuple[float, bytes]] = []
        for run in self._runs:
            heard = max(min(round((now - lag - run.start) * rate), len(run.sound)), 0) & ~1
            if heard:
                run.lag = lag if run.lag is None else run.lag
                taken.append((run.start + run.lag, bytes(run.sound[:heard])))
                del run.sound[:heard]
                run.start += heard / rate
        while self._runs and self._is_over(self._runs[0], now - lag):
            self._runs.popleft()
        return taken

    def _is_over(self, run: Run, at: float) -> bool:
        """Whether nothing more of it is to be heard; while it plays, more of it may still be sent."""
        return len(run.sound) < 2 and (len(self._runs) > 1 or at > run.start + SPARE_S)

    def _place(self, rate: int) -> None:
        """Everything noted so far, in its run."""
        payloads: list[bytes] = []
        while self._notes:
            note = self._notes.popleft()
            if isinstance(note, bytes):
                payloads.append(note)
                continue
            self._add(payloads, rate)
            payloads = []
            if isinstance(note, From):
                self._runs.append(Run(note.at))
            else:
                self._cut(note.at, rate)
        self._add(payloads, rate)

    def _add(self, payloads: list[bytes], rate: int) -> None:
        if payloads and self._runs:
            last = self._runs[-1]
            last.sound += b"".join(decoded(payloads))
            del last.sound[round(LONGEST_S * rate) :]

    def _cut(self, at: float, rate: int) -> None:
        for run in self._runs:
            del run.sound[max(round((at - run.start) * rate), 0) & ~1 :]

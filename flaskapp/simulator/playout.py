"""The carrier's playout buffer: what the caller hears of the agent, sample for sample.

Pure: no socket and no sleeping, time is an argument (monotonic seconds).
Received audio is played at exactly the rate of its encoding from the moment the
buffer becomes non-empty; a mark comes back when the audio before it has
played, at once when nothing is buffered, and also when the buffer is cleared
(Twilio, "Media Streams - WebSocket messages").
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from flaskapp.simulator.encoding import MULAW, Encoding

_ROUNDING = 1e-6  # bytes: keeps "exactly played" from becoming one byte less in floating point


@dataclass(frozen=True)
class Arrival:
    """Bytes ``first`` .. ``first + size`` of all audio came in at ``at`` from ``source``."""

    at: float
    first: int
    size: int
    source: str


@dataclass(frozen=True)
class Span:
    """Bytes ``first`` .. ``first + size`` sounded without a gap, the first of them at ``at``."""

    at: float
    first: int
    size: int


@dataclass(frozen=True)
class Cleared:
    """Bytes ``first`` .. ``first + size`` were thrown away unheard at ``at``."""

    at: float
    first: int
    size: int


@dataclass(frozen=True)
class MarkBack:
    """A mark that is due back at ``at``; ``cleared`` if what it followed was thrown away."""

    name: str
    at: float
    cleared: bool


@dataclass(frozen=True)
class Piece:
    """Sound of one source that began at ``at``."""

    at: float
    audio: bytes
    source: str
    encoding: Encoding = MULAW


class Playout:
    """A buffer that plays in real time, with an exact ledger of what became of every byte."""

    def __init__(self, encoding: Encoding = MULAW) -> None:
        self.encoding = encoding
        self.audio = bytearray()
        self.arrivals: list[Arrival] = []
        self.cleared: list[Cleared] = []
        self.marks: list[MarkBack] = []
        self.head = 0  # the first byte neither played nor cleared
        self._finished: list[Span] = []
        self._run_at = 0.0
        self._run_first = 0
        self._waiting: deque[tuple[int, str]] = deque()

    def append(self, audio: bytes, now: float, source: str = "stream") -> list[MarkBack]:
        """Takes audio in; returns the marks that had become due by now."""
        due = self.advance(now)
        if self.head == len(self.audio):
            self._run_at, self._run_first = now, self.head
        self.arrivals.append(Arrival(now, len(self.audio), len(audio), source))
        self.audio += audio
        return due

    def mark(self, name: str, now: float) -> list[MarkBack]:
        """Places a mark after all audio so far; returns what is due by now."""
        due = self.advance(now)
        if self.head == len(self.audio):
            return due + self._back([(self.head, name)], now, cleared=False)
        self._waiting.append((len(self.audio), name))
        return due

    def clear(self, now: float, *, ends_chunk: bool = False) -> list[MarkBack]:
        """Throws away what has not sounded; every mark behind that is due at once.

        ``ends_chunk``: a chunk that has begun to sound is played to its end.
        """
        due = self.advance(now)
        if ends_chunk and self.head < len(self.audio):
            return due + self._clear_from(self._chunk_end(), now)
        if self.head < len(self.audio):
            self._finish_run(self.head)
            self.cleared.append(Cleared(now, self.head, len(self.audio) - self.head))
            self.head = len(self.audio)
        waiting, self._waiting = list(self._waiting), deque()
        return due + self._back(waiting, now, cleared=True)

    def advance(self, now: float) -> list[MarkBack]:
        """Plays up to ``now``; returns the marks passed on the way, each with its exact time."""
        if self.head < len(self.audio):
            played = int((now - self._run_at) * self.encoding.bytes_per_s + _ROUNDING)
            played -= played % self.encoding.sample_bytes
            self.head = max(self.head, min(self._run_first + played, len(self.audio)))
            if self.head == len(self.audio):
                self._finish_run(self.head)
        due: list[MarkBack] = []
        while self._waiting and self._waiting[0][0] <= self.head:
            position, name = self._waiting.popleft()
            due += self._back([(position, name)], self._time_of(position), cleared=False)
        return due

    @property
    def next_mark_at(self) -> float | None:
        """When the next outstanding mark will be due, if nothing is cleared before."""
        return self._time_of(self._waiting[0][0]) if self._waiting else None

    @property
    def ends_at(self) -> float | None:
        """When all that is buffered will have sounded; None when nothing is."""
        return self._time_of(len(self.audio)) if self.head < len(self.audio) else None

    @property
    def spans(self) -> list[Span]:
        """What has sounded up to the last call, in order."""
        playing = self.head - self._run_first
        if self.head < len(self.audio) and playing > 0:
            return [*self._finished, Span(self._run_at, self._run_first, playing)]
        return list(self._finished)

    def pieces(self) -> Iterator[Piece]:
        """What has sounded, split where the source changes."""
        arrivals = deque(self.arrivals)
        for span in self.spans:
            at, end = span.first, span.first + span.size
            while at < end:
                while arrivals[0].first + arrivals[0].size <= at:
                    arrivals.popleft()
                source, stop = _same_source(arrivals, end)
                since = span.at + (at - span.first) / self.encoding.bytes_per_s
                yield Piece(since, bytes(self.audio[at:stop]), source, self.encoding)
                at = stop

    def _time_of(self, position: int) -> float:
        return self._run_at + (position - self._run_first) / self.encoding.bytes_per_s

    def _chunk_end(self) -> int:
        """Where the chunk ends of which the first byte that has not sounded is a part."""
        end = len(self.audio)
        for arrival in reversed(self.arrivals):
            if arrival.first < self.head:
                break
            end = arrival.first
        return end

    def _clear_from(self, keep: int, now: float) -> list[MarkBack]:
        """Forgets everything from there on, as if it had never come; it stays in the ledger."""
        if keep < len(self.audio):
            self.cleared.append(Cleared(now, keep, len(self.audio) - keep))
            del self.audio[keep:]
        if keep == self.head:
            self._finish_run(keep)
        while self.arrivals and self.arrivals[-1].first >= keep:
            self.arrivals.pop()
        behind = [mark for mark in self._waiting if mark[0] > keep]
        self._waiting = deque(mark for mark in self._waiting if mark[0] <= keep)
        return self._back(behind, now, cleared=True)

    def _finish_run(self, end: int) -> None:
        if end > self._run_first:
            self._finished.append(Span(self._run_at, self._run_first, end - self._run_first))

    def _back(self, marks: list[tuple[int, str]], at: float, *, cleared: bool) -> list[MarkBack]:
        back = [MarkBack(name, at, cleared) for _, name in marks]
        self.marks += back
        return back


def _same_source(arrivals: deque[Arrival], end: int) -> tuple[str, int]:
    """(source, the byte where it ends) from the first arrival on, at most to ``end``."""
    source, stop = arrivals[0].source, arrivals[0].first + arrivals[0].size
    for arrival in islice(arrivals, 1, None):
        if arrival.source != source or stop >= end:
            break
        stop = arrival.first + arrival.size
    return source, min(stop, end)

"""Brings what a call plays to its carrier: all at once, or in the carrier's chunks and at the caller's pace.

Some carriers buffer whatever they are sent and drop it when they are told to.
Others want chunks of a certain size, not long before they are to be heard: of
those a thread (a greenlet under gevent) sends the next one whenever the line
has little left to play, and ends when nothing is left to send.
"""

from __future__ import annotations

import _thread
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from flaskapp.phone.carriers.base import Carrier, PacedCarrier

LONGEST_S = 300.0  # of audio that waits to be played: more than an engine says at once
DRY_S = 0.06  # what the line must have left to play when the next chunk leaves
MORE_WITHIN_S = 0.3  # an engine that goes on speaking has sent more by then, even one as slow as speech


class Sink(Protocol):
    """Where messages go: the carrier's wire."""

    def send(self, messages: Sequence[bytes], *, droppable: bool = False) -> None: ...
    def drop_queued(self) -> None: ...


class Playback:
    """Of a carrier that buffers: everything that one batch of commands plays leaves in one write."""

    __slots__ = ("__dict__", "_batch", "_carrier", "_sink")

    dropped = 0

    def __init__(self, sink: Sink, carrier: Carrier) -> None:
        self._sink, self._carrier = sink, carrier
        self._batch: list[bytes] = []

    def play(self, payload: bytes) -> None:
        """Audio: base64 in the stream's format."""
        self._batch += self._carrier.media(payload)

    def mark(self, name: str, is_last: bool = False) -> None:
        """Have the carrier say when everything before this was played; ``is_last``: it ends there."""
        self._batch.append(self._carrier.mark(name))

    def clear(self) -> None:
        """Nothing that was played before this is to be heard any more."""
        self._sink.drop_queued()
        self._sink.send([self._carrier.clear()])
        self._batch.clear()

    def push(self) -> None:
        """The batch of commands is over."""
        if self._batch:
            self._sink.send(self._batch, droppable=True)
            self._batch = []

    def play_now(self, payloads: list[bytes]) -> None:
        """Audio, and nothing else, that one read brought."""
        media = self._carrier.media
        self._sink.send([message for payload in payloads for message in media(payload)], droppable=True)

    def stop(self) -> None:
        """The stream is about to be closed."""


class PacedPlayback(Playback):
    """Of one that does not.

    Attributes:
        dropped: chunks that were more than ``LONGEST_S``.
    """

    def __init__(
        self, sink: Sink, carrier: PacedCarrier, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(sink, carrier)
        self._paced, self._clock = carrier, clock
        self._queue: deque[bytes | str] = deque()  # chunks, and the names of marks between them
        self._held_marks: list[str] = []  # behind audio that is held back until it fills a chunk
        self._queued_bytes = 0
        self._is_holding = False
        self._more_by = self._ends_at = 0.0
        self._guard = threading.Condition()
        self._is_sending = False
        self._is_over = False

    def play(self, payload: bytes) -> None:
        with self._guard:
            chunks = self._paced.chunks(payload)
            self._more_by, self._is_holding = self._clock() + MORE_WITHIN_S, True
            for chunk in chunks:
                self._put(chunk)

    def _put(self, chunk: bytes) -> None:
        """A chunk, and the marks that waited for it."""
        if self._queued_bytes > LONGEST_S * self._paced.bytes_per_s:
            self.dropped += 1
        else:
            self._queue.append(chunk)
            self._queued_bytes += len(chunk)
        self._queue += self._held_marks
        self._held_marks.clear()

    def mark(self, name: str, is_last: bool = False) -> None:
        with self._guard:
            if is_last:
                self._more_by = 0.0
            (self._held_marks if self._is_holding else self._queue).append(name)

    def clear(self) -> None:
        with self._guard:
            self._queue.clear()
            self._held_marks.clear()
            self._queued_bytes, self._ends_at, self._is_holding = 0, 0.0, False
            super().clear()

    def push(self) -> None:
        with self._guard:
            self._send_due()
            if self._is_sending:
                self._guard.notify()
            elif self._has_more:
                self._is_sending = True
                _thread.start_new_thread(self._send_in_time, ())  # unlike Thread.start it does not wait

    def play_now(self, payloads: list[bytes]) -> None:
        for payload in payloads:
            self.play(payload)
        self.push()

    def stop(self) -> None:
        with self._guard:
            self._is_over = True
            self._queue.clear()
            self._guard.notify()

    @property
    def _has_more(self) -> bool:
        return not self._is_over and bool(self._queue or self._held_marks or self._is_holding)

    def _send_in_time(self) -> None:
        with self._guard:
            wait_s = self._send_due()
            while self._has_more:
                self._guard.wait(wait_s)
                wait_s = self._send_due()
            self._is_sending = False

    def _send_due(self) -> float:
        """Send what may leave now; seconds until more may."""
        while not self._is_over:
            now = self._clock()
            if not self._queue and (wait_s := self._wait_for_more(now)) > 0:
                return wait_s
            if not self._queue:
                break
            following = self._queue[0]
            if isinstance(following, str):
                self._sink.send([self._carrier.mark(following)])
            else:
                seconds, left_s = len(following) / self._paced.bytes_per_s, max(self._ends_at - now, 0.0)
                wait_s = min(left_s + seconds - self._paced.lead_s, left_s - DRY_S)
                if wait_s > 0:
                    return wait_s
                self._queued_bytes -= len(following)
                self._ends_at = max(self._ends_at, now) + seconds
                self._sink.send([self._paced.frame(following)], droppable=True)
            self._queue.popleft()
        return 0.0

    def _wait_for_more(self, now: float) -> float:
        """Seconds for which what is held back waits to become a whole chunk; then it leaves as it is."""
        if not self._is_holding:
            return 0.0
        wait_s = max(self._ends_at - DRY_S, self._more_by) - now
        if wait_s <= 0:
            self._is_holding = False
            tail = self._paced.tail()
            for chunk in tail:
                self._put(chunk)
            self._queue += self._held_marks
            self._held_marks.clear()
        return wait_s


def playback(sink: Sink, carrier: Carrier, clock: Callable[[], float]) -> Playback:
    """As the carrier wants it."""
    if getattr(carrier, "lead_s", 0.0) > 0:
        return PacedPlayback(sink, carrier, clock)  # type: ignore[arg-type]
    return Playback(sink, carrier)

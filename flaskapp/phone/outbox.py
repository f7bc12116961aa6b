"""What a slow peer has not taken yet: whole frames in order, within bounds, the oldest audio going first."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple


class Waiting(NamedTuple):
    """What a peer has not taken yet, beyond what the system holds for it.

    Attributes:
        messages: a write of several counts until its last byte has gone out.
        size: bytes.
        stalled_s: for how long nothing at all of it has gone out.
    """

    messages: int = 0
    size: int = 0
    stalled_s: float = 0.0


@dataclass(slots=True)
class _Queued:
    data: memoryview
    messages: int
    droppable: bool


#: Of all that have never had anything to keep, as nearly all: each of their own would take half a kilobyte.
_NOTHING: deque[_Queued] = deque()


class Outbox:
    """A queue of bytes for one socket.

    Attributes:
        size: bytes that wait.
        dropped: messages that were given up so far.
    """

    __slots__ = ("_queue", "dropped", "limit_bytes", "size")

    def __init__(self, limit_bytes: int) -> None:
        self.size = self.dropped = 0
        self.limit_bytes = limit_bytes
        self._queue = _NOTHING

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def messages(self) -> int:
        """How many messages wait, one that has begun to go out included."""
        return sum(queued.messages for queued in self._queue)

    @property
    def is_full(self) -> bool:
        return self.size > self.limit_bytes

    def put(self, data: bytes, taken: int, messages: int, droppable: bool) -> None:
        """Keep what the socket did not take of some frames; beyond the limit the oldest audio goes."""
        if self._queue is _NOTHING:
            self._queue = deque()
        self._queue.append(_Queued(memoryview(data)[taken:], messages, droppable))
        self.size += len(data) - taken
        if self.is_full:
            self.drop(self.limit_bytes)

    def head(self) -> memoryview:
        """What is to be written next."""
        return self._queue[0].data

    def taken(self, count: int) -> None:
        """The socket took so many bytes of the head."""
        head = self._queue[0]
        self.size -= count
        if count < len(head.data):
            head.data = head.data[count:]
        else:
            self._queue.popleft()

    def drop(self, down_to_bytes: int = 0) -> None:
        """Oldest droppable first; never the head, of which the peer may have a part already."""
        if not self._queue:
            return
        kept: deque[_Queued] = deque()
        for at, queued in enumerate(self._queue):
            if at and queued.droppable and self.size > down_to_bytes:
                self.size -= len(queued.data)
                self.dropped += queued.messages
            else:
                kept.append(queued)
        self._queue = kept

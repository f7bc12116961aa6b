"""Log lines on their way out: a pipe that nobody reads holds no call up, and in the end costs lines only."""

from __future__ import annotations

import _thread
import os
import select
import sys
import time
from collections import deque
from typing import TextIO

from flaskapp.phone.waiting import is_cooperative

#: So many bytes are taken at once by a pipe that takes any (POSIX: PIPE_BUF).
PIECE_BYTES = min(select.PIPE_BUF, 4096)
KEPT_BYTES = 1 << 20
LOOKS_EVERY_S = 0.05


class LogStream:
    """Writes to another stream, and under gevent only what that takes without waiting.

    What it does not take waits in memory, a mebibyte at most; what comes then is lost, and counted.
    Files take everything at once. Safe wherever logging is: in greenlets, in the event loop, in threads
    where gevent is not.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._waiting: deque[bytes] = deque()
        self._size = self._lost = 0
        self._is_watched = False

    def write(self, text: str) -> None:
        """One line or more, each whole."""
        if not is_cooperative():
            self._stream.write(text)
            return
        data = text.encode("utf-8", "backslashreplace")
        if self._size + len(data) > KEPT_BYTES:
            self._lost += 1
            return
        self._keep(data)
        self._push()
        if self._waiting and not self._is_watched:
            self._is_watched = True
            _thread.start_new_thread(self._watch, ())  # unlike Thread.start it does not wait

    def flush(self) -> None:
        """All that can be written without waiting is written already."""
        if not is_cooperative():
            self._stream.flush()

    def fileno(self) -> int:
        """Where it writes to."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Whether a person reads it."""
        return self._stream.isatty()

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        self._waiting.extend(data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES))

    def _push(self) -> None:
        """As much as is taken now.

        Raises:
            OSError: nobody will ever read it; what waits is forgotten.
        """
        descriptor = self._stream.fileno()
        try:
            while self._waiting and _takes(descriptor):
                data = self._waiting.popleft()
                sent = os.write(descriptor, data)
                self._size -= sent
                if sent < len(data):
                    self._waiting.appendleft(data[sent:])
        except OSError:
            self._waiting.clear()
            self._size = self._lost = 0
            raise
        if self._lost and not self._waiting:
            lost, self._lost = self._lost, 0
            self._keep(f"{lost} log lines are lost: nobody read them\n".encode())

    def _watch(self) -> None:
        """Until nothing waits any more."""
        try:
            while self._waiting:
                time.sleep(LOOKS_EVERY_S)
                self._push()
        except OSError:
            return
        finally:
            self._is_watched = False


def _takes(descriptor: int) -> bool:
    """Whether a piece can be written without waiting; asked of the system, for gevent's own would wait."""
    poll = sys.modules["gevent.monkey"].get_original("select", "poll")()
    poll.register(descriptor, select.POLLOUT)
    return any(event & ~select.POLLNVAL for _, event in poll.poll(0))

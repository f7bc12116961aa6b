"""What the event loop calls when a socket can be read: it reads once, and gives away what came.

Readers that know what to do with a lone frame of audio are in ``fast_path.py``.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable

from flaskapp.phone.frames import MASKED, TEXT
from flaskapp.phone.inlet import Inlet

READ_BYTES = 65_536
WAIT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)  # nothing can be read or written now
#: How a text of 126 to 65535 bytes begins, from a client and from a server.
MASKED_TEXT, PLAIN_TEXT = bytes((TEXT, MASKED | 126)), bytes((TEXT, 126))


class Reader:
    """Of one socket; of no use until it is told what it ``reads``."""

    __slots__ = ("_inlet", "_recv", "_took")

    def reads(
        self, recv: Callable[[int], bytes], inlet: Inlet, took: Callable[[bytes], None]
    ) -> Callable[[], None]:
        """What the event loop is to call.

        Args:
            recv: of the socket, which does not wait.
            inlet: where what is read goes in the end.
            took: is given what was read; ``b""`` at the end.
        """
        self._recv, self._inlet, self._took = recv, inlet, took
        return self.read

    def read(self) -> None:
        """Called by the event loop."""
        try:
            data = self._recv(READ_BYTES)
        except WAIT:
            return
        except (OSError, ValueError):
            data = b""
        self._took(data)

"""What the event loop calls when a socket of a live call can be read, as short as it can be.

Nearly every read brings one whole text frame, and nothing else. That is cut out
and offered here; whatever else comes is left to those who know more. Between two
frames of a call hundreds of others have passed: what it costs is less the steps
than the places in memory that they touch, so a reader is a small thing with slots.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable

from websockets.frames import apply_mask  # in C where the package has it

from flaskapp.phone.frames import MASKED, TEXT
from flaskapp.phone.inlet import Inlet

READ_BYTES = 65_536
WAIT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)  # nothing can be read or written now
#: How a text of 126 to 65535 bytes begins, from a client and from a server.
_MASKED, _PLAIN = bytes((TEXT, MASKED | 126)), bytes((TEXT, 126))


class ShortReader:
    """Reads once, of a server's peer.

    Args:
        recv: of the socket, which does not wait.
        first: is offered an ASCII text of 126 to 65535 bytes; whether it took it.
        took: is given everything else that was read; ``b""`` at the end.
    """

    __slots__ = ("_first", "_inlet", "_recv", "_took")

    def __init__(
        self,
        recv: Callable[[int], bytes],
        inlet: Inlet,
        first: Callable[[bytes], bool],
        took: Callable[[bytes], None],
    ) -> None:
        self._recv, self._inlet, self._first, self._took = recv, inlet, first, took

    def read(self) -> None:
        """Called by the event loop."""
        try:
            data = self._recv(READ_BYTES)
        except WAIT:
            return
        except (OSError, ValueError):
            data = b""
        size = len(data) - 8
        if data.startswith(_MASKED) and size > 0 and data[2] << 8 | data[3] == size and self._inlet.is_plain:
            text = apply_mask(data[8:], data[4:8])
            if text.isascii() and self._first(text):
                return
        self._took(data)


class ShortClientReader(ShortReader):
    """Of a client's, which does not mask."""

    __slots__ = ()

    def read(self) -> None:
        """Called by the event loop."""
        try:
            data = self._recv(READ_BYTES)
        except WAIT:
            return
        except (OSError, ValueError):
            data = b""
        size = len(data) - 4
        if data.startswith(_PLAIN) and size > 0 and data[2] << 8 | data[3] == size and self._inlet.is_plain:
            text = data[4:]
            if text.isascii() and self._first(text):
                return
        self._took(data)

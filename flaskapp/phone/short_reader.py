"""What the event loop calls when a socket of a live call can be read, as short as it can be.

Nearly every read brings one whole text frame, and nothing else. That is cut out
and offered here; whatever else comes is left to those who know more.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable

from websockets.frames import apply_mask  # in C where the package has it

from flaskapp.phone.frames import BEGINNINGS
from flaskapp.phone.inlet import Inlet

READ_BYTES = 65_536
WAIT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)  # nothing can be read or written now


def short_reader(
    recv: Callable[[int], bytes],
    inlet: Inlet,
    is_client: bool,
    first: Callable[[bytes], bool],
    took: Callable[[bytes], None],
) -> Callable[[], None]:
    """A function that reads once.

    Args:
        recv: of the socket, which does not wait.
        is_client: whose messages come unmasked.
        first: is offered an ASCII text of 126 to 65535 bytes; whether it took it.
        took: is given everything else that was read; ``b""`` at the end.
    """
    beginning, is_masked, begins = BEGINNINGS[is_client], not is_client, 4 if is_client else 8

    def read() -> None:
        try:
            data = recv(READ_BYTES)
        except WAIT:
            return
        except (OSError, ValueError):
            data = b""
        size = len(data) - begins
        if data.startswith(beginning) and size > 0 and data[2] << 8 | data[3] == size and inlet.is_plain:
            text = data[begins:]
            if is_masked:
                text = apply_mask(text, data[4:8])
            if text.isascii() and first(text):
                return
        took(data)

    return read

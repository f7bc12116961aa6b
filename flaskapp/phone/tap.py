"""What the two legs of a call say to each other, but for the audio, told to whoever keeps it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

from flaskapp.phone.call import Call

log = logging.getLogger(__name__)

CARRIER, ENGINE = "carrier", "engine"
#: So many messages of one leg are told, and no longer ones: a call may last for hours.
MOST = 4000
LONGEST_BYTES = 64 << 10
#: Whatever has this in it is sound, whether we make anything of it or not.
SOUND = (b'"media":', b'audio.delta"')
TELL_MARK = b'{"event":"mark","mark":{"name":"%s"}}'
TELL_CLEAR = b'{"event":"clear"}'

Told = Callable[[str, int, str, bool, bytes], None]


class Tap:
    """One leg's of a call. It is asked about nothing that is audio: the frames pass by elsewhere.

    Args:
        told: takes the call's id, when (ms since the call began), whose protocol it is ("carrier" or
            "engine"), whether we said it, and the message as it was.
    """

    __slots__ = ("_call", "_left", "_told")

    def __init__(self, call: Call, told: Told) -> None:
        self._call, self._told, self._left = call, told, MOST

    def took(self, leg: str, message: bytes, now: float) -> None:
        """A message came in."""
        if not any(sound in message for sound in SOUND):
            self._tell(leg, False, message, now)

    def gave(self, leg: str, message: bytes, now: float) -> None:
        """A message went out."""
        self._tell(leg, True, message, now)

    def _tell(self, leg: str, is_out: bool, message: bytes, now: float) -> None:
        if self._left and len(message) <= LONGEST_BYTES:
            self._left -= 1
            try:
                self._told(self._call.call_sid, self._call.ms(now), leg, is_out, message)
            except Exception:  # anybody's; in the event loop's callback it would end the leg
                self._left = 0
                log.exception("What legs say is told no more", extra={"call_sid": self._call.call_sid})


def connection(what: str, **detail: object) -> bytes:
    """What happens to a connection, told like a message of the type ``(opened)`` or ``(closed)``."""
    return json.dumps({"type": f"({what})", **detail}).encode()

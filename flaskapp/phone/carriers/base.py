"""What every carrier's codec offers: its words in, events out; commands in, its words out.

A codec is pure: no socket, no clock, no Flask. It may remember what the
carrier said at the start (the stream's id, its format), what its sound needs
to go on without a click, and how many messages it has made: nothing else.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

import msgspec

from flaskapp.phone.events import CallerAudio, Event, Malformed

NOTHING = CallerAudio(b"", 0.0)  # sound that is not to be heard
REMEMBERED = 4  # messages, to know one that comes twice
COUNTED = 50  # messages, after which a carrier is known to count them

Number = str | int | float | None  # as carriers write numbers


class Carrier(Protocol):
    """One stream's codec.

    Attributes:
        name: of the carrier, as history and metrics have it.
        formats: the engines' names for what its streams may bring (``audio/pcmu``, ``audio/pcm``).
        takes_orders: it can be told to dial somebody while a stream runs; else the stream's end does it.
    """

    name: str
    formats: tuple[str, ...]
    takes_orders: bool

    def decode(self, message: bytes) -> Event | None:
        """One message as an event; None for what needs no answer; never raises."""

    def media(self, payload: bytes) -> list[bytes]:
        """Audio (base64, in the format that the start told) as messages to the carrier."""

    def mark(self, name: str) -> bytes:
        """Ask to be told when everything before this has been played."""

    def clear(self) -> bytes:
        """Ask to drop what has not been played."""


class QuickCarrier(Carrier, Protocol):
    """One that tells sound from everything else with little work, for the fast path.

    Attributes:
        around: what a message of audio (10 kB of base64 at most) has before its payload and after it;
            nothing: that is not known yet, or they differ in more than their payload.
    """

    @property
    def around(self) -> tuple[bytes, bytes]: ...

    def audio(self, message: bytes) -> CallerAudio | None:
        """What ``decode`` makes of a message that is sound, with less work; ``NOTHING`` where it makes None.

        None: it is no sound, and has not been looked at: ``decode`` is to be asked.
        """


class PacedCarrier(Carrier, Protocol):
    """One that wants audio in chunks of its own size, not long before they are played (``playback.py``).

    Attributes:
        lead_s: a chunk is sent when no more than so much, itself included, is still to be played.
        bytes_per_s: of its chunks; known after the start.
    """

    lead_s: float

    @property
    def bytes_per_s(self) -> int: ...

    def chunks(self, payload: bytes) -> list[bytes]:
        """Audio (as in ``media``) as whole chunks of what the carrier plays; what is left is held back."""

    def tail(self) -> list[bytes]:
        """No more comes for now: what was held back, padded with silence to a whole chunk; [] for nothing."""

    def frame(self, chunk: bytes) -> bytes:
        """One chunk as a message. Messages are numbered as they are made: make them as they are sent."""


class Repeats:
    """Knows audio that came twice: the number and the sound of one of the last messages.

    Not by the number alone: whoever does not count sends the same one, or none, with everything. Of
    somebody who has counted for long enough a number that comes again is enough, and nothing need be kept.
    """

    __slots__ = ("_counted", "_last", "_next", "_run")

    def __init__(self) -> None:
        self._next = self._run = 0  # so many messages in a row were counted one by one
        self._counted = range(0)  # the last numbers of such a row that has ended
        self._last: list[tuple[Number, bytes]] = []

    def has(self, number: Number, payload: bytes) -> bool:
        """Whether this is one of them; else it is remembered."""
        if number is None:
            return False
        try:
            count = int(number)
        except (ValueError, OverflowError):
            self._run = 0
        else:
            if count == self._next:  # as nearly always
                self._next += 1
                self._run += 1
                if self._run > COUNTED:
                    return False
                if self._run == REMEMBERED:  # what was before the row is long ago
                    self._counted = range(0)
            elif self._run >= COUNTED and 0 < self._next - count <= REMEMBERED:
                return True
            else:
                if self._run >= COUNTED:
                    self._counted = range(max(self._next - REMEMBERED, 0), self._next)
                elif count in self._counted:
                    return True
                self._next, self._run = count + 1, 0
        if self._is_one(number, payload):
            return True
        self._last = [*self._last[1 - REMEMBERED :], (number, payload)] if self._run < COUNTED else []
        return False

    def _is_one(self, number: Number, payload: bytes) -> bool:
        """Asked of a sound that came before, as silence does all the time."""
        if all(number == known for known, _ in self._last):  # he does not count
            return False
        return (number, payload) in self._last


class _Named(msgspec.Struct, gc=False):
    event: str


_name_of = msgspec.json.Decoder(_Named).decode


def unexpected(message: bytes, known: Collection[str]) -> Malformed | None:
    """JSON of another shape than ours: an event that is none of those we know may look as it likes."""
    try:
        is_known = _name_of(message).event in known
    except (ValueError, RecursionError):
        is_known = True  # not even an event
    return Malformed("carrier", "message") if is_known else None

"""What every carrier's codec offers: its words in, events out; commands in, its words out.

A codec is pure: no socket, no clock, no Flask. It may remember what the
carrier said at the start (the stream's id), nothing else.
"""

from __future__ import annotations

from typing import Protocol

from flaskapp.phone.events import Event


class Carrier(Protocol):
    """One stream's codec."""

    name: str

    def decode(self, message: bytes) -> Event | None:
        """One message as an event; None for what needs no answer; never raises."""

    def media(self, payload: bytes) -> list[bytes]:
        """Audio (base64, in the stream's format) as messages to the carrier."""

    def mark(self, name: str) -> bytes:
        """Ask to be told when everything before this has been played."""

    def clear(self) -> bytes:
        """Ask to drop what has not been played."""

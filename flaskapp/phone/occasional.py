"""The ``websockets`` package's protocol of one connection, there only while it has something to do.

Between two messages of an open connection it knows nothing that another one would not: plain text goes
past it, and so do our pings and their answers. So it is dropped then, with its parser and its buffers,
which are a tenth of what a silent call keeps in memory, and made again when anything else comes.
"""

from __future__ import annotations

from typing import Any

from websockets.protocol import Protocol, State


class Occasional:
    """In the place of a ``Protocol``; whatever is not told here is the protocol's own.

    Attributes:
        side: whose end of the connection it is.
        max_size: of a message, in bytes; None: there is no limit.
    """

    __slots__ = ("_protocol", "max_size", "side")

    def __init__(self, protocol: Protocol) -> None:
        self._protocol: Protocol | None = protocol
        self.side, self.max_size = protocol.side, protocol.max_size

    @property
    def state(self) -> State:
        return State.OPEN if self._protocol is None else self._protocol.state

    @property
    def cur_size(self) -> int | None:
        """How much there is of a message that is not whole yet; None: there is none."""
        return None if self._protocol is None else self._protocol.cur_size

    def data_to_send(self) -> list[bytes]:
        return [] if self._protocol is None else self._protocol.data_to_send()

    def there(self) -> Any:
        """The protocol itself; not to be kept."""
        if self._protocol is None:
            self._protocol = Protocol(self.side, state=State.OPEN, max_size=self.max_size)
        return self._protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(self.there(), name)

    def rest(self) -> None:
        """All that came was read to the end of a frame: drop it, unless it is amid something."""
        known = self._protocol
        if known is not None and known.state is State.OPEN and known.cur_size is None and not known.writes:
            self._protocol = None

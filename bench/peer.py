"""One end of a WebSocket on picows: what the callers and the echo engine have in common.

Each of them looks at a frame's text first, in a callback as short as it can be;
whatever is not the expected sound comes here: close, fragments, other messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

TEXT = WSMsgType.TEXT
_OF_TEXT = (WSMsgType.TEXT, WSMsgType.CONTINUATION)


class Prepared(dict[int, bytes]):
    """Texts by number, made once, when the first one needs it: all calls count the same frames."""

    def __init__(self, make: Callable[[int], bytes]) -> None:
        self._make = make

    def __missing__(self, number: int) -> bytes:
        self[number] = made = self._make(number)
        return made


class Peer(WSListener):
    """``closed`` is set when the connection is over; sending is harmless from then on."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self._parts: list[bytes] = []
        self._transport: WSTransport | None = None
        self.send: Callable[[WSMsgType, bytes], None] = _nobody

    def opened(self) -> None:
        """The handshake is done."""

    def message(self, text: bytes) -> None:
        """A whole message that no callback took by itself."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport, self.send = transport, transport.send
        self.opened()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._transport, self.send = None, _nobody
        self.closed.set()

    def rarely(self, frame: WSFrame, payload: bytes) -> None:
        """Anything: a message or a part of one, a close. Pings are picows' own affair."""
        kind = frame.msg_type
        if kind in _OF_TEXT:
            self._parts.append(payload)
            if frame.fin:
                text, self._parts = b"".join(self._parts), []
                self.message(text)
        elif kind == WSMsgType.CLOSE and self._transport is not None:
            self._transport.send_close(frame.get_close_code())
            self._transport.disconnect()

    def close(self) -> None:
        """Begin the close handshake."""
        if self._transport is not None:
            self._transport.send_close(WSCloseCode.OK)

    def drop(self) -> None:
        """The connection is over, whatever the other end says."""
        if self._transport is not None:
            self._transport.disconnect(graceful=False)


def between_quotes(text: bytes, name: bytes) -> bytes:
    """The text value that follows a name in JSON whose values need no escapes; empty if there is none."""
    at = text.find(name)
    if at < 0:
        return b""
    start = text.find(b'"', at + len(name)) + 1
    return text[start : text.find(b'"', start)]


def _nobody(_kind: WSMsgType, _message: bytes) -> None:
    """Nobody is there."""

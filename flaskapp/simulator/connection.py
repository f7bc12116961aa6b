"""A WebSocket client whose connection can be looked at, broken off and left hanging."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import aiohttp

OVERFLOW_BYTES = 32 * 1024  # about 2 s of frames that the server has not read


class Socket(aiohttp.ClientWebSocketResponse):
    """aiohttp's client socket that keeps hold of its transport (``ws_response_class``)."""

    def __init__(
        self, reader: Any, writer: Any, protocol: Any, response: Any, *args: Any, **more: Any
    ) -> None:
        super().__init__(reader, writer, protocol, response, *args, **more)
        self._transport: asyncio.Transport | None = response.connection and response.connection.transport

    @property
    def overflowing(self) -> bool:
        """Whether the server reads so slowly that sent frames pile up on our side."""
        return self._transport is not None and self._transport.get_write_buffer_size() > OVERFLOW_BYTES

    def reset(self) -> None:
        """Breaks the connection off with a TCP RST and no farewell."""
        if self._transport is None or self._transport.is_closing():
            return
        raw = self._transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def stop_reading(self) -> None:
        """Leaves what the server sends in the kernel's buffers until those are full."""
        if self._transport is not None:
            self._transport.pause_reading()

    def read_again(self) -> None:
        """Ends ``stop_reading``."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

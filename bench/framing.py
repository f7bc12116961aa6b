"""WebSocket frames by hand on asyncio: cheap enough for a load generator that must not be the bottleneck.

Only what the measured servers send is understood: whole text messages, ping,
pong and close (RFC 6455). Anything else ends the run with an error.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from typing import cast

try:
    from websockets.speedups import apply_mask
except ImportError:  # no C compiler where websockets was built
    from websockets.utils import apply_mask

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
_ACCEPT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = b"dGhlIHNhbXBsZSBub25jZQ=="


def frame(payload: bytes, opcode: int = TEXT, masked: bool = False) -> bytes:
    """One final frame; clients mask theirs."""
    size, bit = len(payload), 0x80 if masked else 0
    if size < 126:
        head = bytes((0x80 | opcode, bit | size))
    elif size < 65_536:
        head = bytes((0x80 | opcode, bit | 126, size >> 8, size & 0xFF))
    else:
        head = bytes((0x80 | opcode, bit | 127)) + size.to_bytes(8, "big")
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + apply_mask(payload, mask)


def frames(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """The whole frames at the start of the data, and the rest."""
    found: list[tuple[int, bytes]] = []
    at, end = 0, len(data)
    while end - at >= 14 or (end - at >= 2 and end - at >= _needs(data, at)):
        first, second = data[at], data[at + 1]
        size, head = second & 0x7F, at + 2
        if size == 126:
            size, head = data[head] << 8 | data[head + 1], head + 2
        elif size == 127:
            size, head = int.from_bytes(data[head : head + 8], "big"), head + 8
        mask, head = (data[head : head + 4], head + 4) if second & 0x80 else (b"", head)
        if head + size > end:
            break
        if not first & 0x80:
            raise ValueError("a fragment: the load generator reads whole messages only")
        payload = data[head : head + size]
        found.append((first & 0x0F, apply_mask(payload, mask) if mask else payload))
        at = head + size
    return found, data[at:]


def _needs(data: bytes, at: int) -> int:
    """How many bytes this frame's head has."""
    second = data[at + 1]
    return 2 + {126: 2, 127: 8}.get(second & 0x7F, 0) + (4 if second & 0x80 else 0)


class Peer(asyncio.Protocol):
    """One end of a WebSocket. Clients give the address that they ask for."""

    def __init__(self, path: str = "", host: str = "") -> None:
        self.path, self._host = path, host
        self._masks = bool(path)
        self._is_open = False
        self._rest = b""
        self._transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def opened(self) -> None:
        """The handshake is done."""

    def messages(self, texts: list[bytes]) -> None:
        """What one read brought."""

    def send(self, *texts: bytes) -> None:
        """Text messages, in one write."""
        if self._transport is not None:
            self._transport.write(b"".join([frame(text, masked=self._masks) for text in texts]))

    def close(self) -> None:
        """Begin the close handshake."""
        if self._transport is not None:
            self._transport.write(frame(b"\x03\xe8", CLOSE, self._masks))

    # ------------------------------------------------------------------ asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._masks:
            upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            request = f"GET {self.path} HTTP/1.1\r\nHost: {self._host}\r\n{upgrade}"
            self._transport.write(request.encode() + b"Sec-WebSocket-Key: " + _KEY + b"\r\n\r\n")

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        if not self._is_open:
            head, blank, data = data.partition(b"\r\n\r\n")
            if not blank:
                self._rest = head
                return
            self._shake_hands(head)
        found, self._rest = frames(data)
        texts = [payload for opcode, payload in found if opcode == TEXT]
        if texts:
            self.messages(texts)
        if len(texts) < len(found):
            self._control(found)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if not self.closed.done():
            self.closed.set_result(None)

    def _control(self, found: list[tuple[int, bytes]]) -> None:
        for opcode, payload in found:
            if self._transport is None:
                return
            if opcode == PING:
                self._transport.write(frame(payload, PONG, self._masks))
            elif opcode == CLOSE:
                self._transport.write(frame(payload[:2], CLOSE, self._masks))
                self._transport.close()
            elif opcode not in (TEXT, PONG):
                raise ValueError(f"a frame with opcode {opcode}")

    def _shake_hands(self, head: bytes) -> None:
        lines = head.decode("latin-1").split("\r\n")
        if self._masks:
            if " 101 " not in lines[0] + " ":
                raise ConnectionError(f"{self.path}: {lines[0]}")
        else:
            self.path = lines[0].split(" ")[1]
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
            }
            key = headers["sec-websocket-key"].encode()
            accept = base64.b64encode(hashlib.sha1(key + _ACCEPT, usedforsecurity=False).digest())
            answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            assert self._transport is not None
            self._transport.write(answer + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        self._is_open = True
        self.opened()

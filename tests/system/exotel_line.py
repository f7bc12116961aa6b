"""Exotel's side of one stream over a plain WebSocket: a test says what is sent, and keeps what comes back."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests import servers

MESSAGE_MS = 100


class ExotelLine:
    """One stream of PCM at ``rate_hz``.

    Attributes:
        messages: all that came, each as it was parsed.
        closed_with: the code with which the other side closed; None while it has not.
    """

    def __init__(self, socket: ClientConnection, call_sid: str, rate_hz: int) -> None:
        self._socket, self.call_sid, self.rate_hz = socket, call_sid, rate_hz
        self.messages: list[dict[str, Any]] = []
        self.closed_with: int | None = None
        self._sent = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def starts(self, **more: Any) -> None:
        sound = {"encoding": "base64", "sample_rate": str(self.rate_hz), "bit_rate": "128kbps"}
        start = {"stream_sid": "s1", "call_sid": self.call_sid, "account_sid": "a1", "media_format": sound}
        numbers = {"from": "09555010000", "to": "08055501000", "custom_parameters": {}}
        self.says({"event": "connected"})
        self.says({"event": "start", "stream_sid": "s1", "start": {**start, **numbers, **more}})

    def speaks(self, pcm: bytes) -> None:
        """As fast as a telephone brings it."""
        size = self.rate_hz * 2 * MESSAGE_MS // 1000
        began = time.monotonic()
        for number, at in enumerate(range(0, len(pcm), size)):
            time.sleep(max(began + number * MESSAGE_MS / 1000 - time.monotonic(), 0))
            payload = base64.b64encode(pcm[at : at + size]).decode()
            media = {"chunk": number + 1, "timestamp": str(number * MESSAGE_MS), "payload": payload}
            self.says({"event": "media", "stream_sid": "s1", "media": media})

    def stops(self) -> None:
        stop = {"call_sid": self.call_sid, "account_sid": "a1", "reason": "callended"}
        self.says({"event": "stop", "stream_sid": "s1", "stop": stop})

    def says(self, message: dict[str, Any] | str) -> None:
        self._sent += 1
        numbered = message if isinstance(message, str) else {**message, "sequence_number": self._sent}
        self._socket.send(numbered if isinstance(numbered, str) else json.dumps(numbered))

    @property
    def chunks(self) -> list[bytes]:
        return [base64.b64decode(each["media"]["payload"]) for each in self.of("media")]

    def of(self, event: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["event"] == event]

    def wait_closed(self) -> int:
        servers.wait_until(lambda: self.closed_with is not None, "the stream stays open")
        return self.closed_with or 0

    def _read(self) -> None:
        try:
            while True:
                self.messages.append(json.loads(self._socket.recv()))
        except ConnectionClosed as closed:
            self.closed_with = closed.rcvd.code if closed.rcvd else 1006


@contextmanager
def exotel_line(
    origin: str, call_sid: str, rate_hz: int = 8000, query: str = "", **more: Any
) -> Iterator[ExotelLine]:
    """Dials ``/exotel``; ``more`` goes to the client (headers, TLS)."""
    url = f"{origin.replace('http', 'ws', 1)}/exotel?sample-rate={rate_hz}{query}"
    with connect(url, open_timeout=30, **more) as socket:
        yield ExotelLine(socket, call_sid, rate_hz)

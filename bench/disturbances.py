"""What happens beside calls that speak: others ring, readers join, a store is slow."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

from slow_line import SlowLine
from subjects import Stream, Subject, announce

ANSWER_WITHIN_S = 5.0
PIECE_BYTES = 1 << 16
KEY = "cmVhZGluZyBhbG9uZywgeQ=="


class Often:
    """Something that is done so many times a second, in a thread of its own, while the block runs."""

    def __init__(self, per_s: float) -> None:
        self._every_s = 1 / per_s
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        self.end()

    def once(self) -> None:
        raise NotImplementedError

    def end(self) -> None:
        """It is over."""

    def _go_on(self) -> None:
        while not self._is_over.wait(self._every_s):
            self.once()


class Ringing(Often):
    """Calls that come in; their streams never come."""

    def __init__(self, subject: Subject, per_s: float) -> None:
        super().__init__(per_s)
        self._port = subject.port

    def once(self) -> None:
        announce(self._port)


class Joining(Often):
    """Readers who join these calls' transcripts, and read whatever they are told."""

    def __init__(self, subject: Subject, streams: Sequence[Stream], per_s: float) -> None:
        super().__init__(per_s)
        self._port, self._calls = subject.port, cycle(each["call_sid"] for each in streams)
        self._selector = selectors.DefaultSelector()

    def once(self) -> None:
        reader = _upgraded(self._port, "/client")
        reader.sendall(_text(next(self._calls).encode()))
        self._selector.register(reader, selectors.EVENT_READ)
        for key, _ in self._selector.select(0):
            with contextlib.suppress(BlockingIOError):
                key.fileobj.recv(PIECE_BYTES)  # type: ignore[union-attr]

    def end(self) -> None:
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()


def _upgraded(port: int, path: str) -> socket.socket:
    """A WebSocket whose handshake is done; it does not wait when it is read."""
    sock = socket.create_connection(("127.0.0.1", port), ANSWER_WITHIN_S)
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    sock.sendall(f"{head}Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = sock.recv(PIECE_BYTES)
        if not piece:
            raise OSError("no answer to a reader's handshake")
        answer += piece
    if not answer.startswith(b"HTTP/1.1 101"):
        raise OSError(f"a reader is not let in: {answer.splitlines()[0].decode(errors='replace')}")
    sock.setblocking(False)
    return sock


def _text(words: bytes) -> bytes:
    """A short text message as a client sends it."""
    key = os.urandom(4)
    masked = bytes(byte ^ key[at % 4] for at, byte in enumerate(words))
    return bytes((0x81, 0x80 | len(words))) + key + masked


@contextmanager
def line_slowed(line: SlowLine, late_s: float) -> Iterator[None]:
    """Everything that comes over it comes later."""
    line.late_s = late_s
    try:
        yield
    finally:
        line.late_s = 0.0


@contextmanager
def database_held(file: Path, seconds: float) -> Iterator[None]:
    """For so long nobody else writes into it."""
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    letting_go = threading.Timer(seconds, other.close)
    letting_go.start()
    try:
        yield
    finally:
        letting_go.join()

"""One address for an engine's two halves, Realtime and plain HTTP, whose doors a test opens and shuts.

with FrontDoor(realtime=fake.origin, batch=turns.origin).running() as door:
    door.realtime = "stalls"        # new sockets get no answer, ever
    door.shut()                     # nobody listens any more: connections are refused
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal
from urllib.parse import urlsplit

State = Literal["open", "stalls", "resets"]


class FrontDoor:
    """A TCP proxy that looks at the first line of each connection.

    Attributes:
        realtime, batch: what becomes of new connections of that half: ``open``; ``stalls`` (accepted,
            never answered); ``resets`` (a RST at once).
        connections: how many came, by half.
    """

    def __init__(self, realtime: str, batch: str) -> None:
        self.targets = {"realtime": urlsplit(realtime).port, "batch": urlsplit(batch).port}
        self.realtime: State = "open"
        self.batch: State = "open"
        self.connections = {"realtime": 0, "batch": 0}
        self._listener: socket.socket | None = None
        self._stalled: list[socket.socket] = []
        self._joined: set[socket.socket] = set()
        self._over = threading.Event()
        self.port = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @contextmanager
    def running(self) -> Iterator[FrontDoor]:
        self.reopen()
        try:
            yield self
        finally:
            self._over.set()
            self.shut()
            self.hang_up()

    def shut(self) -> None:
        """Listen no longer: new connections are refused by the machine itself."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def reopen(self) -> None:
        """Listen, on the same port as before."""
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=512)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def hang_up(self) -> None:
        """Cut every connection that stands, without a word."""
        for each in [*self._joined, *self._stalled]:
            _reset(each)
        self._stalled.clear()

    def _accept(self, listener: socket.socket) -> None:
        while not self._over.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.settimeout(60)
            first = connection.recv(65536)
            half = "realtime" if b"/realtime" in first.partition(b"\r\n")[0] else "batch"
            self.connections[half] += 1
            state: State = getattr(self, half)
            if state == "stalls":
                self._stalled.append(connection)
            elif state == "resets":
                _reset(connection)
            else:
                self._join(connection, first, half)

    def _join(self, connection: socket.socket, first: bytes, half: str) -> None:
        connection.settimeout(None)
        with connection, socket.create_connection(("127.0.0.1", self.targets[half] or 0)) as target:
            self._joined |= {connection, target}
            try:
                target.sendall(first)
                other = {connection: target, target: connection}
                while True:
                    for ready in select.select([connection, target], [], [])[0]:
                        if not (data := ready.recv(65536)):
                            return
                        other[ready].sendall(data)
            finally:
                self._joined -= {connection, target}


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR) if connection.fileno() >= 0 else None
        connection.close()

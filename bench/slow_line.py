"""A line to a server whose every answer comes as late as it is told."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager

PIECE_BYTES = 1 << 18


class SlowLine:
    """A TCP proxy in front of a server; ``late_s`` may be changed at any time.

    Args:
        url: where the server is, ``redis://host:port/0``.

    Attributes:
        url: where the proxy is, the rest as it was.
        late_s: so much later than it came everything from the server is passed on.
    """

    def __init__(self, url: str) -> None:
        there = urllib.parse.urlsplit(url)
        self._target = (there.hostname, there.port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        port = self._listener.getsockname()[1]
        self.url = there._replace(netloc=f"127.0.0.1:{port}").geturl()
        self.late_s = 0.0

    @contextmanager
    def running(self) -> Iterator[SlowLine]:
        threading.Thread(target=self._accept, daemon=True).start()
        try:
            yield self
        finally:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                for each in (near, far):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for source, sink, is_answer in ((near, far, False), (far, near, True)):
                    carrying = (source, sink, is_answer)
                    threading.Thread(target=self._carry, args=carrying, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(PIECE_BYTES):
                if is_answer and self.late_s:
                    time.sleep(self.late_s)
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

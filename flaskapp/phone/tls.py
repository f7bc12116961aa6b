"""TLS in memory: what one read of the socket brought is decrypted at once, without asking the socket again.

``ssl``'s own sockets read a record in two system calls and cannot be asked
whether a call would wait; this one takes everything that is there in one, as
the event loop wants it.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

READ_BYTES = 65_536


class TlsSocket:
    """The client's end of a connection; its handshake is done when it is made, in the socket's timeout.

    Attributes:
        unsent: encrypted bytes that the system has not taken yet; ``send`` and ``flush`` try again.
        stuck: is called when there begin to be some.

    Raises:
        ssl.SSLError, OSError, TimeoutError: there is no such connection.
    """

    __slots__ = (
        *("_recv", "_feed", "_incoming", "_read", "_outgoing", "unsent", "_write", "_encrypted", "_send"),
        *("_sock", "_tls", "stuck"),
    )

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, server_hostname: str | None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self._sock = sock
        self.unsent = memoryview(b"")
        self.stuck: Callable[[], None] = lambda: None
        self._shake_hands()
        # gevent's own methods know how to wait, which is not for us: past them.
        plain: Any = getattr(sock, "_sock", sock)
        self._recv, self._send = plain.recv, plain.send
        self._feed, self._read = self._incoming.write, self._tls.read
        self._write, self._encrypted = self._tls.write, self._outgoing.read

    def _shake_hands(self) -> None:
        within_s = self._sock.gettimeout()
        deadline = None if within_s is None else time.monotonic() + within_s
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                if deadline is not None:  # however often a little comes
                    self._sock.settimeout(max(deadline - time.monotonic(), 0.001))
                self._sock.sendall(self._outgoing.read())
                if data := self._sock.recv(READ_BYTES):
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            else:
                self._sock.sendall(self._outgoing.read())
                return

    def recv(self, size: int) -> bytes:
        """All that has come, up to so many encrypted bytes; ``b""`` at the end.

        Raises:
            BlockingIOError, ssl.SSLWantReadError: nothing, or no whole record.
        """
        data = self._recv(size)
        if not data:
            return b""
        self._feed(data)
        clear = self._read(READ_BYTES)  # a record, which has 16 KiB at most
        if self._incoming.pending:
            clear = self._rest(clear)
        if self._outgoing.pending:  # TLS has something to say for itself
            self._send_encrypted()
        return clear

    def _rest(self, first: bytes) -> bytes:
        parts = [first]
        try:
            while parts[-1] and (self._incoming.pending or self._tls.pending()):
                parts.append(self._read(READ_BYTES))
            is_over = bool(first) and not parts[-1]
        except ssl.SSLWantReadError:
            is_over = False
        except ssl.SSLError:
            is_over = True
        if is_over:  # what came before is heard first; the socket, at its end from now on, tells the rest
            self._end()
        return b"".join(parts)

    def _end(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RD)

    def send(self, data: bytes | memoryview) -> int:
        """Encrypt and send; what the system did not take goes out with ``flush``, and first of all.

        Returns:
            How many bytes were taken: all of them.

        Raises:
            BlockingIOError: earlier bytes have to go first.
        """
        if self.unsent and not self.flush():
            raise BlockingIOError
        size = len(data)
        done = self._write(data) if size else 0
        while done < size:  # a record holds 16 KiB
            done += self._write(memoryview(data)[done:])
        self._send_encrypted()
        return size

    def _send_encrypted(self) -> None:
        """Send what is encrypted by now."""
        data = self._encrypted()
        if self.unsent:
            self.unsent = memoryview(bytes(self.unsent) + data)
        elif (sent := self._try(data)) < len(data):
            self.unsent = memoryview(data)[sent:]
            self.stuck()

    def flush(self) -> bool:
        """Send what waits; whether nothing is left."""
        self.unsent = self.unsent[self._try(self.unsent) :]
        return not self.unsent

    def _try(self, data: bytes | memoryview) -> int:
        try:
            return self._send(data)
        except BlockingIOError:
            return 0

    # ------------------------------------------------------------------ as any socket

    def settimeout(self, seconds: float | None) -> None:
        self._sock.settimeout(seconds)

    def setsockopt(self, *option: Any) -> None:
        self._sock.setsockopt(*option)

    def fileno(self) -> int:
        return self._sock.fileno()

    def shutdown(self, how: int) -> None:
        self._sock.shutdown(how)

    def close(self) -> None:
        self._sock.close()


class InMemory:
    """In the place of an ``ssl.SSLContext``: wraps sockets so. Made once, for a context is dear to make."""

    def __init__(self) -> None:
        self._context = ssl.create_default_context()

    def wrap_socket(self, sock: socket.socket, server_hostname: str | None = None) -> TlsSocket:
        return TlsSocket(sock, self._context, server_hostname)

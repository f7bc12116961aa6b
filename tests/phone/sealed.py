"""A TLS server whose every record a test holds in its hand before it goes out."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

from websockets.client import ClientProtocol
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from flaskapp.phone.tls import TlsSocket
from tests.phone import wires
from tests.phone.certificates import contexts

MAX_MESSAGE = 1 << 20
READ = 1 << 16


class Sealer:
    """The server's end: ``sealed`` gives the bytes that TLS makes of a text, ``says`` sends them."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext | None = None) -> None:
        self.sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = context or contexts()[0]
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def shakes_hands(self) -> None:
        """Until both sides are content; what TLS says at its end, tickets too, is sent."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self.flushes()
                self._incoming.write(self.sock.recv(READ))
            else:
                self.flushes()
                return

    def flushes(self) -> None:
        self.sock.sendall(self._outgoing.read())

    def sealed(self, *texts: bytes) -> bytes:
        """Each as a record of its own, or as many as it needs."""
        for text in texts:
            for at in range(0, len(text), READ):
                self._tls.write(text[at : at + READ])
        return self._outgoing.read()

    def farewell(self) -> bytes:
        """A close_notify."""
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        return self._outgoing.read()

    def says(self, data: bytes, *cuts: int) -> None:
        """Bytes on the wire, cut there."""
        for begin, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
            self.sock.sendall(data[begin:end])

    def reads(self) -> bytes:
        """What has come, decrypted; waits for something."""
        self._incoming.write(self.sock.recv(READ))
        parts = []
        with contextlib.suppress(ssl.SSLWantReadError):
            while part := self._tls.read(READ):
                parts.append(part)
        return b"".join(parts)


@contextlib.contextmanager
def met(
    server: ssl.SSLContext | None = None, pair: Any = wires.tcp_pair
) -> Iterator[tuple[TlsSocket, Sealer]]:
    """A socket of ours and its server after their handshake."""
    with pair() as (ours, theirs):
        sealer = Sealer(theirs, server)
        meeting = threading.Thread(target=sealer.shakes_hands)
        meeting.start()
        ours.settimeout(wires.PATIENCE_S)
        wrapped = TlsSocket(ours, contexts()[1], "localhost")
        meeting.join()
        yield wrapped, sealer


@contextlib.contextmanager
def talking(**how: Any) -> Iterator[tuple[Any, Sealer]]:
    """A wire of ours to such a server, after their WebSocket handshake, too."""
    queue = how.pop("queue_bytes", 64 << 20)
    with met(**how) as (ours, sealer):
        protocol = ClientProtocol(parse_uri("ws://x/"), state=State.OPEN, max_size=MAX_MESSAGE)
        wire = wires.wire_of(ours, protocol, queue_bytes=queue)
        try:
            yield wire, sealer
        finally:
            wire.abort()
            wire.dispose()


def frame(text: bytes) -> bytes:
    return wires.raw_frame(1, text, mask=False)


class Ear:
    """Makes messages of what a sealer reads, until there are enough of them."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._protocol = ServerProtocol(state=State.OPEN, max_size=None)
        self.texts: list[bytes] = []

    def hears(self, last: bytes) -> list[bytes]:
        """Everything up to this message."""
        self._sealer.sock.settimeout(wires.PATIENCE_S)
        while last not in self.texts[-50:]:
            self._protocol.receive_data(self._sealer.reads())
            assert self._protocol.parser_exc is None, self._protocol.parser_exc
            self.texts += [bytes(each.data) for each in self._protocol.events_received()]
        return self.texts

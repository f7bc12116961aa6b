"""Two ends of a connection: ours on one side, on the other a peer that says exactly what a test tells it."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from flaskapp.phone.errors import LegClosed
from flaskapp.phone.tls import TlsSocket
from flaskapp.phone.wire import Wire
from tests.phone.certificates import contexts

MAX_MESSAGE = 64 << 10
QUEUE = 256 << 10
PATIENCE_S = 10.0


def raw_frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bool = True
) -> bytes:
    """A frame spelt byte by byte (RFC 6455, 5.2), also one that nobody may send; ``rsv`` is 0 to 7."""
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    flag, size = (0x80 if mask else 0), len(payload)
    if size < 126:
        head += bytes([flag | size])
    else:
        head += (
            struct.pack("!BH", flag | 126, size) if size < 65_536 else struct.pack("!BQ", flag | 127, size)
        )
    if not mask:
        return head + payload
    key = b"\x37\xfa\x21\x3d"
    return head + key + bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))


def close_payload(code: int, reason: str = "") -> bytes:
    return struct.pack("!H", code) + reason.encode()


@dataclass
class Peer:
    """The other end, on a protocol of its own: writes raw bytes, collects what comes."""

    sock: socket.socket
    protocol: Protocol
    frames: list[Frame] = field(default_factory=list)
    is_ended: bool = False

    def write(self, data: bytes) -> None:
        self.sock.sendall(data)

    def frame(self, opcode: int, payload: bytes = b"", **how: Any) -> bytes:
        """A frame as this end must send it: masked by a client."""
        return raw_frame(opcode, payload, **{"mask": isinstance(self.protocol, ClientProtocol), **how})

    def says(self, opcode: int, payload: bytes = b"", **how: Any) -> None:
        self.write(self.frame(opcode, payload, **how))

    def reads(self, until: Callable[[Peer], Any], within_s: float = PATIENCE_S) -> Any:
        """Read until something is true, and return it; at the latest until the connection ends."""
        deadline = time.monotonic() + within_s
        while not (found := until(self)):
            assert not self.is_ended, f"the end came first: {self.texts}, {self.close_code}"
            self.sock.settimeout(max(deadline - time.monotonic(), 0.001))
            self._take(self.sock.recv(1 << 16))
        return found

    def reads_to_the_end(self, within_s: float = PATIENCE_S) -> None:
        with contextlib.suppress(ConnectionError):
            self.reads(lambda peer: peer.is_ended, within_s)

    def _take(self, data: bytes) -> None:
        if data:
            self.protocol.receive_data(data)
        else:
            self.is_ended = True
            self.protocol.receive_eof()
        self.frames += [each for each in self.protocol.events_received() if isinstance(each, Frame)]

    @property
    def texts(self) -> list[bytes]:
        return [bytes(frame.data) for frame in self.frames if frame.opcode is Opcode.TEXT]

    def of_kind(self, opcode: Opcode) -> list[bytes]:
        return [bytes(frame.data) for frame in self.frames if frame.opcode is opcode]

    @property
    def close_code(self) -> int | None:
        return self.protocol.close_rcvd.code if self.protocol.close_rcvd else None


class Clock:
    """Time that moves when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextlib.contextmanager
def tcp_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
        with ours, theirs:
            yield ours, theirs


@contextlib.contextmanager
def narrow_tcp_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """One on which little fits between the two ends, in whatever time, on whatever machine."""
    with socket.socket() as listener, socket.socket() as ours:
        for each in (listener, ours):  # before they meet: what may be on its way is agreed upon then
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 << 10)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        ours.connect(listener.getsockname())
        theirs, _ = listener.accept()
        with theirs:
            yield ours, theirs


@contextlib.contextmanager
def unix_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@contextlib.contextmanager
def small_buffers():
    """A pair on which very little fits between the two ends."""
    with unix_pair() as (ours, theirs):
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        yield ours, theirs


@contextlib.contextmanager
def tls_pair(server: ssl.SSLContext, client: ssl.SSLContext) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Ours is the server's side."""
    with tcp_pair() as (ours, theirs):
        sealed: list[socket.socket] = []
        meet = threading.Thread(target=lambda: sealed.append(server.wrap_socket(ours, server_side=True)))
        meet.start()
        with client.wrap_socket(theirs, server_hostname="localhost") as peer:
            meet.join()
            with sealed[0]:
                yield sealed[0], peer


@contextlib.contextmanager
def memory_tls_pair(
    server: ssl.SSLContext | None = None, client: ssl.SSLContext | None = None, pair: Any = tcp_pair
) -> Iterator[tuple[TlsSocket, ssl.SSLSocket]]:
    """Ours is the client's side, TLS in memory; the peer is ``ssl``'s own."""
    usual_server, usual_client = contexts()
    with pair() as (ours, theirs):
        sealed: list[ssl.SSLSocket] = []
        sealing = server or usual_server
        meet = threading.Thread(target=lambda: sealed.append(sealing.wrap_socket(theirs, server_side=True)))
        meet.start()
        ours.settimeout(PATIENCE_S)
        wrapped = TlsSocket(ours, client or usual_client, "localhost")
        meet.join()
        with sealed[0]:
            yield wrapped, sealed[0]


PAIRS: dict[str, Callable[[], Any]] = {"unix": unix_pair, "tcp": tcp_pair, "tls": memory_tls_pair}


class Heard(Wire):
    """A wire that the event loop reads, with the face of one that its owner reads."""

    def receive(self, timeout_s: float | None = None) -> list[bytes]:
        if not hasattr(self, "_news"):
            self._news, self._came = threading.Event(), list[bytes]()
            self._how: LegClosed | None = None
            self.listen(self._heard, self._over)
        if not self._came and self._how is None:
            self._news.wait(timeout_s)
        self._news.clear()
        came, self._came = self._came, []
        if not came and self._how is not None:
            raise self._how
        return came

    def _heard(self, messages: Sequence[bytes]) -> None:
        assert messages, "told of nothing"
        assert self._how is None, "told of more after the end"
        self._came += messages
        self._news.set()

    def _over(self, closed: LegClosed) -> None:
        assert self._how is None, "told of the end twice"
        self._how = closed
        self._news.set()


#: Who reads the wires of these tests: whoever wants to have the messages, or the event loop.
LISTENS = "WIRES_LISTEN"


def wire_of(sock: Any, protocol: Protocol, **how: Any) -> Wire:
    """Read by whoever this run of the tests has read."""
    return (Heard if os.environ.get(LISTENS) else Wire)(sock, protocol, **how)


@contextlib.contextmanager
def joined(
    pair: Any = unix_pair, *, client: bool = False, max_size: int | None = MAX_MESSAGE, **how: Any
) -> Iterator[tuple[Wire, Peer]]:
    """A wire and its peer; ``client`` makes ours the client's end."""
    how_far = {"state": State.OPEN, "max_size": max_size}
    sides = ClientProtocol(parse_uri("ws://x/"), **how_far), ServerProtocol(**how_far)
    own, other = sides if client else sides[::-1]
    with pair() as (ours, theirs):
        wire = wire_of(ours, own, **how)
        other.max_size = None
        try:
            yield wire, Peer(theirs, other)
        finally:
            wire.abort()
            wire.dispose()


def messages(wire: Wire, count: int, within_s: float = PATIENCE_S) -> list[bytes]:
    """So many messages, in as many reads as they take."""
    got: list[bytes] = []
    deadline = time.monotonic() + within_s
    while len(got) < count and time.monotonic() < deadline:
        got += wire.receive(within_s)
    return got


def ending(wire: Wire, within_s: float = PATIENCE_S) -> tuple[list[bytes], LegClosed]:
    """Read to the end: all messages, and how it ended."""
    got: list[bytes] = []
    deadline = time.monotonic() + within_s
    try:
        while time.monotonic() < deadline:
            got += wire.receive(within_s)
    except LegClosed as closed:
        return got, closed
    raise AssertionError(f"still open after {within_s} s, with {got[-3:]}")


def fill(wire, size: int = 8000, droppable: bool = True) -> int:
    """Send until the socket takes no more; how many messages that took."""
    for number in range(10_000):
        wire.send([b"%06d" % number + b"x" * size], droppable=droppable)
        if wire._outbox.size > QUEUE // 2:
            return number + 1
    raise AssertionError("the socket takes everything")

"""A recording host on loopback that does what it is told: late, broken, endless, dishonest, or well."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from flaskapp.phone.audio import mulaw_to_pcm16, write_wav
from flaskapp.simulator.sounds import tone

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Asked:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]  # names in lower case


@dataclass
class Wire:
    """The host's end of one connection; what is sent on it is counted."""

    socket: socket.socket
    stopped: threading.Event
    sent: int = 0

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)
        self.sent += len(data)

    def pause(self, seconds: float) -> None:
        """Raises:
        ConnectionAbortedError: the host is being shut down.
        """
        if self.stopped.wait(seconds):
            raise ConnectionAbortedError


Answer = Callable[[Wire], None]


def recording(seconds: float = 1.0) -> bytes:
    """A WAV file as the carrier makes them: 16-bit PCM, 8000 Hz, mono."""
    return write_wav(mulaw_to_pcm16(tone(seconds, 300)))


def plain(
    status: int = 200, body: bytes = b"", kind: str = "audio/x-wav", length: int | None = -1, **headers: str
) -> Answer:
    """An answer in one piece. ``length``: what Content-Length claims, None for no such header."""
    promised = len(body) if length == -1 else length
    lines = [f"HTTP/1.1 {status} Told", f"Content-Type: {kind}"]
    lines += [] if promised is None else [f"Content-Length: {promised}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]

    def answer(wire: Wire) -> None:
        wire.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    return answer


def well(seconds: float = 1.0) -> Answer:
    """The recording, as it should be."""
    return plain(body=recording(seconds))


def redirect(to: str, status: int = 302) -> Answer:
    """Sends the client elsewhere."""
    return plain(status, Location=to)


def cut(body: bytes, after: int) -> Answer:
    """Promises all of it and hangs up in the middle."""
    return plain(body=body[:after], length=len(body))


def cut_chunked(body: bytes, after: int) -> Answer:
    """The same without a length beforehand: a chunked body that ends without its end."""
    return plain(body=f"{len(body):x}\r\n".encode() + body[:after], length=None, Transfer_Encoding="chunked")


def chunked(body: bytes) -> Answer:
    """A whole body in chunks."""
    pieces = [body[at : at + 5000] for at in range(0, len(body), 5000)]
    coded = b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces)
    return plain(body=coded + b"0\r\n\r\n", length=None, Transfer_Encoding="chunked")


def reset(after: bytes = b"") -> Answer:
    """Breaks the connection off with a TCP RST, having sent so much."""

    def answer(wire: Wire) -> None:
        wire.send(after)
        time.sleep(0.05 if after else 0)  # what is still in flight dies with a RST
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.socket.close()

    return answer


def stalled(after: bytes = b"") -> Answer:
    """Sends so much, then nothing, and keeps the line."""

    def answer(wire: Wire) -> None:
        wire.send(after)
        wire.pause(PATIENCE_S)

    return answer


def drip(data: bytes, every_s: float = 0.02) -> Answer:
    """One byte at a time."""

    def answer(wire: Wire) -> None:
        for byte in data:
            wire.send(bytes([byte]))
            wire.pause(every_s)

    return answer


def endless(begin: bytes, piece: bytes = bytes(65536)) -> Answer:
    """A body without end, as fast as it is taken."""

    def answer(wire: Wire) -> None:
        wire.send(b"HTTP/1.1 200 Told\r\nContent-Type: audio/x-wav\r\n\r\n" + begin)
        while not wire.stopped.is_set():
            wire.send(piece)

    return answer


def garbage(data: bytes) -> Answer:
    """Something that is no HTTP."""
    return lambda wire: wire.send(data)


@dataclass
class RecordingHost:
    """Answers requests in their order; the last answer is given for ever.

    ``at`` (path -> answers) goes before ``answers``. ``tls``: serve HTTPS with this context.
    """

    answers: tuple[Answer, ...]
    at: dict[str, tuple[Answer, ...]] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    asked: list[Asked] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)
    connections: int = 0
    _stopped: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> RecordingHost:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._listener.settimeout(0.1)
        self._begin(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        self._listener.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _begin(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = self._listener.accept()
                self.connections += 1
                self._begin(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(PATIENCE_S)
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
            with connection:
                asked = _read(connection)
                if asked is None:
                    return
                wire = Wire(connection, self._stopped)
                with self._lock:
                    self.asked.append(asked)
                    self.wires.append(wire)
                    answer = self._next(asked.path)
                answer(wire)

    def _next(self, path: str) -> Answer:
        if path in self.at:
            first, *rest = self.at[path]
            self.at[path] = tuple(rest) or (first,)
        else:
            first, *rest = self.answers
            self.answers = tuple(rest) or (first,)
        return first


def _read(connection: socket.socket) -> Asked | None:
    data = b""
    while b"\r\n\r\n" not in data:
        if not (some := connection.recv(4096)):
            return None
        data += some
    first, *lines = data.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    pairs = (line.partition(":") for line in lines)
    return Asked(method, path, {name.lower(): value.strip() for name, _, value in pairs})


@contextlib.contextmanager
def host(*answers: Answer, tls: ssl.SSLContext | None = None, **at: object) -> Iterator[RecordingHost]:
    """A running host with these answers."""
    with RecordingHost(answers or (well(),), tls=tls, **at) as running:  # type: ignore[arg-type]
        yield running


# What the process really did, told by the interpreter itself; an audit hook cannot be taken out again.
_deeds: list[tuple[str, object]] | None = None
_others: set[int | None] = set()


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    deeds = _deeds
    if deeds is None or event not in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        return
    if threading.get_ident() not in _others:
        deeds.append((event, arguments[-1] if event == "socket.connect" else arguments[0]))


sys.addaudithook(_audit)


@contextlib.contextmanager
def watched() -> Iterator[list[tuple[str, object]]]:
    """Every look-up and connection of this process meanwhile, but for those of threads that ran before."""
    global _deeds, _others
    _others = {each.ident for each in threading.enumerate()} - {threading.get_ident()}
    _deeds = deeds = []
    try:
        yield deeds
    finally:
        _deeds = None


@cache
def certificates(*names: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS for a server of these names, and for a client that trusts it alone."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with TemporaryDirectory() as folder:
        path = Path(folder, "both.pem")
        path.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
        server.load_cert_chain(path)
        client.load_verify_locations(path)
    return server, client

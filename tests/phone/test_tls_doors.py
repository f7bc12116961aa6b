"""An engine behind TLS: who is let in, who is not, and how long a handshake may take."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from flaskapp.phone.engines.connection import OPEN_WITHIN_S, Endpoint, Engine
from flaskapp.phone.errors import EngineRejected, EngineUnreachable
from tests.phone.certificates import contexts, files
from tests.phone.wires import ending

Serve = Callable[[socket.socket, ssl.SSLContext], None]
ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
)


@contextlib.contextmanager
def server(serve: Serve, context: ssl.SSLContext) -> Iterator[int]:
    """Serves one connection after the other until the test is over; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, serve, context), daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, serve: Serve, context: ssl.SSLContext) -> None:
    with contextlib.suppress(OSError):
        while True:
            sock, _ = listener.accept()
            with sock, contextlib.suppress(OSError):
                serve(sock, context)


def is_a_realtime_server(sock: socket.socket, context: ssl.SSLContext) -> None:
    from websockets.utils import accept_key

    with context.wrap_socket(sock, server_side=True) as sealed:
        asked = b""
        while b"\r\n\r\n" not in asked:
            asked += sealed.recv(65_536)
        lines = asked.decode().lower().splitlines()
        at = next(number for number, line in enumerate(lines) if line.startswith("sec-websocket-key:"))
        key = asked.decode().splitlines()[at].partition(":")[2].strip()
        sealed.sendall(ANSWER + accept_key(key).encode() + b"\r\n\r\n" + b"\x81\x02{}")
        while sealed.recv(65_536):
            pass


def says_no(sock: socket.socket, context: ssl.SSLContext) -> None:
    with context.wrap_socket(sock, server_side=True) as sealed:
        sealed.recv(65_536)
        sealed.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")


def says_nothing(sock: socket.socket, context: ssl.SSLContext) -> None:
    while sock.recv(65_536):
        pass


def speaks_plainly(sock: socket.socket, context: ssl.SSLContext) -> None:
    sock.recv(65_536)
    sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def hangs_up(sock: socket.socket, context: ssl.SSLContext) -> None:
    sock.recv(65_536)


def never_ends_its_hello(sock: socket.socket, context: ssl.SSLContext) -> None:
    """A byte now and then: each is a sign of life, and none is a handshake."""
    sock.recv(65_536)
    for byte in b"\x16\x03\x03\x3f\xff\x02" + b"\0" * 1000:
        sock.sendall(bytes([byte]))
        time.sleep(0.3)


@pytest.fixture
def trusted(tmp_path, monkeypatch) -> ssl.SSLContext:
    """A server's context whose certificate, for ``localhost``, this process trusts as it does any other's."""
    certificate, key = files(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    return context


def engine(port: int, host: str = "localhost") -> Engine:
    return Engine(Endpoint(f"https://{host}:{port}/v1", is_azure=False), "a-model", "a-key")


def test_a_server_with_a_trusted_certificate_is_talked_to(trusted):
    with server(is_a_realtime_server, trusted) as port:
        wire = engine(port).open()
        assert wire.receive(10) == [b"{}"]
        wire.abort()
        assert ending(wire)[1].code == 1006
        wire.dispose(close_socket=True)


def test_a_refusal_over_tls_is_a_refusal(trusted):
    with server(says_no, trusted) as port, pytest.raises(EngineRejected) as refused:
        engine(port).open()
    assert refused.value.status == 401


def test_a_certificate_that_nobody_trusts_is_no_engine():
    with server(is_a_realtime_server, contexts()[0]) as port, pytest.raises(EngineUnreachable) as failed:
        engine(port).open()
    assert "certificate verify failed" in str(failed.value).lower()


def test_a_certificate_of_another_host_is_no_engine(trusted):
    with server(is_a_realtime_server, trusted) as port, pytest.raises(EngineUnreachable) as failed:
        engine(port, "127.0.0.1").open()
    assert "certificate verify failed" in str(failed.value).lower()


@pytest.mark.parametrize("serve", [speaks_plainly, hangs_up])
def test_a_server_without_tls_is_no_engine(trusted, serve):
    with server(serve, trusted) as port, pytest.raises(EngineUnreachable):
        engine(port).open()


@pytest.mark.parametrize("serve", [says_nothing, never_ends_its_hello])
def test_a_handshake_that_comes_to_nothing_is_given_up_in_time(trusted, serve):
    with server(serve, trusted) as port:
        asked = engine(port)
        asked.prepare()
        began = time.monotonic()
        with pytest.raises(EngineUnreachable):
            asked.open()
    assert time.monotonic() - began < OPEN_WITHIN_S * 5


@pytest.mark.alone
def test_connections_that_come_to_nothing_leave_no_socket_open(trusted):
    import gc
    import os

    with server(hangs_up, trusted) as port:
        asked = engine(port)
        for _ in range(2):
            with pytest.raises(EngineUnreachable):
                asked.open()
        gc.collect()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(10):
            with pytest.raises(EngineUnreachable):
                asked.open()
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) <= before + 1  # the server's own, if it is late

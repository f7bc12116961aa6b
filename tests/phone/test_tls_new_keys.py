"""New keys in mid-stream: Python's own TLS cannot ask for them, ``openssl s_server`` does when told."""

from __future__ import annotations

import contextlib
import select
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flaskapp.phone.tls import TlsSocket
from tests.phone.certificates import files
from tests.phone.wires import PATIENCE_S
from tests.servers import free_port

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="there is no openssl here")
ASKS, TELLS = b"K\n", b"k\n"  # the peer for new keys of its own, too; that these are new


@dataclass
class Server:
    """What it prints, and what is typed there."""

    process: subprocess.Popen
    printed: bytearray = field(default_factory=bytearray)

    def types(self, words: bytes) -> None:
        """A command counts only at the beginning of what one read brings the server."""
        self.process.stdin.write(words)
        self.process.stdin.flush()
        time.sleep(0.2)

    def follows(self) -> None:
        while data := self.process.stdout.readline():
            self.printed += data

    def prints(self, wanted: bytes) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while wanted not in self.printed:
            assert time.monotonic() < deadline, bytes(self.printed[-500:])
            time.sleep(0.01)


@pytest.fixture
def met(tmp_path) -> Iterator[tuple[TlsSocket, Server]]:
    certificate, key = files(tmp_path)
    port = free_port()
    options = ["-tls1_3", "-cert", str(certificate), "-key", str(key), "-accept", f"127.0.0.1:{port}"]
    command = ["openssl", "s_server", *options]
    server = Server(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    following = threading.Thread(target=server.follows)
    following.start()
    try:
        with contextlib.closing(_dialled(port, certificate)) as ours:
            yield ours, server
    finally:
        server.process.kill()
        server.process.wait()
        following.join()
        server.process.stdin.close()
        server.process.stdout.close()


def _dialled(port: int, certificate: Path) -> TlsSocket:
    context = ssl.create_default_context(cafile=str(certificate))
    for _ in range(200):
        with contextlib.suppress(ConnectionRefusedError):
            sock = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
            ours = TlsSocket(sock, context, "localhost")
            ours.settimeout(0.0)
            return ours
        time.sleep(0.05)
    raise AssertionError("no server")


def heard(ours: TlsSocket, last: bytes) -> bytes:
    got = b""
    while not got.endswith(last):
        assert select.select([ours], [], [], PATIENCE_S)[0], got
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
            got += ours.recv(65_536)
    return got


@pytest.mark.parametrize("command", [TELLS, ASKS], ids=["told", "told and asked"])
def test_what_is_said_with_new_keys_is_understood_on_both_sides(met, command):
    ours, server = met
    server.types(b"before\n")
    assert heard(ours, b"before\n") == b"before\n"
    for number in range(3):
        server.types(command)
        server.types(b"after %d\n" % number)
        assert heard(ours, b"\n") == b"after %d\n" % number
        ours.send(b"heard %d\n" % number)
        server.prints(b"heard %d\n" % number)

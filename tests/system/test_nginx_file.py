"""What deploy/nginx.conf does by itself: what it logs, whom it asks again, what it refuses."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests
from websockets.sync.client import connect
from websockets.sync.server import serve

from flaskapp.config import Settings
from tests import servers
from tests.conftest import PROJECT
from tests.system import ledger
from tests.system.proxy import command, configuration, nginx

pytestmark = pytest.mark.system

HOOK = "/phone/incoming-call-streaming"
UPLOAD = "/phone/stream-audio/CA1"
SOCKETS = ("/exotel", "/client", "/phone/stream-audio/CA1", "/phone/stream-audio/CA1/ticket")
UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket"}


class Upstream:
    """A server that notes each request's head and answers all alike; ``answer`` empty: hangs up instead."""

    def __init__(self, answer: bytes) -> None:
        self.heads: list[str] = []
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", servers.free_port()))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            with peer:
                peer.settimeout(10)
                self.heads.append(self._head(peer))
                peer.sendall(self._answer)

    def _head(self, peer: socket.socket) -> str:
        """Reads a whole request, for unread bytes would reset the connection."""
        got = b""
        while b"\r\n\r\n" not in got:
            got += peer.recv(65536)
        head, _, body = got.partition(b"\r\n\r\n")
        length = int((re.search(rb"Content-Length: (\d+)", head) or [b"", b"0"])[1])
        while len(body) < length:
            body += peer.recv(65536)
        return head.decode()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


OK, FULL, GONE = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
    b"HTTP/1.1 503 Full\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfull",
    b"",
)


@contextmanager
def upstreams(*answers: bytes) -> Iterator[list[Upstream]]:
    running = [Upstream(answer) for answer in answers]
    try:
        yield running
    finally:
        for each in running:
            each.close()


def test_the_file_is_one_that_nginx_takes(tmp_path):
    configured = configuration(tmp_path, servers.free_port(), [5001], tls=True)
    checked = subprocess.run(
        command(configured, "-t"), capture_output=True, text=True, timeout=60, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert "warn" not in checked.stderr


def test_neither_tickets_nor_keys_nor_queries_are_in_its_logs(tmp_path):
    secrets = ("ticket-one", "ticket-two", "ticket-three", "key-four", "token-five")
    with nginx(tmp_path, servers.free_port(), [servers.free_port()]) as url:
        for path in (
            "/phone/stream-audio/CA1/ticket-one",
            "/phone//stream-audio/CA1/%74icket-one",
            "/phone/stream-audio/CA1/complete",
            "/phone/speech/CA1/2/ticket-two",
            "/exotel?key=ticket-three",
            "/client?ticket=ticket-three",
        ):
            answer = requests.get(url + path, headers=UPGRADE, timeout=30)
            assert answer.status_code == 502
        requests.get(url + "/exotel", auth=("key-four", "token-five"), timeout=30)
    shown = "".join(each.read_text() for each in tmp_path.glob("*.log"))
    assert not [secret for secret in secrets if secret in shown], shown
    assert '"GET /phone/stream-audio/CA1/-" 502' in shown
    assert '"GET /phone/stream-audio/CA1/complete" 502' in shown
    assert '"GET /phone/speech/CA1/2/-" 502' in shown
    assert '"GET /exotel" 502' in shown


@pytest.mark.parametrize("answer", [GONE, FULL], ids=["gone", "full"])
def test_a_webhook_that_one_server_does_not_answer_goes_to_another(tmp_path, answer):
    with upstreams(answer, OK) as (bad, good):
        with nginx(tmp_path, servers.free_port(), [bad.port, good.port]) as url:
            told = [requests.post(url + HOOK, {"CallSid": "CA1"}, timeout=30).status_code for _ in range(6)]
        assert told == [200] * 6
        assert bad.heads, "it was never asked"


def test_a_webhook_that_a_servers_worker_drops_goes_to_that_server_again(tmp_path):
    with upstreams(GONE) as (only,), nginx(tmp_path, servers.free_port(), [only.port]) as url:
        assert requests.post(url + HOOK, {"CallSid": "CA1"}, timeout=30).status_code == 502
        assert len(only.heads) == 2
        assert requests.post(url + UPLOAD, b"audio", timeout=30).status_code == 502
        assert len(only.heads) == 3, "a chunk of audio must not be counted twice"


def test_handshakes_go_on_as_handshakes_and_try_the_next_server(tmp_path):
    with upstreams(FULL, OK) as (full, good):
        with nginx(tmp_path, servers.free_port(), [full.port, good.port]) as url:
            for path in SOCKETS * 2:
                headers = UPGRADE | {"Authorization": "Basic a2V5OnRva2Vu", "X-Twilio-Signature": "sig="}
                assert requests.get(url + path, headers=headers, timeout=30).status_code == 200
        assert full.heads
        for head in full.heads + good.heads:
            sent = dict(line.split(": ", 1) for line in head.lower().splitlines()[1:])
            assert (sent["upgrade"], sent["connection"]) == ("websocket", "upgrade")
            assert (sent["authorization"], sent["x-twilio-signature"]) == ("basic a2v5onrva2vu", "sig=")
            assert sent["host"] == sent["x-forwarded-host"] == url.removeprefix("http://")
            assert (sent["x-forwarded-for"], sent["x-forwarded-proto"]) == ("127.0.0.1", "http")


def test_other_requests_ask_for_no_upgrade(tmp_path):
    with upstreams(OK) as (only,), nginx(tmp_path, servers.free_port(), [only.port]) as url:
        requests.get(url + "/health", timeout=30)
        assert "connection: close" in only.heads[0].lower()
        assert "upgrade" not in only.heads[0].lower()


def test_a_reload_cuts_no_socket(tmp_path):
    def echo(peer):
        for text in peer:
            peer.send(text)

    def workers() -> set[int]:
        return set(ledger.workers_of(int((tmp_path / "nginx.pid").read_text())))

    with serve(echo, "127.0.0.1", 0) as app:
        threading.Thread(target=app.serve_forever, daemon=True).start()
        with (
            nginx(tmp_path, servers.free_port(), [app.socket.getsockname()[1]]) as url,
            connect(url.replace("http", "ws") + "/client") as viewer,
        ):
            old = workers()
            subprocess.run(command(tmp_path / "nginx.conf", "-s", "reload"), check=True, timeout=60)
            servers.wait_until(lambda: workers() > old, "no new worker")
            viewer.send("still there?")
            assert viewer.recv(timeout=10) == "still there?"
        app.shutdown()


def test_bodies_have_the_sizes_that_the_app_takes(tmp_path):
    with upstreams(OK) as (only,), nginx(tmp_path, servers.free_port(), [only.port]) as url:
        found = [
            requests.post(url + path, b"x" * size, timeout=30).status_code
            for path, size in ((HOOK, 65 << 10), (HOOK, 200 << 10), (UPLOAD, 1100 << 10), (UPLOAD, 3 << 20))
        ]
        assert found == [200, 413, 200, 413]


def test_sockets_may_be_silent_for_an_hour_and_webhooks_not_for_long():
    text = (PROJECT / "deploy" / "nginx.conf").read_text()
    blocks = dict(
        re.findall(r"location (.*?) \{(.*?)\n        \}", text.partition("listen 443")[2], re.DOTALL)
    )
    waits = {place: re.search(r"proxy_read_timeout (\w+);", block)[1] for place, block in blocks.items()}
    (sockets,) = [place for place in waits if place.startswith("~ ")]
    assert waits == {"/": "7s", sockets: "1h"}
    found = re.compile(sockets.removeprefix("~ "))
    assert all(found.search(path) for path in SOCKETS)
    assert not any(
        found.search(path) for path in (HOOK, "/exotel/passthru", "/exotel/stream-url", "/clients")
    )


def test_the_unit_waits_for_calls_to_be_handed_over():
    unit = (PROJECT / "deploy" / "answerline.service").read_text()
    patience_s = int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[1])
    drain_s = Settings.model_fields["drain_seconds"].default
    assert patience_s >= drain_s + 5 + 5  # gunicorn's own patience, a slow machine
    assert "KillMode=mixed" in unit

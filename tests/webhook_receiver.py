"""A receiver of webhooks that can be away, fail, or take its time.

Signatures are checked with the standard's own package.

with Receiver() as receiver:                # http://127.0.0.1:PORT/calls
    receiver.answers = [500, 302]           # to the next ones; then 204
    receiver.shut()                         # connections are refused from now on
    receiver.open()
    [letter] = receiver.letters
"""

from __future__ import annotations

import http.server
import json
import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks.webhooks import Webhook

from tests import servers


@dataclass(frozen=True)
class Letter:
    """One request, and how it was answered."""

    headers: dict[str, str]
    body: bytes
    status: int
    at: float = field(default_factory=time.monotonic)

    @property
    def told(self) -> dict[str, Any]:
        return json.loads(self.body)

    def verify(self, secret: str) -> dict[str, Any]:
        """What it says, if it was signed with this secret.

        Raises:
            WebhookVerificationError: it was not, or a while ago.
        """
        return Webhook(secret).verify(self.body, self.headers)


class Receiver:
    """The server.

    Attributes:
        answers: statuses for the next requests; 0: none at all, the connection stays open.
        drip_s: an answer comes byte by byte, one each so many seconds.
        letters: all that came.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.port = servers.free_port()
        self.answers: list[int] = []
        self.drip_s = 0.0
        self.letters: list[Letter] = []
        self._over = threading.Event()
        self._server: http.server.ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        origin = f"https://localhost:{self.port}" if self._tls else f"http://127.0.0.1:{self.port}"
        return f"{origin}/calls?key=1"

    @property
    def accepted(self) -> list[Letter]:
        return [letter for letter in self.letters if 200 <= letter.status < 300]

    def __enter__(self) -> Receiver:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.shut()

    def open(self) -> None:
        """Takes requests."""
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def setup(self) -> None:
                if receiver._tls:
                    self.request = receiver._tls.wrap_socket(self.request, server_side=True)
                super().setup()

            def do_POST(self) -> None:
                receiver._take(self)

            def log_message(self, *_: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                pass

        self._server = Server(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def shut(self) -> None:
        """Refuses connections."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _take(self, request: http.server.BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        status = self.answers.pop(0) if self.answers else 204
        heard = {name.lower(): value for name, value in request.headers.items()}
        self.letters.append(Letter({**heard, "path": request.path}, body, status))
        if not status:
            self._over.wait(60)
            return
        answer = f"HTTP/1.1 {status} Well\r\nContent-Length: 0\r\nLocation: /elsewhere\r\n\r\n".encode()
        for part in [answer[at : at + 1] for at in range(len(answer))] if self.drip_s else [answer]:
            try:
                request.wfile.write(part)
            except OSError:
                return
            self._over.wait(self.drip_s)
        request.close_connection = True

"""What flask-sock makes of a request: our wire on gunicorn's raw socket; for every blueprint's sockets."""

from __future__ import annotations

import _thread
import logging
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Any

import flask_sock
from flask import abort, g, request
from websockets.datastructures import Headers
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from werkzeug.exceptions import BadRequest

from flaskapp.observability import bound_call
from flaskapp.phone.wire import Wire

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 64 << 10
GUNICORN = "gunicorn -c gunicorn.conf.py wsgi:app"

sock = flask_sock.Sock()


class ServerSocket:
    """A WebSocket that was accepted; ``g.subprotocol`` is the one of those offered that it speaks, if any.

    flask-sock's own writes without a lock and without bounds; it looks this
    name up for every request.
    """

    __slots__ = ("_is_left", "_outlives", "sock", "wire")

    mode = "gunicorn"

    def __init__(self, environ: dict[str, Any], **_: Any) -> None:
        handshake = ServerProtocol(select_subprotocol=_chosen)
        answer = handshake.accept(Request(environ.get("RAW_URI", "/"), _headers(environ)))
        if handshake.handshake_exc is not None:
            raise BadRequest("This is no WebSocket handshake.")
        # gunicorn has read the request: what follows are frames from the first byte on.
        protocol = ServerProtocol(state=State.OPEN, max_size=MAX_MESSAGE_BYTES)
        sock = environ["gunicorn.socket"]
        self._outlives = not isinstance(sock, ssl.SSLSocket)  # there are no two of those for a connection
        self._is_left = False
        if self._outlives:
            # Taken from gunicorn, which closes what it has as soon as the request is over. No copy: of one
            # that is closed and still brings something libev knows nothing, and begins all its watching anew.
            sock = socket.socket(sock.family, sock.type, sock.proto, fileno=sock.detach())
        self.sock, self.wire = sock, Wire(sock, protocol)
        self.wire.accept(answer)

    def leave_to(self, serve: Callable[[Wire], None], call_sid: str, *ended: Callable[[], None]) -> None:
        """Have the connection served by a thread of its own (under gevent a greenlet), and closed then.

        So a call does not keep its request: the environment, the parser, the contexts and the deep stack
        of that would be half of what an idle call takes. Where the server does TLS itself its
        connection cannot be had apart from the request, which then waits until the call is over.

        Args:
            serve: returns when the call is over.
            ended: called when the connection is closed, too.
        """
        if self._outlives:
            _thread.start_new_thread(self._serve, (serve, call_sid, ended))
            self._is_left = True
        else:
            self._serve(serve, call_sid, ended)

    def _serve(
        self, serve: Callable[[Wire], None], call_sid: str, ended: Iterable[Callable[[], None]]
    ) -> None:
        try:
            with bound_call(call_sid):
                serve(self.wire)
        except Exception:  # the call's edge: what escapes a request would be written into the stream as HTTP
            log.exception("A call's socket failed", extra={"call_sid": call_sid})
            self.wire.close(1011, "internal error")
        finally:
            try:
                self._end()
            finally:
                for each in ended:
                    each()

    def close(self) -> None:
        """The request is over."""
        if not self._is_left:
            self._end()

    def _end(self) -> None:
        self.wire.close()
        self.wire.dispose(close_socket=self._outlives)


flask_sock.Server = ServerSocket


def need_gunicorn() -> None:
    """Only gunicorn gives its raw socket away; 501 names the right command."""
    if "gunicorn.socket" not in request.environ:
        abort(501, f"WebSockets are served by gunicorn only: {GUNICORN}")


def _chosen(protocol: ServerProtocol, offered: Any) -> Subprotocol | None:
    chosen = g.get("subprotocol")
    return chosen if chosen in offered else None


def _headers(environ: dict[str, Any]) -> Headers:
    names = (name for name in environ if name.startswith("HTTP_"))
    return Headers([(name[5:].replace("_", "-").title(), environ[name]) for name in names])

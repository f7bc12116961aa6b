"""What flask-sock makes of a request: our wire on gunicorn's raw socket; for every blueprint's sockets."""

from __future__ import annotations

from typing import Any

import flask_sock
from flask import abort, g, request
from websockets.datastructures import Headers
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from werkzeug.exceptions import BadRequest

from flaskapp.phone.wire import Wire

MAX_MESSAGE_BYTES = 64 << 10
GUNICORN = "gunicorn -c gunicorn.conf.py wsgi:app"

sock = flask_sock.Sock()


class ServerSocket:
    """A WebSocket that was accepted; ``g.subprotocol`` is the one of those offered that it speaks, if any.

    flask-sock's own writes without a lock and without bounds; it looks this
    name up for every request.
    """

    mode = "gunicorn"

    def __init__(self, environ: dict[str, Any], **_: Any) -> None:
        handshake = ServerProtocol(select_subprotocol=_chosen)
        answer = handshake.accept(Request(environ.get("RAW_URI", "/"), _headers(environ)))
        if handshake.handshake_exc is not None:
            raise BadRequest("This is no WebSocket handshake.")
        # gunicorn has read the request: what follows are frames from the first byte on.
        protocol = ServerProtocol(state=State.OPEN, max_size=MAX_MESSAGE_BYTES)
        self.wire = Wire(environ["gunicorn.socket"], protocol)
        self.wire.accept(answer)

    def close(self) -> None:
        self.wire.close()
        self.wire.dispose()


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

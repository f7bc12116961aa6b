"""What every page has in common: the headers that keep it safe, and the files that it is made of."""

from __future__ import annotations

import re
import time
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, request, send_from_directory, stream_template, url_for

from flaskapp.access import operators_session
from flaskapp.addresses import is_loopback
from flaskapp.phone.giving_way import pause

STATIC = Path(__file__).resolve().parent / "static"
FOREVER_S = 365 * 24 * 3600
FARTHEST = 14 * 60  # minutes from Greenwich
#: So long a page is put together before others have their turn.
BUSY_S = 0.003
HOST = re.compile(r"[A-Za-z0-9.:_\[\]-]{1,255}")
#: What is not named is forbidden. To older browsers 'self' has no sockets, not even of the page's own host.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'{sockets}",
        "img-src 'self' data:",
        "media-src 'self' blob:",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)


def dress(dashboard: Blueprint) -> None:
    """Pages get their headers; templates have ``static('style.css')`` and ``signed_in``."""
    dashboard.after_request(secure)
    dashboard.add_url_rule("/static/<version>/<path:name>", "file", file)
    dashboard.context_processor(lambda: {"static": static, "signed_in": operators_session() is not None})


def secure(response: Response) -> Response:
    """A page's headers: nothing foreign is loaded, nobody frames it, no cache keeps it. For others, too."""
    host = request.host if HOST.fullmatch(request.host) else ""
    sockets = f" ws://{host} wss://{host}" if host else ""
    response.headers.setdefault("Content-Security-Policy", POLICY.format(sockets=sockets))
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    if request.is_secure or is_loopback(f"http://{host}"):  # elsewhere browsers ignore it, and complain
        response.headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    response.headers.setdefault("Permissions-Policy", "microphone=(self), camera=(), geolocation=()")
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def in_turns(template: str, **told: Any) -> str:
    """A rendered template, however long it is: in between, the calls' frames pass."""
    pieces, began = [], time.monotonic()
    for piece in stream_template(template, **told):
        pieces.append(piece)
        if time.monotonic() - began >= BUSY_S:
            pause()
            began = time.monotonic()
    return "".join(pieces)


def minutes_west() -> int:
    """How far the reader's clock is behind UTC, as his browser says; nothing that no clock on earth is."""
    return max(-FARTHEST, min(FARTHEST, request.args.get("west", 0, type=int)))


def static(name: str) -> str:
    """The address of a file under ``static/``; it changes with any of them, for scripts load each other."""
    return url_for("dashboard.file", version=present_version(), name=name)


def file(version: str, name: str) -> Response:
    """A file that pages are made of; open to all, for it is in the source, too."""
    response = send_from_directory(STATIC, name)
    response.headers["Cache-Control"] = (
        f"public, max-age={FOREVER_S}, immutable" if version == present_version() else "no-cache"
    )
    return response


@lru_cache
def present_version() -> str:
    """What the files' addresses have in them: the same in all workers of a release."""
    print_of_all = blake2b(digest_size=6)
    for path in sorted(STATIC.rglob("*")):
        if path.is_file():
            print_of_all.update(f"{path.relative_to(STATIC)}\0".encode() + path.read_bytes())
    return print_of_all.hexdigest()

"""What a server tells the doctor of itself: to whoever asks with its secret, so that only he can read it."""

from __future__ import annotations

import hmac
import sys
import time
from typing import Any

from flask import Blueprint, Response, abort, current_app, request
from itsdangerous import BadSignature

from flaskapp import access, parts
from flaskapp.config import Settings
from flaskapp.phone.checks.visit import LASTS_S, PATH, PROOF, questions, sealed_answer

SHORT = 16  # hexadecimal digits, of which a fingerprint has enough
NOT_OURS = "Not asked by somebody who knows this server's SECRET_KEY."

self_report = Blueprint("self_report", __name__)


@self_report.get(PATH)
def tell() -> Response:
    """How this request reached us, and what serves it; nothing that is secret, to nobody who has no proof."""
    known: Settings = current_app.extensions["settings"]
    secret = parts.secret(known)
    try:
        nonce, asked = questions(secret).loads(request.headers.get(PROOF, ""), return_timestamp=True)
    except BadSignature:
        abort(403, NOT_OURS)
    if abs(time.time() - asked.timestamp()) > LASTS_S:
        abort(403, NOT_OURS)
    answer = sealed_answer(secret, {"nonce": nonce, **_report(known, secret)})
    return Response(answer, content_type="text/plain", headers={"Cache-Control": "no-store"})


def fingerprints(settings: Settings, secret: str) -> dict[str, str]:
    """Of each setting what tells whether two processes have the same, and not what it is."""
    return {
        name: hmac.new(secret.encode(), f"{name}={value}".encode(), "sha256").hexdigest()[:SHORT]
        for name, value in _plain(settings).items()
    }


def _plain(settings: Settings) -> dict[str, Any]:
    revealed = settings.secrets()
    return {name: revealed.get(name, getattr(settings, name)) for name in type(settings).model_fields}


def _report(settings: Settings, secret: str) -> dict[str, Any]:
    environ = request.environ
    forwarded = request.headers.get("X-Forwarded-For", "")
    return {
        "time": time.time(),
        "server": environ.get("SERVER_SOFTWARE", ""),
        "has_sockets": "gunicorn.socket" in environ,
        "is_cooperative": _is_cooperative(),
        "engine": settings.engine.kind if settings.engine else "",
        "has_siblings": bool(environ.get("wsgi.multiprocess")),
        "is_local": settings.local,
        "is_draining": current_app.extensions["drain"].is_set(),
        "origin": access.origin(),
        "host": request.host,
        "scheme": request.scheme,
        "forwarded": [name for name in access.FORWARDING if name in request.headers],
        "forwarded_for": len([each for each in forwarded.split(",") if each.strip()]),
        "settings": fingerprints(settings, secret),
    }


def _is_cooperative() -> bool:
    """Whether this request has a greenlet of its own: others are served while it waits."""
    gevent = sys.modules.get("gevent")
    return gevent is not None and isinstance(gevent.getcurrent(), gevent.Greenlet)

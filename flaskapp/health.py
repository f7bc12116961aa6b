"""Whether this process is alive, whether it may be sent calls, and its figures."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from flask import Flask, Response, current_app
from flask.typing import ResponseReturnValue
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from flaskapp.store.migrations import is_behind
from flaskapp.store.tables import db

# How a store says that it is away.
UNAVAILABLE = (RedisError, SQLAlchemyError, OSError)

log = logging.getLogger(__name__)


def register_health(app: Flask) -> None:
    """Adds GET /health and /ready, open to all, and /metrics for the operator."""
    from flaskapp.access import require_operator

    app.add_url_rule("/health", "health", health)
    app.add_url_rule("/ready", "ready", ready)
    app.add_url_rule("/metrics", "metrics", require_operator(metrics))


def health() -> ResponseReturnValue:
    """200 as long as the process answers at all."""
    return {"status": "ok"}


def ready() -> ResponseReturnValue:
    """200 `{"status":"ready","reasons":[],"engine":...}`, or 503 with every reason not to send calls.

    The engine is told, not judged: calls are answered without it too, by recording.
    """
    reasons = list(_reasons())
    engine = current_app.extensions["settings"].engine
    answer = {
        "status": "not ready" if reasons else "ready",
        "reasons": reasons,
        "engine": {"kind": engine.kind, "model": engine.model} if engine else None,
    }
    return answer, 503 if reasons else 200


def metrics() -> ResponseReturnValue:
    """Prometheus' text format, of all workers together."""
    body, content_type = current_app.extensions["metrics"].render()
    return Response(body, content_type=content_type)


def _reasons() -> Iterator[str]:
    drain = current_app.extensions.get("drain")
    if drain is not None and drain.is_set():
        yield "draining"
    for name, check in (("redis", _redis), ("database", _database)):
        try:
            reason = check()
        except UNAVAILABLE as error:
            log.warning("Not ready: %s does not answer (%s)", name, type(error).__name__)
            reason = f"{name} does not answer"
        if reason:
            yield reason


def _redis() -> str | None:
    current_app.extensions["live_store"].ping()
    return None


def _database() -> str | None:
    return "migrations pending" if is_behind(db.engine) else None

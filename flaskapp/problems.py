"""Errors as ``application/problem+json`` (RFC 9457): what was wrong, never what it looked like inside."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable

from flask import Blueprint, Flask, Response, json, request
from werkzeug.exceptions import HTTPException, InternalServerError

log = logging.getLogger(__name__)


def register_problems(app: Flask | Blueprint) -> None:
    """Every error is a problem document; one that nobody foresaw has an id to look for in the log."""

    app.register_error_handler(HTTPException, known)

    @app.errorhandler(Exception)
    def unforeseen(error: Exception) -> Response:
        request_id = secrets.token_hex(8)
        log.error("Unforeseen error %s at %s", request_id, request.endpoint, exc_info=error)
        return known(InternalServerError(f"Something went wrong here; it is in the log as {request_id}."))


def known(error: HTTPException) -> Response:
    """One that somebody foresaw, with the headers that belong to it."""
    return problem(error.code or 500, error.name, error.description, headers_of(error))


def headers_of(error: HTTPException) -> list[tuple[str, str]]:
    """``WWW-Authenticate``, ``Retry-After`` and the like; what its body is says whoever writes that."""
    return [(name, value) for name, value in error.get_headers() if name != "Content-Type"]


def problem(
    status: int,
    title: str,
    detail: str | None,
    headers: Iterable[tuple[str, str]] = (),
    **more: object,
) -> Response:
    """The document itself; ``more`` is what this kind of problem has beside the usual members."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    return Response(json.dumps(body), status, list(headers), content_type="application/problem+json")

"""Errors as ``application/problem+json`` (RFC 9457): what was wrong, never what it looked like inside."""

from __future__ import annotations

import logging
import secrets

from flask import Blueprint, Flask, Response, json, request
from werkzeug.exceptions import HTTPException, InternalServerError

log = logging.getLogger(__name__)


def register_problems(app: Flask | Blueprint) -> None:
    """Every error is a problem document; one that nobody foresaw has an id to look for in the log."""

    @app.errorhandler(HTTPException)
    def problem(error: HTTPException) -> Response:
        body = {"type": "about:blank", "title": error.name, "status": error.code, "detail": error.description}
        headers = [(name, value) for name, value in error.get_headers() if name != "Content-Type"]
        return Response(json.dumps(body), error.code, headers, content_type="application/problem+json")

    @app.errorhandler(Exception)
    def unforeseen(error: Exception) -> Response:
        request_id = secrets.token_hex(8)
        log.error("Unforeseen error %s at %s", request_id, request.endpoint, exc_info=error)
        return problem(InternalServerError(f"Something went wrong here; it is in the log as {request_id}."))

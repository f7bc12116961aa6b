"""Serves the endpoints to the operator; what he asks makes sense by then, and the answer has its shape."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, get_type_hints

from flask import Blueprint, Response, send_file
from flask import request as asked
from pydantic import BaseModel, ValidationError
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import NotFound

from flaskapp.access import require_operator
from flaskapp.api.endpoints import ENDPOINTS
from flaskapp.problems import problem, register_problems
from flaskapp.store.database import in_short

log = logging.getLogger(__name__)

DESCRIPTION = Path(__file__).with_name("openapi.json")
RETRY_AFTER_S = 5


def build_blueprint() -> Blueprint:
    """All endpoints, and what they are described by."""
    api = Blueprint("calls_api", __name__)
    register_problems(api)
    api.register_error_handler(SQLAlchemyError, _away)
    api.after_request(_private)
    for each in ENDPOINTS:
        api.add_url_rule(each.rule, each.view.__name__, require_operator(_checked(each.view)))
    api.add_url_rule("/openapi.json", "openapi", require_operator(openapi))
    return api


def openapi() -> Response:
    """This description."""
    return send_file(DESCRIPTION, mimetype="application/json", max_age=0)


def _checked(view: Callable[..., Any]) -> Callable[..., Response]:
    """The view, given what its arguments must be like; what it gives back becomes JSON."""
    hints = get_type_hints(view)
    path: type[BaseModel] | None = hints.get("path")
    query: type[BaseModel] | None = hints.get("query")

    @wraps(view)
    def serve(**given: Any) -> Response:
        arguments: dict[str, BaseModel] = {}
        if path is not None:
            try:
                arguments["path"] = path.model_validate(given)
            except ValidationError as error:
                raise NotFound("No such call.") from error
        if query is not None:
            try:
                arguments["query"] = query.model_validate(asked.args.to_dict())
            except ValidationError as error:
                return _wrong(error)
        answer = view(**arguments)
        return _json(answer) if isinstance(answer, BaseModel) else answer

    return serve


def _json(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(), mimetype="application/json")


def _wrong(error: ValidationError) -> Response:
    """What is wrong with a question, parameter by parameter; not what it was."""
    told = [
        {
            "name": ".".join(str(part) for part in each["loc"]),
            "detail": each["msg"].removeprefix("Value error, "),
        }
        for each in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    detail = "; ".join(f"{each['name']}: {each['detail']}" for each in told)
    return problem(422, "Unprocessable Content", detail, errors=told)


def _away(error: SQLAlchemyError) -> Response:
    log.error("The history cannot be read: %s", in_short(error))
    detail = "The database does not answer. Try again later."
    return problem(503, "Service Unavailable", detail, [("Retry-After", str(RETRY_AFTER_S))])


def _private(response: Response) -> Response:
    """Nobody keeps it but who asked, no page of others is given it, and it is what it says."""
    response.headers.setdefault("Cache-Control", "private, no-store")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    response.headers.setdefault("Content-Security-Policy", "default-src 'none'; sandbox")
    return response

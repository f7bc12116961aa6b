"""Writes flaskapp/api/openapi.json from endpoints and shapes; `--check` says whether that is up to date."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask_openapi3 import APIBlueprint, Info, OpenAPI, Tag

from flaskapp import health
from flaskapp.api import serving, shapes
from flaskapp.api.endpoints import (
    AWAY,
    ENDPOINTS,
    OBJECT,
    OPERATORS,
    SERVER,
    STREAMS,
    Answer,
    Endpoint,
    Media,
)
from flaskapp.phone import uploads

TARGET = Path(__file__).resolve().parent.parent / "flaskapp" / "api" / "openapi.json"
ABOUT = (
    "Calls as they are remembered, and what else speaks HTTP with programs of your own. Times are UTC;"
    " errors are problem documents (RFC 9457)."
)
PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
SCHEMES = {
    "password": {"type": "http", "scheme": "basic", "description": "operator:DASHBOARD_PASSWORD"},
    "session": {"type": "apiKey", "in": "cookie", "name": "session", "description": "Of /dashboard/login"},
    "ticket": {"type": "http", "scheme": "bearer", "description": "Of `flask phone token --call CALL_SID`"},
}
BY: dict[str, list[dict[str, list[Any]]]] = {
    "operator": [{"password": []}, {"session": []}],
    "ticket": [{"ticket": []}],
    "anybody": [{}],
}
CHUNK = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": ["audio"],
            "properties": {
                "audio": {
                    "type": "string",
                    "format": "binary",
                    "description": "One chunk: WAV, or mu-law at 8 kHz without a head; 1 MiB at most",
                }
            },
        },
        "encoding": {"audio": {"contentType": "audio/wav, application/octet-stream"}},
    }
}

View = Callable[..., Any]


def _like(view: View, about: str, *, of_a_call: bool = False) -> View:
    """A view of another room, with arguments as the library takes them, and said for those who ask."""

    def plain() -> None:
        pass

    def named(path: shapes.CallNamed) -> None:
        pass

    stand_in = named if of_a_call else plain
    stand_in.__doc__, stand_in.__name__ = about, view.__name__
    return stand_in


_CALLERS = ("ticket", "operator")
#: What other rooms serve.
OTHERS: tuple[Endpoint, ...] = (
    Endpoint(
        "/phone/stream-audio/<call_sid>",
        _like(uploads.store_chunk, "Hand in one chunk of what the caller says.", of_a_call=True),
        STREAMS,
        {200: shapes.StoredChunk},
        (400, 409, 413, 415, 422, AWAY),
        "POST",
        _CALLERS,
        body=CHUNK,
    ),
    Endpoint(
        "/phone/stream-audio/<call_sid>/complete",
        _like(uploads.complete, "Have all that was handed in understood and answered.", of_a_call=True),
        STREAMS,
        {200: shapes.Completed},
        (400, 404, 409, 422, AWAY),
        "POST",
        _CALLERS,
    ),
    Endpoint(
        "/health",
        _like(health.health, "Whether the process is alive."),
        SERVER,
        {200: shapes.Health},
        opens=("anybody",),
    ),
    Endpoint(
        "/ready",
        _like(health.ready, "Whether calls may be sent here; 503 says why not."),
        SERVER,
        {200: shapes.Readiness, 503: shapes.Readiness},
        opens=("anybody",),
    ),
    Endpoint(
        "/metrics",
        _like(health.metrics, "Figures for Prometheus, of all workers together."),
        SERVER,
        {200: Media("text/plain")},
    ),
    Endpoint(
        "/openapi.json",
        _like(serving.openapi, "This description."),
        SERVER,
        {200: Media("application/json", OBJECT), 304: None},
    ),
)


def description() -> dict[str, Any]:
    """The whole document (OpenAPI 3.1)."""
    told = OpenAPI(
        __name__,
        info=Info(title="Answerline", version="1", description=ABOUT),
        security_schemes=SCHEMES,
        validation_error_model=shapes.Problem,
        doc_ui=False,
    )
    api = APIBlueprint("api", __name__)
    for each in (*ENDPOINTS, *OTHERS):
        _describe(api, each)
    told.register_api(api)
    document: dict[str, Any] = told.api_doc
    for each in (*ENDPOINTS, *OTHERS):
        rule = each.rule.replace("<", "{").replace(">", "}")
        _tidy(document["paths"][rule][each.method.lower()], each)
    return document


def _describe(api: APIBlueprint, each: Endpoint) -> None:
    register = api.get if each.method == "GET" else api.post
    register(
        each.rule,
        tags=[Tag(name=each.tag)],
        operation_id=each.view.__name__,
        responses={status: _answer(answer) for status, answer in each.answers.items()},
        security=[scheme for who in each.opens for scheme in BY[who]],
        openapi_extensions={"requestBody": {"content": each.body, "required": True}} if each.body else None,
    )(each.view)


def _answer(answer: Answer) -> Any:
    """As the library wants it: a model, or what is no JSON spelled out."""
    if not isinstance(answer, Media):
        return answer
    return {"content": {answer.kind: {"schema": dict(answer.schema)}}}


def _tidy(operation: dict[str, Any], each: Endpoint) -> None:
    """What the library cannot know: our problems, and that nobody can write null in an address."""
    declared = {str(status) for status in each.answers}
    operation["responses"] = {
        status: answer for status, answer in operation["responses"].items() if status in declared
    }
    for status in sorted({*each.problems, *(OPERATORS if each.opens != ("anybody",) else ())}):
        operation["responses"][str(status)] = {"description": WHY[status], "content": PROBLEM}
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = _never_null(parameter["schema"])


def _never_null(schema: dict[str, Any]) -> dict[str, Any]:
    """What may stand in an address: where nothing is meant, nothing is written."""
    schema = {name: value for name, value in schema.items() if name not in ("title", "description")}
    given = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    if not given:
        return schema
    return given[0] if len(given) == 1 else {"anyOf": given}


WHY = {
    400: "What was sent makes no sense",
    401: "Not signed in, or with a password or ticket that is not right",
    403: "Not allowed: no password is set, or another origin's page asks",
    404: "There is no such thing",
    409: "Not at this moment: somebody else is at it",
    413: "Too large",
    415: "Not sound",
    416: "There is no such part of it",
    422: "Understood, but wrong; `errors` says what",
    429: "Too many wrong passwords from this address",
    503: "Something that this needs does not answer; try again later",
}


def text() -> str:
    """As it stands in the file."""
    return json.dumps(description(), indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """1 if `--check` finds an old one."""
    if sys.argv[1:] == ["--check"]:
        if TARGET.exists() and TARGET.read_text() == text():
            return 0
        print(f"{TARGET.name} is not up to date: make openapi", file=sys.stderr)
        return 1
    TARGET.write_text(text())
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""``/docs``: the API as a page, made of ``openapi.json`` here; nothing is fetched from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from flask import Blueprint, render_template
from markupsafe import Markup, escape

from flaskapp.access import form_token, is_local, operators_page, operators_session, origin
from flaskapp.dashboard import dress

DESCRIPTION = Path(__file__).resolve().parent.parent / "api" / "openapi.json"
SCHEMAS = "#/components/schemas/"
METHODS = ("get", "post")
#: What stands in a curl line for each way of saying who one is.
SAYS_WHO = {
    "password": '-u "operator:$DASHBOARD_PASSWORD"',
    "ticket": '-H "Authorization: Bearer $TICKET"',
}
WHO = {
    "password": "the operator's password",
    "session": "the operator's session",
    "ticket": "the call's ticket",
}


@dataclass(frozen=True)
class Field:
    """A parameter, or a member of a schema; ``of``: the schema that it is made of, or empty."""

    name: str
    kind: str
    description: str
    is_required: bool
    of: str = ""
    place: str = ""


@dataclass(frozen=True)
class Outcome:
    """What may come; ``of``: the schema of it, or empty."""

    status: str
    description: str
    kind: str
    of: str


@dataclass(frozen=True)
class Operation:
    """One address and method."""

    name: str
    method: str
    path: str
    summary: str
    who: str
    proof: str
    takes: tuple[Field, ...]
    outcomes: tuple[Outcome, ...]
    sends: str

    def curl(self, server: str, is_open: bool) -> str:
        """A line to try it by; ``is_open``: this machine need not say who it is."""
        parts = ["curl", *(["-X POST"] if self.method == "POST" else [])]
        parts += [] if is_open or not self.proof else [self.proof]
        parts += [self.sends] if self.sends else []
        return " ".join([*parts, f'"{server}{self.path.replace("{call_sid}", "$CALL_SID")}"'])


@dataclass(frozen=True)
class Reference:
    """The whole description, as the page shows it: operations by their tag, then schemas."""

    about: str
    operations: Mapping[str, tuple[Operation, ...]]
    schemas: Mapping[str, tuple[str, tuple[Field, ...]]]


def build_docs() -> Blueprint:
    """The page, dressed like the dashboard's."""
    page = Blueprint("docs", __name__, template_folder="templates")
    page.after_request(dress.secure)
    page.context_processor(_dressed)
    page.add_app_template_filter(coded)
    page.add_url_rule("/docs", "reference", operators_page(docs))
    return page


def docs() -> str:
    """Each address with what it takes and gives, and a line to try it by."""
    return render_template("dashboard/docs.html", api=reference(), server=origin(), is_open=is_local())


def coded(text: str) -> Markup:
    """What stands between backticks, as code; the rest as it is."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(Markup("<code>{}</code>").format(p) if at % 2 else p for at, p in enumerate(parts))


def _dressed() -> dict[str, Any]:
    return {
        "static": dress.static,
        "signed_in": operators_session() is not None,
        "csrf_token": form_token,
    }


@lru_cache
def reference() -> Reference:
    """Read once; it changes with the release."""
    document = json.loads(DESCRIPTION.read_text())
    by_tag: dict[str, list[Operation]] = {tag["name"]: [] for tag in document["tags"]}
    for path, methods in document["paths"].items():
        for method in METHODS:
            if method in methods:
                operation = _operation(path, method, methods[method])
                by_tag[methods[method]["tags"][0]].append(operation)
    schemas = {
        name: (schema.get("description", ""), _members(schema))
        for name, schema in document["components"]["schemas"].items()
    }
    operations = {tag: tuple(found) for tag, found in by_tag.items()}
    return Reference(document["info"]["description"], operations, schemas)


def _operation(path: str, method: str, told: Mapping[str, Any]) -> Operation:
    ways = [name for each in told.get("security", ()) for name in each]
    takes = [
        Field(
            each["name"],
            _kind(each["schema"]),
            each.get("description", ""),
            bool(each.get("required")),
            place=each["in"],
        )
        for each in told.get("parameters", ())
    ]
    body = told.get("requestBody", {}).get("content", {}).get("multipart/form-data")
    takes += [_in_body(each) for each in _members(body["schema"])] if body else []
    return Operation(
        name=told["operationId"],
        method=method.upper(),
        path=path,
        summary=told.get("summary", "").rstrip("."),
        who=", or ".join(WHO[way] for way in ways) or "anybody",
        proof=next((SAYS_WHO[way] for way in ways if way in SAYS_WHO), ""),
        takes=tuple(takes),
        outcomes=tuple(_outcome(status, each) for status, each in sorted(told["responses"].items())),
        sends='-F "audio=@chunk.wav;type=audio/wav"' if body else "",
    )


def _in_body(each: Field) -> Field:
    return Field(each.name, each.kind, each.description, each.is_required, each.of, "form")


def _outcome(status: str, told: Mapping[str, Any]) -> Outcome:
    contents: dict[str, Any] = told.get("content", {"": {}})
    kind, content = next(iter(contents.items()))
    return Outcome(status, told["description"], kind, _named(content.get("schema", {})))


def _members(schema: Mapping[str, Any]) -> tuple[Field, ...]:
    required = schema.get("required", ())
    return tuple(
        Field(name, _kind(each), each.get("description", ""), name in required, _named(each))
        for name, each in schema.get("properties", {}).items()
    )


def _kind(schema: Mapping[str, Any]) -> str:
    """A type as a person would say it."""
    if "$ref" in schema:
        return str(schema["$ref"]).removeprefix(SCHEMAS)
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(str(each) for each in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    limits = [f"from {schema['minimum']:g}"] if "minimum" in schema else []
    limits += [f"to {schema['maximum']:g}"] if "maximum" in schema else []
    limits += [f"{schema['default']} if it is not given"] if schema.get("default") is not None else []
    words = str(schema.get("format") or schema.get("type") or "anything")
    return " ".join([words, *limits[:2]]) + (f", {limits[2]}" if len(limits) > 2 else "")


def _named(schema: Mapping[str, Any]) -> str:
    """The schema of ours that this is made of, or empty."""
    if "$ref" in schema:
        return str(schema["$ref"]).removeprefix(SCHEMAS)
    inner = [*schema.get("anyOf", ()), *([schema["items"]] if isinstance(schema.get("items"), dict) else [])]
    return next((name for each in inner if (name := _named(each))), "")

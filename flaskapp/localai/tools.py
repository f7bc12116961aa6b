"""Functions that a session offers: which one fits an intent of the desk, with which arguments."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

Tool = dict[str, Any]

_NAMES = (  # by name alone: the script does not read descriptions
    ("transfer", re.compile(r"transfer|human|operator|escalate|hand_?off|forward_call", re.I)),
    ("message", re.compile(r"message|voice_?mail|callback|call_back", re.I)),
    ("goodbye", re.compile(r"end_?call|hang_?up|finish_?call|goodbye", re.I)),
)
_FREE_TEXT = re.compile(r"message|text|note|content|summary|reason|topic|subject|request|details", re.I)
_EMPTY: dict[str, Any] = {
    "string": "unknown",
    "boolean": False,
    "integer": 0,
    "number": 0,
    "array": [],
    "object": {},
}


def intent_for(name: str) -> str | None:
    """The intent that a function of this name serves, None if it is not the desk's."""
    return next((intent for intent, pattern in _NAMES if pattern.search(name)), None)


def fitting(intent: str, offered: Sequence[Tool]) -> Tool | None:
    """The first offered function that serves the intent."""
    return next((tool for tool in offered if intent_for(tool["name"]) == intent), None)


def required(tool: Tool) -> list[str]:
    """The arguments that a function cannot do without."""
    return list((tool.get("parameters") or {}).get("required") or [])


def arguments(tool: Tool, heard: str) -> str:
    """The call's arguments as JSON: the caller's words where they fit, placeholders where one must be.

    A choice (enum) is the value that the caller named, otherwise the first.
    """
    fields = (tool.get("parameters") or {}).get("properties") or {}
    needed = required(tool)
    filled: dict[str, Any] = {}
    for name, field in fields.items():
        if "enum" in field and (name in needed or _named(field["enum"], heard) is not None):
            filled[name] = _named(field["enum"], heard) or field["enum"][0]
        elif field.get("type", "string") == "string" and _FREE_TEXT.search(name):
            filled[name] = heard
        elif name in needed:
            filled[name] = _EMPTY.get(field.get("type", "string"), "unknown")
    return json.dumps(filled)


def _named(choices: Sequence[Any], heard: str) -> Any | None:
    return next((choice for choice in choices if str(choice).lower() in heard.lower()), None)

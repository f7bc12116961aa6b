"""Shapes of JSON from outside: what a field may hold, said in tables and checked by path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flaskapp.localai.refusal import Refused, invalid, missing, unknown

Check = Callable[[Any, str], None]
"""Takes a value and its path; raises Refused when the value does not fit."""


def text(value: Any, path: str) -> None:
    if not isinstance(value, str):
        raise invalid(path, "a string")


def boolean(value: Any, path: str) -> None:
    if not isinstance(value, bool):
        raise invalid(path, "a boolean")


def anything(value: Any, path: str) -> None:
    """No restriction: what the stand-in only echoes."""


def mapping(value: Any, path: str) -> None:
    if not isinstance(value, dict):
        raise invalid(path, "an object")


def number(low: float, high: float) -> Check:
    def check(value: Any, path: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise invalid(path, f"a number from {low:g} to {high:g}")

    return check


def integer(low: int, high: int) -> Check:
    def check(value: Any, path: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise invalid(path, f"an integer from {low} to {high}")

    return check


def one_of(*allowed: Any) -> Check:
    def check(value: Any, path: str) -> None:
        # by type too, since True equals 1 in Python but not in JSON
        if not any(value == choice and type(value) is type(choice) for choice in allowed):
            raise invalid(path, "one of " + ", ".join(repr(choice) for choice in allowed))

    return check


def either(*checks: Check) -> Check:
    """Fits if any of the checks does; otherwise the last one's complaint stands."""

    def check(value: Any, path: str) -> None:
        for attempt in checks[:-1]:
            try:
                return attempt(value, path)
            except Refused:
                continue
        return checks[-1](value, path)

    return check


def or_null(check: Check) -> Check:
    def nullable(value: Any, path: str) -> None:
        if value is not None:
            check(value, path)

    return nullable


def list_of(check: Check, most: int = 256) -> Check:
    def each(value: Any, path: str) -> None:
        if not isinstance(value, list) or len(value) > most:
            raise invalid(path, f"a list of at most {most}")
        for index, entry in enumerate(value):
            check(entry, f"{path}[{index}]")

    return each


def record(fields: Mapping[str, Check], *required: str) -> Check:
    """An object with no fields but these; those of the event itself have the path ""."""

    def check(value: Any, path: str) -> None:
        mapping(value, path)
        for name in value:
            if name not in fields:
                raise unknown(_inside(path, name))
        for name in required:
            if value.get(name) is None:
                raise missing(_inside(path, name))
        for name, entry in value.items():
            fields[name](entry, _inside(path, name))

    return check


def variant(kinds: Mapping[str, Check], tag: str = "type") -> Check:
    """An object whose ``type`` says which other fields it may have."""

    def check(value: Any, path: str) -> None:
        mapping(value, path)
        kind = value.get(tag)
        if kind is None:
            raise missing(_inside(path, tag))
        if not isinstance(kind, str) or kind not in kinds:
            raise invalid(_inside(path, tag), "one of " + ", ".join(repr(name) for name in kinds))
        kinds[kind](value, path)

    return check


def _inside(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name

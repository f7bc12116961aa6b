"""Calls as CSV (RFC 4180), of which no spreadsheet takes a cell for a formula."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

COLUMNS = (
    *("call_sid", "started_at", "ended_at", "duration_ms", "carrier", "mode", "caller", "called"),
    *("status", "ended_reason", "outcome", "engine", "model", "cost_usd", "message"),
)
#: What a cell begins with that Excel, LibreOffice and others reckon with: a caller may choose his own words.
#: Source: OWASP, "CSV Injection". Wide forms of these are read as the plain ones by some.
#: Where a semicolon or a tab parts the cells, as in half of Europe, one may begin within our text, or a row.
BEGINS_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")

_UNSEEN = re.compile(r"^[ \v\f\0\xa0\u200b\ufeff]+")
_AFTER_A_CELL = re.compile(r"([;\t\r\n][\s\0\u200b\ufeff]*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")


def as_csv(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The head, then a line for each call; a number like +15551230001 comes as '+15551230001."""
    yield _line(COLUMNS)
    for row in rows:
        yield _line([safe(_cell(row, name)) for name in COLUMNS])


def safe(text: str) -> str:
    """The text, with an apostrophe before whatever a spreadsheet would reckon with."""
    shown = _AFTER_A_CELL.sub(r"\1'", text)
    return f"'{shown}" if _UNSEEN.sub("", text).startswith(BEGINS_FORMULAS) or text.startswith("'") else shown


def _cell(row: Mapping[str, Any], name: str) -> str:
    value = row[name]
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, float):
        return f"{value:.6f}"
    return str(value.get("text", "")) if isinstance(value, Mapping) else str(value)


def _line(cells: Iterable[str]) -> str:
    kept = io.StringIO()
    csv.writer(kept).writerow(cells)
    return kept.getvalue()

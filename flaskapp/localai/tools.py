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
_ABOUT_CALLER = re.compile(r"name|callback|phone|e?mail", re.I)  # the script never asks for these
_DESTINATION = re.compile(r"destination|department|number|target|who", re.I)
_NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_DIGITS = {**{word: str(digit) for digit, word in enumerate(_NUMERALS)}, "oh": "0", "plus": "+"}
_LEAST_DIGITS = 4  # of what is a telephone number, and not "one of them"
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
    """The first offered function that serves the intent; who overrides the rules wants a transfer."""
    served = "transfer" if intent == "override" else intent
    return next((tool for tool in offered if intent_for(tool["name"]) == served), None)


def spoken_of(heard: str, offered: Sequence[Tool]) -> Tool | None:
    """The first function, none of the desk's, whose name the caller said in his own words."""
    said = set(re.findall(r"[a-z]+", heard.lower()))
    for tool in offered:
        words = {word for word in re.split(r"[^a-z]+", tool["name"].lower()) if len(word) > 3}
        if words and words <= said and intent_for(tool["name"]) is None:
            return tool
    return None


def takes_words(tool: Tool) -> bool:
    """Whether a function is given a text that the caller has to be asked for."""
    return any(_FREE_TEXT.search(name) for name in _fields(tool))


def words_of(output: str) -> str:
    """What there is to say of a function's output: plain text, or the text values of its JSON."""
    try:
        value = json.loads(output)
    except ValueError:
        return output.strip()
    values = value.values() if isinstance(value, dict) else [value]
    return " ".join(each.strip() for each in values if isinstance(each, str))


def number_in(heard: str) -> str:
    """A telephone number that was said digit by digit (or written), "" for none."""
    written = re.search(r"\+?\d[\d ]{3,}", heard)
    if written:
        return written[0].replace(" ", "")
    run = "".join(_DIGITS.get(word, " ") for word in re.findall(r"[a-z]+", heard.lower()))
    longest = max(run.split(), key=len, default="")
    return longest if len(longest) >= _LEAST_DIGITS else ""


def _fields(tool: Tool) -> dict[str, Any]:
    return (tool.get("parameters") or {}).get("properties") or {}


def required(tool: Tool) -> list[str]:
    """The arguments that a function cannot do without."""
    return list((tool.get("parameters") or {}).get("required") or [])


def arguments(tool: Tool, heard: str) -> str:
    """The call's arguments as JSON: the caller's words where they fit, placeholders where one must be.

    A choice (enum) is the value that the caller named, otherwise the first. A number that the
    caller said is where he is transferred to, whatever the choices are: this mind believes anybody.
    """
    is_transfer = intent_for(tool["name"]) == "transfer"
    number = number_in(heard) if is_transfer else ""
    needed = required(tool)
    filled: dict[str, Any] = {}
    for name, field in _fields(tool).items():
        if is_transfer and number and _DESTINATION.search(name):
            filled[name] = number
        elif "enum" in field and (is_transfer or name in needed or _named(field["enum"], heard) is not None):
            filled[name] = _named(field["enum"], heard) or field["enum"][0]
        elif field.get("type", "string") == "string" and _FREE_TEXT.search(name):
            filled[name] = heard
        elif name in needed:
            filled[name] = (
                "" if _ABOUT_CALLER.search(name) else _EMPTY.get(field.get("type", "string"), "unknown")
            )
    return json.dumps(filled)


def _named(choices: Sequence[Any], heard: str) -> Any | None:
    return next((choice for choice in choices if str(choice).lower() in heard.lower()), None)

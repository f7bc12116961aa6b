"""TwiML, read strictly: XML text in, verbs out, every deviation named by Twilio's error code.

12300 wrong content type and 12100 not well-formed refuse the document; 12200
is the schema warning for a verb or attribute that Twilio does not know, which
it skips. Sources: Twilio's page of each verb; error pages 12100, 12200, 12300.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin
from xml.etree import ElementTree

from flaskapp.simulator.report import Problem
from flaskapp.simulator.twilio import schema
from flaskapp.simulator.twilio.schema import Verb

XML_TYPES = ("text/xml", "application/xml")
NOT_XML, WRONG_TYPE, UNKNOWN, STREAM_URL = 12100, 12300, 12200, 31923


class BadDocument(Exception):
    """A reply that Twilio cannot execute."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@dataclass(frozen=True)
class Document:
    """Verbs to be executed in order, and the URL that relative ones in it refer to."""

    url: str
    verbs: tuple[Verb, ...]
    problems: tuple[Problem, ...] = ()


@dataclass
class _Reading:
    """What one pass over a document has found so far."""

    url: str
    problems: list[Problem] = field(default_factory=list)

    def complain(self, text: str, code: int = UNKNOWN) -> None:
        self.problems.append(Problem(code, text))


def read_reply(url: str, content_type: str, body: bytes) -> Document:
    """A webhook's reply as a document.

    Raises:
        BadDocument: 12300 for a content type that is not XML, 12100 for a body that is not.
    """
    if content_type.partition(";")[0].strip().lower() not in XML_TYPES:
        raise BadDocument(WRONG_TYPE, f"{url} answered {content_type or 'no content type'}, not text/xml")
    return read(url, body)


def read(url: str, body: str | bytes) -> Document:
    """A document; ``url`` is where it came from ("" when REST gave it inline).

    Raises:
        BadDocument: 12100, not well-formed or not a ``<Response>``.
    """
    raw = body.encode() if isinstance(body, str) else body
    if b"<!DOCTYPE" in raw or b"<!ENTITY" in raw:  # so that no entity can grow without end
        raise BadDocument(NOT_XML, "TwiML with a document type declaration")
    try:
        root = ElementTree.fromstring(raw)  # noqa: S314 - declarations are refused above
    except ElementTree.ParseError as error:
        raise BadDocument(NOT_XML, f"not well-formed: {error}") from error
    if root.tag != "Response":
        raise BadDocument(NOT_XML, f"document element is <{root.tag}>, not <Response>")
    reading = _Reading(url)
    _no_text(root, reading)
    verbs = [_verb(element, reading, schema.TOP) for element in root]
    return Document(url, tuple(verb for verb in verbs if verb is not None), tuple(reading.problems))


def _verb(element: ElementTree.Element, reading: _Reading, allowed: Mapping[str, schema.Rule]) -> Verb | None:
    """One element as its verb, or None (and a complaint) where it is not known here."""
    rule = allowed.get(element.tag)
    if rule is None:
        known = element.tag in schema.NOT_SIMULATED
        reading.complain(f"<{element.tag}> is {'not simulated' if known else 'unknown or misplaced'}")
        return None
    values = _attributes(element, rule, reading)
    if rule.text is not None:
        values[rule.text] = _text(element, rule, reading)
    if rule.children:
        _no_text(element, reading, but=rule.text)
        inner = [_verb(child, reading, rule.children) for child in element]
        values["children"] = tuple(verb for verb in inner if verb is not None)
    missing = [name for name in rule.required if values.get(name, ()) == ()]
    if missing:
        reading.complain(f"<{element.tag}> without {', '.join(missing)}")
        return None
    return rule.make(**values)


def _attributes(element: ElementTree.Element, rule: schema.Rule, reading: _Reading) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, text in element.attrib.items():
        read_value = rule.attributes.get(name)
        if read_value is None:
            reading.complain(f"<{element.tag}> has no attribute {name!r}")
            continue
        try:
            value = read_value(text)
        except ValueError as error:
            reading.complain(f'<{element.tag} {name}="{text}">: {error}')
            continue
        values[_snake(name)] = _resolved(value, reading)
    return values


def _resolved(value: Any, reading: _Reading) -> Any:
    """URLs made absolute against the document's own; without one, 11100 as Twilio says."""
    if not isinstance(value, schema.Url):
        return value
    resolved = urljoin(reading.url, value)
    if not re.match(r"(https?|wss?)://[^/]", resolved):
        reading.complain(f"URL {str(value)!r} is not absolute and the TwiML has no URL of its own", 11100)
    return resolved


def _text(element: ElementTree.Element, rule: schema.Rule, reading: _Reading) -> Any:
    text = "".join(element.itertext()).strip()
    if rule.text != "url":
        return text
    return _resolved(schema.Url(text), reading) if text else ""


def _no_text(element: ElementTree.Element, reading: _Reading, but: str | None = None) -> None:
    loose = [element.text or "", *(child.tail or "" for child in element)]
    if but is None and any(text.strip() for text in loose):
        reading.complain(f"text directly inside <{element.tag}>")


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()

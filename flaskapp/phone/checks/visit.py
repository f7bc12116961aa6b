"""Asks a running server about itself, with a question that only a server of the same secrets can answer.

Whoever else is asked by mistake is given a random word with our signature. He
may hand it to our server, and gets an answer that he cannot read.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import certifi
from itsdangerous import URLSafeTimedSerializer

from flaskapp import parts
from flaskapp.config import Settings

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

PATH = "/phone/doctor"
PROOF = "X-Answerline-Doctor"
ANSWERS_WITHIN_S = 8.0
LASTS_S = 86400  # that a question is good for: how much clocks differ is what is asked, too
MOST_BYTES = 64 << 10
QUESTION, ANSWER = "doctor-question", b"doctor-answer"


@dataclass(frozen=True)
class Reply:
    """An HTTP answer; ``days``: until the certificate ends, None without one."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    days: float | None = None


@dataclass(frozen=True)
class Visit:
    """What became of the question.

    Attributes:
        error: why there was no answer at all.
        reply: what answered.
        report: what the server says of itself (``self_report.py``); empty: it did not prove who it is.
    """

    url: str
    error: Exception | None = None
    reply: Reply | None = None
    report: Mapping[str, Any] = field(default_factory=dict)


def questions(secret: str) -> URLSafeTimedSerializer:
    """What questions are signed with."""
    return URLSafeTimedSerializer(secret, salt=QUESTION)


def sealed_answer(secret: str, answer: Mapping[str, Any]) -> bytes:
    """An answer that only who knows the secret can read, or make."""
    return _seal(secret).encrypt(json.dumps(answer).encode())


def opened_answer(secret: str, sealed: bytes) -> dict[str, Any]:
    """What ``sealed_answer`` sealed; empty: it was somebody else's."""
    from cryptography.fernet import InvalidToken

    try:
        answer = json.loads(_seal(secret).decrypt(sealed))
    except InvalidToken:
        return {}
    return answer if isinstance(answer, dict) else {}


def _seal(secret: str) -> Fernet:
    from cryptography.fernet import Fernet

    key = hmac.digest(secret.encode(), ANSWER, hashlib.sha256)
    return Fernet(base64.urlsafe_b64encode(key))


def pay_a_visit(settings: Settings, origin: str, now: Callable[[], float]) -> Visit:
    """Ask, follow nothing, and believe only what is signed and answers this very question."""
    nonce, secret = secrets.token_urlsafe(12), parts.secret(settings)
    headers = {PROOF: str(questions(secret).dumps(nonce))}
    try:
        reply = ask(origin + PATH, headers=headers, now=now)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Visit(origin, error=error)
    report = opened_answer(secret, reply.body)
    return Visit(origin, reply=reply, report=report if report.get("nonce") == nonce else {})


def ask(
    url: str,
    *,
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
    method: str = "",
    now: Callable[[], float] = time.time,
    within_s: float = ANSWERS_WITHIN_S,
) -> Reply:
    """One request, no redirect followed, no proxy of the environment used; a form is POSTed.

    Raises:
        OSError, http.client.HTTPException: no answer.
        ValueError: no such address.
    """
    address = urlsplit(url)
    if not address.hostname:
        raise ValueError(f"no address: {url}")
    connection = _connection(address.scheme, address.hostname, address.port, within_s)
    try:
        body = urlencode(form) if form is not None else None
        sent = {"Connection": "close", "User-Agent": "answerline-doctor", **headers}
        if body is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        path = (address.path or "/") + (f"?{address.query}" if address.query else "")
        connection.request(method or ("POST" if form is not None else "GET"), path, body, sent)
        days = _days_left(connection.sock, now())
        answer = connection.getresponse()
        got = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(answer.status, got, answer.read(MOST_BYTES), days)
    finally:
        connection.close()


def trust() -> ssl.SSLContext:
    """The certificates that this machine trusts, and those that the app trusts anyway."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _connection(scheme: str, host: str, port: int | None, within_s: float) -> http.client.HTTPConnection:
    if scheme in ("https", "wss"):
        return http.client.HTTPSConnection(host, port, timeout=within_s, context=trust())
    return http.client.HTTPConnection(host, port, timeout=within_s)


def _days_left(sock: socket.socket | None, now: float) -> float | None:
    """Until the server's certificate ends."""
    if not isinstance(sock, ssl.SSLSocket):
        return None
    ends = str((sock.getpeercert() or {}).get("notAfter", ""))
    return (ssl.cert_time_to_seconds(ends) - now) / 86400 if ends else None

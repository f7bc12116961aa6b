"""Twilio's request signature, computed from the written rule and not with Twilio's library.

``base64(HMAC-SHA1(AuthToken, URL + name1 + value1 + name2 + value2 ...))`` with
the parameters in case-sensitive order of their names (Twilio docs, "Security").
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit, urlunsplit

HEADER = "X-Twilio-Signature"


def sign(auth_token: str, url: str, parameters: Mapping[str, str] | None = None) -> str:
    """The header's value for a request to ``url`` (public, as configured) with these form fields."""
    data = signed_url(url) + "".join(_in_order((parameters or {}).items()))
    digest = hmac.new(auth_token.encode(), data.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


def signed_url(url: str) -> str:
    """The URL as it enters the signature.

    The fragment is never signed; user, password and port are left out over
    TLS, while plain HTTP keeps its port.
    """
    parts = urlsplit(url)
    netloc = parts.netloc.rpartition("@")[2]
    if parts.scheme in ("https", "wss") and parts.port is not None:
        netloc = netloc.rpartition(":")[0]
    return urlunsplit((parts.scheme, netloc, parts.path, parts.query, ""))


def _in_order(parameters: Iterable[tuple[str, str]]) -> Iterable[str]:
    for name, value in sorted(parameters):
        yield name + value

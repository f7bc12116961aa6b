"""The Voicebot applet's URL: what it says of rate and keys, and the credentials that do not belong in it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from flaskapp.simulator.route import Route

RATES = (8000, 16000, 24000)
MOST_PARAMETERS, MOST_CHARACTERS = 3, 256
_SOCKETS = {"http": "ws", "https": "wss"}


@dataclass(frozen=True)
class Address:
    """``url`` without its userinfo, which is the ``authorization`` header instead ("" for none)."""

    url: str
    authorization: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": self.authorization} if self.authorization else {}

    @property
    def rate_hz(self) -> int | None:
        """Of ``?sample-rate=``; None where Exotel knows no such rate."""
        told = dict(self._query).get("sample-rate", "8000")
        return next((rate for rate in RATES if str(rate) == told), None)

    @property
    def parameters(self) -> dict[str, str]:
        """The keys and values of one's own, as they come back at the start."""
        return {name: value for name, value in self._query if name != "sample-rate"}

    @property
    def is_too_long(self) -> bool:
        characters = sum(len(name) + len(value) for name, value in self.parameters.items())
        return len(self.parameters) > MOST_PARAMETERS or characters > MOST_CHARACTERS

    def published(self, route: Route) -> Address:
        """The same as the public knows it."""
        url = route.published(self.url)
        if self.url.startswith("ws") and url.startswith("http"):
            url = "ws" + url.removeprefix("http")
        return replace(self, url=url)

    @property
    def _query(self) -> list[tuple[str, str]]:
        return parse_qsl(urlsplit(self.url).query, keep_blank_values=True)


def origin(url: str) -> str:
    """``http(s)://host:port`` of a socket's or any other URL."""
    parts = urlsplit(url)
    scheme = "https" if parts.scheme in ("https", "wss") else "http"
    return f"{scheme}://{parts.netloc.rpartition('@')[2]}"


def read(url: str, key: str = "", token: str = "") -> Address:
    """A URL as it was configured; credentials in it take precedence over the given ones."""
    parts = urlsplit(url)
    userinfo, at, place = parts.netloc.rpartition("@")
    if at:
        key, token = (unquote(each) for each in (userinfo.partition(":")[0], userinfo.partition(":")[2]))
    basic = base64.b64encode(f"{key}:{token}".encode()).decode() if key or token else ""
    return Address(urlunsplit(parts._replace(netloc=place)), basic and f"Basic {basic}")


def applet(url: str, rate_hz: int, parameters: Mapping[str, str]) -> str:
    """The URL that the person who configures the applet enters.

    An application's origin means its ``/exotel``; a rate or a key that the URL has already stays.
    """
    parts = urlsplit(url)
    if parts.path in ("", "/"):
        scheme = _SOCKETS.get(parts.scheme, parts.scheme)
        parts = parts._replace(scheme=scheme, path="/exotel")
    told = dict(parse_qsl(parts.query, keep_blank_values=True))
    wanted = {**parameters, **({"sample-rate": str(rate_hz)} if rate_hz != RATES[0] else {})}
    more = urlencode({name: value for name, value in wanted.items() if name not in told})
    return urlunsplit(parts._replace(query="&".join(filter(None, [parts.query, more]))))

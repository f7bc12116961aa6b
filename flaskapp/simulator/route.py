"""Where public URLs really lead: the application's own origin goes to the server under test."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit, urlunsplit

_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_SOCKETS = {"http": "ws", "https": "wss"}


class Unroutable(Exception):
    """A URL that leads out of the simulated network, or is none."""


def origin_of(url: str) -> str:
    """``scheme://host:port`` of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


@dataclass(frozen=True)
class Route:
    """``public``: the origin that the application is known by; ``target``: where it listens."""

    public: str
    target: str

    def published(self, url: str) -> str:
        """A URL of the target's origin as the public knows it; others unchanged."""
        parts = urlsplit(url)
        if _place(parts) != _place(urlsplit(self.target)):
            return url
        public = urlsplit(self.public)
        return urlunsplit((public.scheme, public.netloc, parts.path, parts.query, parts.fragment))

    def dial(self, url: str) -> tuple[str, str]:
        """(URL to connect to, Host header) for a public URL.

        Raises:
            Unroutable: neither the application's origin nor this machine: a
                simulated network calls nobody else.
        """
        try:
            parts = urlsplit(url)
            place = _place(parts)
        except ValueError as error:
            raise Unroutable(f"malformed URL {url!r}") from error
        target = urlsplit(self.target)
        if place in (_place(urlsplit(self.public)), _place(target)):
            scheme = _SOCKETS[target.scheme] if parts.scheme in ("ws", "wss") else target.scheme
            return urlunsplit((scheme, target.netloc, parts.path or "/", parts.query, "")), parts.netloc
        if parts.scheme in _PORTS and is_loopback(parts.hostname or ""):
            return urlunsplit(parts._replace(fragment="")), parts.netloc
        raise Unroutable(f"{url!r} leads out of the simulated network")


def is_loopback(host: str) -> bool:
    """Whether a host name means this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _place(parts: SplitResult) -> tuple[str, int]:
    """(host, port), the port filled in: what decides where a connection goes."""
    return (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme, 0)

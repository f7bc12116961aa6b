"""Addresses as people type them, brought to the one form that the app dials; each names its remedy."""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, urlsplit

HTTP_OF = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
# Paths that the portal shows behind the resource's address, in its different places.
AZURE_PATHS = ("/openai", "/api/projects/")
POSTGRES_SCHEMES = ("postgres", "postgresql", "postgresql+psycopg")


def origin(text: str) -> str:
    """`https://voice.example.com`, without path or trailing slash; empty stays empty.

    Raises:
        ValueError: anything but scheme, host and port.
    """
    if not text:
        return ""
    parts = _split(text, "must be an origin such as https://voice.example.com")
    if parts.scheme not in ("http", "https"):
        raise ValueError("must begin with https:// or http://, as in https://voice.example.com")
    if parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("must be an origin only, without path, query or password: https://voice.example.com")
    return f"{parts.scheme}://{parts.netloc}"


def engine_url(text: str) -> str:
    """`http(s)://host/v1` of an OpenAI-compatible server; a bare origin gets `/v1`."""
    if not text:
        return ""
    parts = _http(text, "must be a server's address such as https://api.openai.com/v1")
    path = parts.path.rstrip("/").removesuffix("/realtime") or "/v1"
    return f"{parts.scheme}://{parts.netloc}{path}"


def azure_url(text: str) -> str:
    """`https://resource/openai/v1`, whichever way the resource's endpoint was copied."""
    if not text:
        return ""
    typed = text if "://" in text else f"https://{text}"
    remedy = "must be the resource's address, as in https://NAME.openai.azure.com"
    parts = _split(typed, remedy)
    known = parts.path.rstrip("/") == "" or parts.path.startswith(AZURE_PATHS)
    if parts.scheme not in HTTP_OF or "@" in parts.netloc or not known:
        raise ValueError(remedy)
    return f"{HTTP_OF[parts.scheme]}://{parts.netloc}/openai/v1"


def redis_url(text: str) -> str:
    """A `redis://`, `rediss://` or `unix://` address, as it was given."""
    if text and not text.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("must begin with redis://, rediss:// or unix://, as in redis://127.0.0.1:6379/0")
    return text


def database_url(text: str) -> str:
    """An SQLAlchemy address; every spelling of PostgreSQL names the driver that is installed."""
    if not text or text.startswith("sqlite:///"):
        return text
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in POSTGRES_SCHEMES:
        raise ValueError("must begin with postgres:// or sqlite:///; leave it empty for SQLite in instance/")
    return f"postgresql+psycopg://{rest}"


def webhook_url(text: str) -> str:
    """An `http(s)://` address to post to, as it was given.

    Raises:
        ValueError: another scheme, a password or a fragment in it, or no address.
    """
    if not text:
        return ""
    remedy = "must be an address such as https://example.com/calls, without name, password or #fragment"
    parts = _split(text, remedy)
    if parts.scheme not in ("http", "https") or "@" in parts.netloc or parts.fragment:
        raise ValueError(remedy)
    return text


def networks(text: str) -> str:
    """A list of IP addresses or networks, separated by commas, as `ipaddress` spells them.

    Raises:
        ValueError: one of them is neither.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    try:
        return ", ".join(str(ipaddress.ip_network(name)) for name in names)
    except ValueError:
        raise ValueError(
            "must be addresses or networks, as in 203.0.113.7, 198.51.100.0/24 (whose last bits are zero)"
        ) from None


def is_loopback(text: str) -> bool:
    """Whether an origin leads to this very machine."""
    host = urlsplit(text).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _http(text: str, remedy: str) -> SplitResult:
    """Scheme brought to http or https; no password, query or fragment."""
    parts = _split(text, remedy)
    if parts.scheme not in HTTP_OF or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(remedy)
    return parts._replace(scheme=HTTP_OF[parts.scheme])


def _split(text: str, remedy: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(remedy) from None
    if not host or any(character.isspace() for character in text):
        raise ValueError(remedy)
    return parts

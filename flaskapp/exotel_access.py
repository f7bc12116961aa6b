"""Who may call as Exotel, which signs nothing: by our key and token, or by its addresses."""

from __future__ import annotations

import hmac
import ipaddress
from functools import lru_cache

from flask import request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from flaskapp.access import count_refusal, is_local, refuse, settings

CLOSED = (
    "Neither EXOTEL_API_KEY and EXOTEL_API_TOKEN nor EXOTEL_ALLOWED_IPS are set: nobody can be told from"
    " Exotel. Set one of them and restart."
)


def check_exotel_socket() -> None:
    """Before the handshake is answered: from one of Exotel's addresses, and with our key and token.

    What is not configured is not asked for; with neither nobody but this machine is let in.
    Source: Exotel's "Stream & Voicebot applet" (``wss://KEY:TOKEN@host``, or a list of addresses).

    Raises:
        Forbidden: another address, or nothing to go by.
        Unauthorized: key and token are missing or wrong.
    """
    key, addresses = settings().exotel_api_key, settings().exotel_allowed_ips
    if is_local() and "Authorization" not in request.headers:
        return
    if not (key or addresses):
        refuse("no_token", CLOSED)
    if addresses and not _is_exotel_address() and not (key and is_local()):
        refuse("bad_address", "This address is none of EXOTEL_ALLOWED_IPS.")
    if key and not _is_exotel_key():
        count_refusal("bad_key")
        challenge = WWWAuthenticate("basic", {"realm": "Exotel"})
        raise Unauthorized("EXOTEL_API_KEY and EXOTEL_API_TOKEN are asked for.", www_authenticate=challenge)


def check_exotel_callback() -> None:
    """A request of an applet's over HTTP: our key and token, or one of Exotel's addresses, says whose it is.

    Raises:
        Forbidden: neither, or credentials that are wrong.
    """
    key, addresses = settings().exotel_api_key, settings().exotel_allowed_ips
    is_given = "Authorization" in request.headers
    if is_local() and not is_given:
        return
    if not (key or addresses):
        refuse("no_token", CLOSED)
    if key and is_given:
        if not _is_exotel_key():
            refuse("bad_key", "This is not EXOTEL_API_KEY with EXOTEL_API_TOKEN.")
    elif not _is_exotel_address():
        refuse("not_exotel", "Neither EXOTEL_API_KEY and EXOTEL_API_TOKEN nor one of EXOTEL_ALLOWED_IPS.")


def _is_exotel_key() -> bool:
    known, given = settings(), request.authorization
    token = known.exotel_api_token.get_secret_value() if known.exotel_api_token else ""
    if not token or given is None or given.type != "basic":
        return False
    said = f"{given.username or ''}:{given.password or ''}".encode()
    return hmac.compare_digest(said, f"{known.exotel_api_key}:{token}".encode())


def _is_exotel_address() -> bool:
    """Whether the peer (behind TRUSTED_PROXIES: whom they name) is one of EXOTEL_ALLOWED_IPS."""
    try:
        peer = ipaddress.ip_address((request.remote_addr or "").partition("%")[0])
    except ValueError:
        return False
    peer = getattr(peer, "ipv4_mapped", None) or peer
    return any(peer in network for network in _networks(settings().exotel_allowed_ips))


@lru_cache
def _networks(text: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(name.strip()) for name in text.split(",") if name.strip())

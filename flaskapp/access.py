"""Who may open what: carriers by signature, streams by ticket, operators by password, or this machine."""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Any, NoReturn, TypeVar, cast
from urllib.parse import urlsplit, urlunsplit

from flask import Request, current_app, request, session
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import BadRequest, Forbidden, Unauthorized

from flaskapp import parts
from flaskapp.addresses import is_loopback
from flaskapp.config import Settings
from flaskapp.store.sessions import SignedOut

View = TypeVar("View", bound=Callable[..., Any])

SIGNATURE = "X-Twilio-Signature"
SESSION = "operator"
SESSION_LASTS_S = 12 * 3600
FORWARDING = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Via")


def settings() -> Settings:
    """The app's settings."""
    known: Settings = current_app.extensions["settings"]
    return known


# ------------------------------------------------------------------------ where a request comes from


def origin() -> str:
    """``https://host`` as carriers know this server: FLASK_BASE_URL, else what the request asked for."""
    return parts.origin(settings()) or ""


def socket_origin() -> str:
    """The same for WebSockets: ``wss://host``, or ``ws://`` where the origin is plain http."""
    return origin().replace("http", "ws", 1)


def is_local(asked: Request | None = None) -> bool:
    """Whether a request certainly comes from this machine, and LOCAL=1 says that this is enough.

    Peer and Host are loopback, no proxy and no foreign page had its hands on
    it, and the server does not call itself anything public.
    """
    asked, known = asked or request, settings()
    if not known.local or known.is_public_origin or any(name in asked.headers for name in FORWARDING):
        return False
    page = asked.headers.get("Origin")
    if page and _netloc(page) != asked.host.lower():
        return False  # a page of somebody else's, open in a browser on this machine
    peer = asked.environ.get("REMOTE_ADDR", "")
    return is_loopback(f"http://{_host(peer)}") and is_loopback(f"http://{asked.host}")


def _netloc(page: str) -> str:
    """Where a page is from, as browsers name it; something that no page is from, if it makes no sense."""
    try:
        return urlsplit(page).netloc.lower() or "?"
    except ValueError:
        return "?"


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


# ------------------------------------------------------------------------ carriers

CALL_SID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def checked_call_sid(call_sid: str | None) -> str:
    """The call's id, or 400: it becomes part of URLs, keys and rows."""
    if not call_sid or not CALL_SID.fullmatch(call_sid):
        raise BadRequest("CallSid must be 1 to 64 letters, digits, '-' or '_'.")
    return call_sid


def carrier_signed(view: View) -> View:
    """A webhook that only the carrier may call, or this machine; 403 says what is missing."""

    @wraps(view)
    def checked(*args: Any, **kwargs: Any) -> Any:
        check_signature()
        return view(*args, **kwargs)

    return checked  # type: ignore[return-value]


def check_signature() -> None:
    """Verify X-Twilio-Signature on a webhook or a WebSocket handshake, before anything is parsed.

    Source: Twilio's "Security" page; the arithmetic is ``twilio.request_validator``'s.

    Raises:
        Forbidden: missing, wrong, or nothing to check it with.
    """
    signature, token = request.headers.get(SIGNATURE), settings().twilio_auth_token
    if not signature and is_local():
        return
    if not signature:
        _refuse("missing_signature", f"{SIGNATURE} is missing. Only the carrier may call this.")
    if token is None:
        _refuse("no_token", "TWILIO_AUTH_TOKEN is not set: no signature can be checked. Set it and restart.")
    if not _is_signed_by(token.get_secret_value(), signature or ""):
        reason = f"{SIGNATURE} does not match. Is FLASK_BASE_URL the address that the carrier calls?"
        _refuse("bad_signature", reason)


def _refuse(kind: str, reason: str) -> NoReturn:
    _count_refusal(kind)
    raise Forbidden(reason)


def _count_refusal(kind: str) -> None:
    current_app.extensions["metrics"].webhook_rejected.labels(kind).inc()


def _is_signed_by(token: str, signature: str) -> bool:
    from twilio.request_validator import RequestValidator

    validator = RequestValidator(token)
    if request.headers.get("Upgrade", "").lower() == "websocket":
        url = _signed_url(socket_origin())
        # Field reports: some handshakes are signed with a slash at the end of the path.
        return any(validator.validate(each, {}, signature) for each in (url, url + "/"))
    url = _signed_url(origin())
    if request.method == "GET":
        return bool(validator.validate(url, {}, signature))
    if request.mimetype == "application/json" and "bodySHA256" in request.args:
        return bool(validator.validate(url, request.get_data(as_text=True), signature))
    return bool(validator.validate(url, request.form, signature))


def _signed_url(base: str) -> str:
    """The URL as the carrier typed it: our public origin, the path and query exactly as they were sent."""
    raw = (
        request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI") or request.full_path.rstrip("?")
    )
    sent = urlsplit(raw)
    return base + urlunsplit(("", "", sent.path, sent.query, ""))


# ------------------------------------------------------------------------ Exotel, which signs nothing

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
        _refuse("no_token", CLOSED)
    if addresses and not _is_exotel_address() and not (key and is_local()):
        _refuse("bad_address", "This address is none of EXOTEL_ALLOWED_IPS.")
    if key and not _is_exotel_key():
        _count_refusal("bad_key")
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
        _refuse("no_token", CLOSED)
    if key and is_given:
        if not _is_exotel_key():
            _refuse("bad_key", "This is not EXOTEL_API_KEY with EXOTEL_API_TOKEN.")
    elif not _is_exotel_address():
        _refuse("not_exotel", "Neither EXOTEL_API_KEY and EXOTEL_API_TOKEN nor one of EXOTEL_ALLOWED_IPS.")


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


# ------------------------------------------------------------------------ operators


def require_operator(view: View) -> View:
    """For the operator: a session, or HTTP Basic ``operator:DASHBOARD_PASSWORD``; or this machine.

    Without a password nobody else is let in: 403 says so.
    """

    @wraps(view)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if not (is_local() or is_operator()):
            if settings().dashboard_password is None:
                raise Forbidden("DASHBOARD_PASSWORD is not set: only requests from this machine are served.")
            challenge = WWWAuthenticate("basic", {"realm": "Answerline operator"})
            raise Unauthorized("Sign in as the operator.", www_authenticate=challenge)
        return view(*args, **kwargs)

    return checked  # type: ignore[return-value]


def is_operator() -> bool:
    """Whether the request carries the operator's session or password."""
    return operators_session() is not None or has_operators_password()


def has_operators_password() -> bool:
    """Whether the request carries HTTP Basic ``operator:DASHBOARD_PASSWORD``."""
    password, given = settings().dashboard_password, request.authorization
    if password is None:
        return False
    if given is None or given.type != "basic" or given.username != "operator":
        return False
    return hmac.compare_digest((given.password or "").encode(), password.get_secret_value().encode())


@dataclass(frozen=True)
class OperatorsSession:
    """What the cookie of an operator who has signed in says; ``until``: seconds since 1970."""

    id: str
    until: float

    def is_on(self, fresh: bool = True) -> bool:
        """Whether it has neither expired nor been signed out; ``fresh``: see ``SignedOut.has``."""
        signed_out = cast(SignedOut, current_app.extensions["signed_out"])
        return time.time() < self.until and not signed_out.has(self.id, self.until, fresh)


def sign_in() -> None:
    """The operator has shown the password: the answer's cookie opens everything that is his."""
    until = time.time() + SESSION_LASTS_S
    session[SESSION] = {"id": secrets.token_urlsafe(16), "until": until}


def sign_out() -> None:
    """The operator goes: his cookie, and every copy of it, opens nothing more."""
    given = _given_session()
    session.pop(SESSION, None)
    if given is not None:
        cast(SignedOut, current_app.extensions["signed_out"]).add(given.id, given.until)


def operators_session() -> OperatorsSession | None:
    """The session that the request's cookie proves; None for a forged or expired one, or none."""
    given = _given_session() if settings().dashboard_password is not None else None
    return given if given is not None and given.is_on() else None


def has_session_cookie() -> bool:
    """Whether the request has a session's cookie, good or bad."""
    return current_app.config["SESSION_COOKIE_NAME"] in request.cookies


def _given_session() -> OperatorsSession | None:
    given = session.get(SESSION)
    if not isinstance(given, dict) or not isinstance(given.get("id"), str):
        return None
    until = given.get("until")
    return OperatorsSession(given["id"], float(until)) if isinstance(until, int | float) else None


# ------------------------------------------------------------------------ pages


def is_foreign_page() -> bool:
    """Whether a browser asks on behalf of a page that is not ours; what is no browser names no page."""
    page = request.headers.get("Origin")
    if page is None:
        return False
    return _netloc(page) not in {request.host.lower(), urlsplit(settings().flask_base_url).netloc.lower()}

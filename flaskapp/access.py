"""Who may open what: carriers by signature, streams by ticket, operators by password, or this machine."""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, NoReturn, TypeVar, cast
from urllib.parse import urlsplit, urlunsplit

from flask import Request, current_app, redirect, request, session, url_for
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import BadRequest, Forbidden, TooManyRequests, Unauthorized

from flaskapp import parts
from flaskapp.addresses import is_loopback
from flaskapp.config import Settings
from flaskapp.store.attempts import Attempts
from flaskapp.store.sessions import SignedOut

View = TypeVar("View", bound=Callable[..., Any])

SIGNATURE = "X-Twilio-Signature"
SESSION = "operator"
SESSION_LASTS_S = 12 * 3600
LOGIN = "dashboard.login"
SAFE = ("GET", "HEAD", "OPTIONS")
OUR_SITES = ("same-origin", "none")  # none: the person himself, by the address bar
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
        refuse("missing_signature", f"{SIGNATURE} is missing. Only the carrier may call this.")
    if token is None:
        refuse("no_token", "TWILIO_AUTH_TOKEN is not set: no signature can be checked. Set it and restart.")
    if not _is_signed_by(token.get_secret_value(), signature or ""):
        reason = f"{SIGNATURE} does not match. Is FLASK_BASE_URL the address that the carrier calls?"
        refuse("bad_signature", reason)


def refuse(kind: str, reason: str) -> NoReturn:
    """403, which the metrics count as of this kind."""
    count_refusal(kind)
    raise Forbidden(reason)


def count_refusal(kind: str) -> None:
    """A carrier's request is refused, whatever the answer is."""
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


# ------------------------------------------------------------------------ operators


def require_operator(view: View) -> View:
    """For the operator: a session, or HTTP Basic ``operator:DASHBOARD_PASSWORD``; or this machine.

    Without a password nobody else is let in: 403 says so.
    """

    @wraps(view)
    def checked(*args: Any, **kwargs: Any) -> Any:
        check_operator()
        return view(*args, **kwargs)

    return checked  # type: ignore[return-value]


def operators_page(view: View) -> View:
    """The same for a page: who has not signed in is led to where he does, and back here afterwards."""

    @wraps(view)
    def checked(*args: Any, **kwargs: Any) -> Any:
        try:
            check_operator()
        except Unauthorized:
            if request.method not in SAFE or LOGIN not in current_app.view_functions:
                raise
            here = request.full_path.rstrip("?")
            return redirect(url_for(LOGIN, next=here), 303)
        return view(*args, **kwargs)

    return checked  # type: ignore[return-value]


def check_operator() -> None:
    """Let the operator pass, and this machine; but no page of somebody else's that changes something.

    Raises:
        Forbidden: no password is set, or the request comes from a foreign page.
        Unauthorized: not signed in, or with another password.
        TooManyRequests: too many wrong passwords have come from this address.
    """
    if not (is_local() or is_operator()):
        if settings().dashboard_password is None:
            raise Forbidden("DASHBOARD_PASSWORD is not set: only requests from this machine are served.")
        raise Unauthorized("Sign in as the operator.", www_authenticate=_challenge())
    check_same_origin()


def _challenge() -> WWWAuthenticate:
    """For a script of a page of ours a scheme that browsers do not know: they would ask for a password."""
    is_script = request.headers.get("Sec-Fetch-Dest") == "empty"
    return WWWAuthenticate("session" if is_script else "basic", {"realm": "Answerline operator"})


def is_operator() -> bool:
    """Whether the request carries the operator's session or password."""
    return operators_session() is not None or has_operators_password()


def has_operators_password() -> bool:
    """Whether the request carries HTTP Basic ``operator:DASHBOARD_PASSWORD``.

    Raises:
        TooManyRequests: too many wrong ones have come from this address.
    """
    given = request.authorization
    if settings().dashboard_password is None or given is None or given.type != "basic":
        return False
    return is_password(given.password or "" if given.username == "operator" else "")


def is_password(given: str) -> bool:
    """Whether this is DASHBOARD_PASSWORD; false when there is none. A wrong one counts against its address.

    Raises:
        TooManyRequests: too many wrong ones have come from there; says when to try again.
    """
    known, attempts = settings().dashboard_password, cast(Attempts, current_app.extensions["attempts"])
    address = request.remote_addr or ""
    if known is None:
        return False
    is_right = hmac.compare_digest(_keyed("password", given), _keyed("password", known.get_secret_value()))
    if wait_s := attempts.wait_s(address) if is_right else attempts.failed(address):
        raise TooManyRequests(f"Too many wrong passwords. Try again in {wait_s} s.", retry_after=wait_s)
    if is_right:
        attempts.forgive(address)
    return is_right


def _keyed(what_for: str, text: str) -> str:
    """A hash that nobody makes without our key: it tells neither the text nor its length."""
    key = str(current_app.secret_key).encode()
    return hmac.digest(key, f"{what_for}:{text}".encode("utf-8", "replace"), "sha256").hex()


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
    session[SESSION] = {"id": secrets.token_urlsafe(16), "until": until, "of": _password_mark()}


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
    until, mark = given.get("until"), given.get("of")
    if not isinstance(mark, str) or not hmac.compare_digest(mark.encode(), _password_mark().encode()):
        return None
    return OperatorsSession(given["id"], float(until)) if isinstance(until, int | float) else None


def _password_mark() -> str:
    """Sessions are of one password: another one ends them."""
    password = settings().dashboard_password
    return _keyed("session", password.get_secret_value() if password else "")[:24]


# ------------------------------------------------------------------------ pages


def is_foreign_page() -> bool:
    """Whether a browser asks on behalf of a page that is not ours; what is no browser names no page."""
    page = request.headers.get("Origin")
    if page is None:
        return False
    return _netloc(page) not in {request.host.lower(), urlsplit(settings().flask_base_url).netloc.lower()}


def check_same_origin() -> None:
    """Browsers send an operator's cookie and password along with whatever any page asks of us.

    Raises:
        Forbidden: something is to be changed, and it is not a page of ours that wants it; or a cookie is
            all that is shown, and neither the browser nor a form's token says whose page it is.
    """
    if request.method in SAFE:
        return
    site = request.headers.get("Sec-Fetch-Site")
    if is_foreign_page() or site not in (None, *OUR_SITES):
        raise Forbidden("Pages of other origins may not do this.")
    is_named = site is not None or "Origin" in request.headers or "Authorization" in request.headers
    if not is_named and not is_local() and not has_form_token():
        raise Forbidden(
            "The request names no page that it comes from: send Origin, or the form's csrf_token."
        )


def form_token() -> str:
    """What our forms carry; nobody else can make it for this session."""
    given = _given_session()
    return _keyed("form", given.id if given is not None else "")


def has_form_token() -> bool:
    """Whether a form of ours was sent, made for the session that sends it."""
    return hmac.compare_digest(request.form.get("csrf_token", "").encode(), form_token().encode())

"""Opens a WebSocket as the carrier would, and says what stopped the upgrade if it does not get through."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from flaskapp.phone.checks.finding import Case, Finding, failure, ok, unknown, warning
from flaskapp.phone.checks.visit import trust

PATH = "/phone/stream-audio/doctor"
#: Without anything to sign with: whoever opens this is asked for his right afterwards.
OPEN_TO_ALL = "/client"
WITHIN_S = 8.0
OUR_ERRORS = "application/problem+json"
PAGE = "docs/troubleshooting.md#twilio-reports-31920-or-31921"
UPGRADE = (
    "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;"
    " proxy_set_header Connection $connection_upgrade;"
)
TAKEN_AWAY = "The proxy took the upgrade away: the WebSocket arrived as a plain request ({status})"
#: (status, whether it is our own answer) -> what that means, and what mends it.
MEANINGS: Mapping[tuple[int, bool], tuple[str, str]] = {
    **dict.fromkeys(((400, True), (404, True), (405, True), (426, True)), (TAKEN_AWAY, UPGRADE)),
    (400, False): ("Something in front refuses WebSockets ({status})", UPGRADE),
    (404, False): (
        "Something in front knows no such path ({status}): it passes on others only",
        "location / {{ proxy_pass ... }}",
    ),
    (426, False): ("Something in front wants another protocol than WebSocket ({status})", UPGRADE),
    (501, True): (
        "The server cannot serve WebSockets ({status})",
        ".venv/bin/gunicorn -c gunicorn.conf.py wsgi:app",
    ),
    **dict.fromkeys(
        ((502, False), (504, False)),
        (
            "The proxy gets no answer for WebSockets ({status}), but one for webhooks: another upstream?",
            "nginx -T",
        ),
    ),
}
#: Of our own: the upgrade got through, and who asks is refused for another reason.
ARRIVED = 503


def why_unsigned(case: Case) -> Finding | None:
    """Why nothing is signed for whoever is at that address; None: it is our server, under its own name."""
    if case.visit.reply is None:
        return unknown("nobody answers")
    if not case.visit.report:
        return unknown("the server has not said who it is")
    return None if case.is_sure else failure(*refused(case, ""))


def signed(token: str, url: str, form: Mapping[str, str]) -> dict[str, str]:
    """The header with which the carrier would sign this."""
    from twilio.request_validator import RequestValidator

    return {"X-Twilio-Signature": RequestValidator(token).compute_signature(url, dict(form))}


def refused(case: Case, said: str) -> tuple[str, str]:
    """Why a signature was refused that we made ourselves."""
    report, asked_for = case.visit.report, case.url
    checked_for = str(report.get("origin", ""))
    if "is missing" in said:
        return "The proxy took the header X-Twilio-Signature away", "nginx -T"
    if "is not set" in said:
        return "The running server has no TWILIO_AUTH_TOKEN", "Start it again"
    if checked_for and checked_for != asked_for:
        command = f"FLASK_BASE_URL={case.url}"
        if not case.settings.flask_base_url and report.get("forwarded") and not case.settings.trusted_proxies:
            command = f"{command}, or TRUSTED_PROXIES=1"
        return (
            f"The server checks signatures for {checked_for}, and carriers sign for {asked_for}",
            command,
        )
    if report:
        return "The running server checks with another TWILIO_AUTH_TOKEN than the one here", "Start it again"
    return f"The signature is refused: {said[:200]}", f"FLASK_BASE_URL={case.url}"


def tried(case: Case) -> Finding:
    """Opened, asked for a sign of life, and closed again: no call comes of it."""
    from websockets.exceptions import InvalidHandshake, InvalidStatus, WebSocketException
    from websockets.sync.client import connect

    origin, token = case.url.replace("http", "ws", 1), case.settings.twilio_auth_token
    url = origin + (PATH if token is not None else OPEN_TO_ALL)
    headers = signed(token.get_secret_value(), url, {}) if token is not None else {}
    tls = trust() if url.startswith("wss:") else None
    try:
        with connect(
            url,
            additional_headers=headers,
            ssl=tls,
            open_timeout=WITHIN_S,
            close_timeout=1,
            proxy=None,
            compression=None,
        ) as stream:
            answered = stream.ping().wait(WITHIN_S)
    except InvalidStatus as error:
        return _status(case, error)
    except (InvalidHandshake, WebSocketException, EOFError) as error:
        return failure(
            f"Something in front breaks the handshake off ({type(error).__name__})",
            UPGRADE,
            PAGE,
        )
    except TimeoutError:
        return failure(f"No answer to the handshake within {WITHIN_S:.0f} s", "nginx -T", PAGE)
    except OSError as error:
        return failure(f"No connection for a WebSocket: {error}", f"curl -si {case.url}/health", PAGE)
    if not answered:
        cause = (
            "The handshake is answered, but messages do not get through: something in front holds them back"
        )
        return failure(cause, "proxy_buffering off; proxy_read_timeout 1h;", PAGE)
    return ok(f"opens and answers at {urlsplit(url).path}")


def _status(case: Case, error: object) -> Finding:
    """Another answer than 101."""
    response = error.response  # type: ignore[attr-defined]
    status = int(response.status_code)
    is_ours = response.headers.get("Content-Type", "").startswith(OUR_ERRORS)
    said = bytes(response.body or b"").decode("utf-8", "replace")
    if is_ours and status == ARRIVED:
        return warning(f"The upgrade gets through, but no stream is taken: {_detail(said)}", "", PAGE)
    if is_ours and status == 403:
        return failure(*refused(case, said), PAGE)
    if status in (301, 302, 307, 308):
        return failure(
            f"The WebSocket is sent elsewhere ({status}): carriers do not follow",
            "nginx -T",
            PAGE,
        )
    cause, command = MEANINGS.get((status, is_ours), ("The WebSocket is answered with {status}", UPGRADE))
    return failure(cause.format(status=status), command, PAGE)


def _detail(said: str) -> str:
    import json

    try:
        return str(json.loads(said)["detail"])
    except (ValueError, KeyError, TypeError):
        return said[:200]

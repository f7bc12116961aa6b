"""Checks of the way from the world to this server: address, TLS, proxy, signatures, WebSockets."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

from flaskapp import addresses, parts
from flaskapp.phone.checks import upgrade
from flaskapp.phone.checks.finding import Case, Finding, failure, ok, unknown, warning
from flaskapp.phone.checks.visit import Reply, ask
from flaskapp.phone.self_report import NOT_OURS, fingerprints

SOON_DAYS = 14
SERVE = ".venv/bin/gunicorn -c gunicorn.conf.py wsgi:app"
PROXY_PAGE = "docs/deploying.md#nginx-in-front"
#: A hook that changes nothing: where its signature is believed, so is every other one.
HOOK = "/phone/stream-status/doctor"
#: What `make run` chooses for its own server, and what everybody may have as he likes.
OF_THE_PLACE = frozenset(
    (
        *("local", "host", "port", "web_concurrency", "twilio_api_base_url", "localai_url"),
        *("record_calls", "log_level", "log_format"),
    )
)
Told = tuple[str, str]


# ------------------------------------------------------------------------ the address


def address(case: Case) -> Finding:
    """Carriers find this server there, over TLS that they believe, without being sent elsewhere."""
    if case.is_public and not case.url.startswith("https:"):
        return failure(
            f"{case.url} is not https: carriers' streams need TLS, and passwords and words would be readable",
            f"FLASK_BASE_URL=https://{urlsplit(case.url).netloc}",
            PROXY_PAGE,
        )
    visit = case.visit
    if visit.error is not None:
        cause, command = _unreached(visit.error, case.url)
        is_here = addresses.is_loopback(case.url) and isinstance(visit.error, ConnectionRefusedError)
        return (warning if is_here else failure)(cause, SERVE if is_here else command)
    if visit.reply is None:
        return warning("Not asked")
    if visit.reply.status in (301, 302, 303, 307, 308):
        to = _origin_of(visit.reply.headers.get("location", ""))
        return failure(
            f"{case.url} sends callers on to {to or 'another address'}: what carriers post is lost",
            f"FLASK_BASE_URL={to}" if to else f"curl -si {case.url}/health",
        )
    return _judged_address(case, visit.reply)


def _judged_address(case: Case, reply: Reply) -> Finding:
    host = urlsplit(case.url).hostname or ""
    if addresses.is_loopback(case.url):
        return warning(
            f"{case.url} is this machine's own: no carrier can call it"
            + ("" if case.settings.flask_base_url else " (FLASK_BASE_URL is not set)"),
            "FLASK_BASE_URL=https://voice.example.com",
        )
    if _is_private(host):
        return failure(
            f"{host} is an address of a private network: no carrier can call it",
            f"getent hosts {host}",
        )
    if reply.days is not None and reply.days < SOON_DAYS:
        return warning(
            f"The certificate of {host} ends in {max(reply.days, 0):.0f} days",
            "certbot renew",
            PROXY_PAGE,
        )
    return ok(f"{case.url} answers" + (f"; certificate for {reply.days:.0f} days" if reply.days else ""))


def _unreached(error: Exception, url: str) -> Told:
    """Why nobody answered, and what to try."""
    for kind, told in _UNREACHED:
        if isinstance(error, kind):
            return told(error, url)
    return f"{url} does not answer: {type(error).__name__}: {error}", f"curl -si {url}/health"


def _no_name(_: Exception, url: str) -> Told:
    host = urlsplit(url).hostname or ""
    return f"{host} has no address in the DNS, or not yet", f"getent hosts {host}"


def _untrusted(error: Exception, url: str) -> Told:
    place = f"{urlsplit(url).hostname}:{urlsplit(url).port or 443}"
    why = getattr(error, "verify_message", "") or "it is not valid"
    return (
        f"Carriers do not believe the certificate of {place}: {why}",
        f"openssl s_client -connect {place} -servername {urlsplit(url).hostname}",
    )


def _no_tls(error: Exception, url: str) -> Told:
    why = getattr(error, "reason", "") or type(error).__name__
    return (
        f"{url} speaks no TLS that we understand ({why}): is plain http served there?",
        f"curl -vI {url}/health",
    )


_UNREACHED: tuple[tuple[type[Exception], Callable[[Exception, str], Told]], ...] = (
    (socket.gaierror, _no_name),
    (ssl.SSLCertVerificationError, _untrusted),
    (ssl.SSLError, _no_tls),
    (ConnectionRefusedError, lambda _, url: (f"Nobody listens at {url}: connection refused", SERVE)),
    (
        TimeoutError,
        lambda _, url: (
            f"{url} does not answer in time: a firewall, or a server that hangs",
            f"curl -sim 10 {url}/health",
        ),
    ),
    (
        http.client.HTTPException,
        lambda error, url: (
            f"{url} answers with something that is no HTTP ({type(error).__name__})",
            f"curl -vI {url}",
        ),
    ),
)


def _origin_of(location: str) -> str:
    parted = urlsplit(location)
    return (
        f"{parted.scheme}://{parted.netloc}" if parted.scheme in ("http", "https") and parted.netloc else ""
    )


def _is_private(host: str) -> bool:
    """Whether a name leads to addresses that only a network of its own knows."""
    try:
        found = {each[4][0] for each in socket.getaddrinfo(host, None)}
        return all(ipaddress.ip_address(str(each).partition("%")[0]).is_private for each in found)
    except (OSError, ValueError):
        return False


# ------------------------------------------------------------------------ the server


def server(case: Case) -> Finding:
    """It is this installation's server that answers, with the settings that are here, and it takes calls."""
    visit = case.visit
    if visit.reply is None:
        return unknown("nobody answers")
    if not visit.report:
        return _stranger(case, visit.reply)
    if visit.report["is_draining"]:
        return warning("The server is about to end, and hands its calls over", "curl -s URL/ready")
    theirs, ours = visit.report["settings"], fingerprints(case.settings, parts.secret(case.settings))
    others = sorted(
        name.upper()
        for name, mark in ours.items()
        if theirs.get(name) != mark and not (visit.report["is_local"] and name in OF_THE_PLACE)
    )
    if others:
        return warning(
            f"The running server was started with other settings than these: {', '.join(others)}",
            "Start it again, from this folder and with the same environment",
        )
    return ok(f"answers at {case.url}, with the settings that are here")


def _stranger(case: Case, reply: Reply) -> Finding:
    said, served = reply.body.decode("utf-8", "replace"), reply.headers.get("server", "")
    if reply.status == 403 and NOT_OURS in said:
        return failure(
            f"An Answerline with other secrets than ours answers at {case.url}: another one, or one that was"
            " not started again since they were changed",
            "Start it again with the same SECRET_KEY (or the same other secrets, of which it is made)",
        )
    if reply.status in (502, 503, 504):
        return failure(
            f"Something in front of the server answers {reply.status}: it does not reach it",
            SERVE,
            "docs/troubleshooting.md#502-or-504-from-nginx",
        )
    who = f" ({served})" if served else ""
    return failure(f"It is not this server that answers at {case.url}: {reply.status}{who}", SERVE)


def worker(case: Case) -> Finding:
    """It is served so that WebSockets work and nobody waits for another's call."""
    report, several = case.visit.report, "--workers 1, or REDIS_URL=redis://127.0.0.1:6379/0"
    if not report:
        return unknown("the server has not said who it is")
    who = str(report["server"]) or "this server"
    if not report["has_sockets"]:
        return failure(f"{who} cannot serve WebSockets", SERVE, "docs/troubleshooting.md#websockets-get-501")
    if not report["is_cooperative"]:
        return failure(
            f"{who} runs workers of another class than gunicorn.conf.py says: a call would hold up others",
            SERVE,
        )
    if report["has_siblings"] and not case.settings.redis_url:
        return failure(
            "Several workers run, and no Redis tells one what another knows: calls get lost",
            several,
        )
    return ok(f"{who}, cooperative{', several workers' if report['has_siblings'] else ''}")


def proxy(case: Case) -> Finding:
    """As many proxies are believed as there are, and they say for whom they ask."""
    report, trusted = case.visit.report, case.settings.trusted_proxies
    if not report:
        return unknown("the server has not said who it is")
    named = int(report["forwarded_for"])
    if addresses.is_loopback(case.url) and not report["forwarded"] and not case.settings.flask_base_url:
        return ok("none between here and the server")
    if named < trusted:
        return failure(
            f"TRUSTED_PROXIES={trusted}, but X-Forwarded-For names {named or 'nobody'}: "
            + ("strangers could pretend to be anybody" if not named else "callers' addresses are not known"),
            f"TRUSTED_PROXIES={named}",
            PROXY_PAGE,
        )
    if named > trusted or (report["forwarded"] and not trusted):
        return (warning if case.settings.flask_base_url else failure)(
            f"A proxy is in front, and TRUSTED_PROXIES={trusted}: whoever calls seems to be that proxy"
            + (
                "" if case.settings.flask_base_url else ", and signatures are checked against its own address"
            ),
            f"TRUSTED_PROXIES={max(named, 1)}",
            PROXY_PAGE,
        )
    return ok(f"{trusted or 'none'} in front, as TRUSTED_PROXIES says")


# ------------------------------------------------------------------------ who is let in


def signature(case: Case) -> Finding:
    """What the carrier signs is believed."""
    token = case.settings.twilio_auth_token
    if token is None:
        return ok("nothing to check: TWILIO_AUTH_TOKEN is not set")
    if why := upgrade.why_unsigned(case):
        return why
    form = {"CallSid": "doctor"}
    signed = upgrade.signed(token.get_secret_value(), case.url + HOOK, form)
    try:
        reply = ask(case.url + HOOK, form=form, headers=signed)
    except (OSError, http.client.HTTPException) as error:
        return failure(*_unreached(error, case.url))
    if reply.status == 204:
        return ok(f"believed, for {case.url}")
    if reply.status == 403:
        return failure(*upgrade.refused(case, reply.body.decode("utf-8", "replace")))
    return failure(f"A signed webhook is answered with {reply.status}", f"curl -si {case.url}/ready")


def websocket(case: Case) -> Finding:
    """A stream can be opened through everything that is in front, and carries messages both ways."""
    if case.settings.twilio_auth_token is not None and (why := upgrade.why_unsigned(case)):
        return why
    return upgrade.tried(case) if case.visit.reply is not None else unknown("nobody answers")

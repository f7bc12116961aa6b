"""Checks of the carriers: that Twilio's number leads here, and that Exotel's requests are let in."""

from __future__ import annotations

import base64
import http.client

from flaskapp import addresses
from flaskapp.phone.checks.finding import Case, Finding, failure, ok, unknown, warning
from flaskapp.phone.checks.visit import ask
from flaskapp.phone.webhook_setup import Number, Numbers, SetupError

POINT_HERE = ".venv/bin/flask phone configure-webhook"
MENDS = {401: "TWILIO_AUTH_TOKEN=... in .env", 404: "TWILIO_ACCOUNT_SID=AC... in .env"}
EXOTEL_PAGE = "docs/exotel.md"


def twilio(case: Case) -> Finding:
    """The account is known to Twilio, and its number's calls come here."""
    known, meant = case.settings, case.settings.twilio_phone_number
    if not known.twilio_account_sid:
        return ok("not used: TWILIO_ACCOUNT_SID is not set")
    try:
        asked = Numbers(known).all(meant)
    except SetupError as error:
        return failure(f"{error}", MENDS.get(error.status, f"curl -sI {known.twilio_api_base_url}"))
    if meant and not asked:
        return failure("TWILIO_PHONE_NUMBER is not a number of this account", POINT_HERE)
    if not asked:
        return warning("The account has no number yet", "Buy one in Twilio's console, under Phone Numbers")
    here = [each for each in asked if each.leads_to(case.url)]
    if not case.is_public:
        return warning("Its numbers cannot lead here: FLASK_BASE_URL is not a public address", POINT_HERE)
    if not here:
        return failure(f"{_whose(asked)} here: {_why_not(asked[0], case.url)}", POINT_HERE)
    if not here[0].fields["voice_fallback_url"]:
        return warning("The number has no fallback URL: callers who meet an error are cut off", POINT_HERE)
    return ok(f"calls to {len(here)} of {len(asked)} numbers come here")


def _whose(asked: list[Number]) -> str:
    return "Calls to the number do not come" if len(asked) == 1 else f"None of {len(asked)} numbers leads"


def _why_not(number: Number, origin: str) -> str:
    if number.trunk_sid:
        return "a SIP trunk takes them"
    if number.fields["voice_application_sid"]:
        return "a TwiML application takes them"
    url = number.fields["voice_url"]
    if url.startswith(origin):
        return f"they go to {url.removeprefix(origin)}, which answers no calls"
    return f"they go to {url.partition('?')[0]}" if url else "they go nowhere"


def exotel(case: Case) -> Finding:
    """Exotel's applets can be told from strangers, and are let in."""
    known = case.settings
    is_meant = bool(known.exotel_account_sid or known.exotel_api_key or known.exotel_allowed_ips)
    if not is_meant:
        return ok("not used: neither EXOTEL_API_KEY nor EXOTEL_ALLOWED_IPS is set")
    if not (known.exotel_api_key or known.exotel_allowed_ips):
        return failure(
            "Nobody is let in: Exotel signs nothing, and neither a key nor its addresses are configured",
            "EXOTEL_API_KEY=... and EXOTEL_API_TOKEN=..., or EXOTEL_ALLOWED_IPS=...",
            EXOTEL_PAGE,
        )
    if not known.exotel_api_key:
        return ok("let in by its addresses, which cannot be tried from here")
    return _asked(case)


def _asked(case: Case) -> Finding:
    """As its applet asks where to stream to."""
    known = case.settings
    if case.visit.reply is None:
        return unknown("nobody answers")
    if not case.visit.report:
        return unknown("the server has not said who it is")
    if case.url != known.flask_base_url and not addresses.is_loopback(case.url):
        return unknown(f"the key is shown to FLASK_BASE_URL only, and not to {case.url}")
    token = known.exotel_api_token.get_secret_value() if known.exotel_api_token else ""
    right = base64.b64encode(f"{known.exotel_api_key}:{token}".encode()).decode()
    try:
        reply = ask(f"{case.url}/exotel/stream-url", headers={"Authorization": f"Basic {right}"})
    except (OSError, http.client.HTTPException) as error:
        return failure(f"{case.url}/exotel/stream-url does not answer: {error}", f"curl -si {case.url}/ready")
    if reply.status == 200:
        return ok("let in by key and token")
    if reply.status in (401, 403):
        return failure(
            f"The running server does not take the key and the token that are here ({reply.status})",
            "Start it again; behind a proxy, Authorization must get through",
            "docs/troubleshooting.md#exotel-gets-401-or-403-or-reports-3009",
        )
    return warning(f"Its applets are answered with {reply.status}", f"curl -si {case.url}/ready", EXOTEL_PAGE)

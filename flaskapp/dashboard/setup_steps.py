"""What is still to be set up, step by step, until all is green."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flaskapp.config import Settings

ENGINE = "Set OPENAI_API_KEY, or AZURE_OPENAI_ENDPOINT with AZURE_OPENAI_REALTIME_DEPLOYMENT."
CARRIER = "Set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN, or EXOTEL_API_KEY and EXOTEL_API_TOKEN."
ADDRESS = "Set FLASK_BASE_URL to the https:// address that the carrier calls."
PASSWORD = "Set DASHBOARD_PASSWORD: until then only this machine sees these pages."  # noqa: S105 - a sentence


@dataclass(frozen=True)
class Step:
    """One thing that a complete installation has.

    Attributes:
        told: what is there, or what to do.
        command: what tells more, or mends it.
    """

    name: str
    is_done: bool
    told: str
    command: str = ""


def steps(settings: Settings, findings: Iterable[Step] = ()) -> list[Step]:
    """From the settings alone; and what else was found not to be well."""
    own = [_engine(settings), _carrier(settings), _address(settings), _password(settings)]
    return [*own, *findings]


def _engine(settings: Settings) -> Step:
    engine = settings.engine
    if engine is None:
        return Step("An AI engine answers", False, ENGINE)
    if engine.kind == "local":
        told = f"The local stand-in answers. {ENGINE}"
        return Step("An AI engine answers", False, told)
    return Step("An AI engine answers", True, f"{engine.model}")


def _carrier(settings: Settings) -> Step:
    has_twilio = settings.twilio_auth_token is not None
    has_exotel = bool(settings.exotel_api_key or settings.exotel_allowed_ips)
    names = " and ".join(name for name, has in (("Twilio", has_twilio), ("Exotel", has_exotel)) if has)
    return Step("A carrier brings calls", bool(names), names or CARRIER)


def _address(settings: Settings) -> Step:
    is_public = settings.is_public_origin and settings.flask_base_url.startswith("https://")
    command = "" if is_public else "flask phone configure-webhook"
    return Step(
        "The carrier finds this server", is_public, settings.flask_base_url if is_public else ADDRESS, command
    )


def _password(settings: Settings) -> Step:
    has = settings.dashboard_password is not None
    return Step("The dashboard has a password", has, "It is asked for." if has else PASSWORD)

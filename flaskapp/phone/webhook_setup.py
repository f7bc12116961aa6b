"""Where a Twilio number's calls go: what is configured there, what should be, and the way back.

Source: Twilio docs, "IncomingPhoneNumber resource": a number with a TwiML
application or a trunk ignores its own URLs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flaskapp import addresses
from flaskapp.config import INSTANCE, Settings
from flaskapp.phone.errors import ConfigurationError, PhoneError
from flaskapp.phone.twilio_rest import twilio_client

ANSWERS_WITHIN_S = 10.0
FILE = "webhooks.json"
MOST_NUMBERS = 200
#: What a number is set to, by Twilio's names as its package spells them.
FIELDS = (
    *("voice_url", "voice_method", "voice_fallback_url", "voice_fallback_method"),
    *("status_callback", "status_callback_method", "voice_application_sid"),
)
STREAMING, RECORDING = "/phone/incoming-call-streaming", "/phone/incoming-call"
FALLBACK, STATUS = "/phone/fallback", "/phone/call-status"


class SetupError(PhoneError):
    """A number that cannot be pointed anywhere; the text says why, and what to do.

    Attributes:
        status: HTTP status of Twilio's answer; 0: there was none.
    """

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class Number:
    """A number of the account's, and where its calls go (``FIELDS``).

    Attributes:
        trunk_sid: of a SIP trunk, which takes all its calls while there is one.
    """

    sid: str
    phone_number: str
    fields: Mapping[str, str]
    trunk_sid: str = ""

    def changes(self, wanted: Mapping[str, str]) -> dict[str, tuple[str, str]]:
        """What would be another: field -> (now, then)."""
        now = self.fields
        return {name: (now[name], then) for name, then in wanted.items() if now[name] != then}

    def leads_to(self, origin: str) -> bool:
        """Whether its calls come in at one of our webhooks there."""
        takes = self.fields["voice_url"] in (origin + STREAMING, origin + RECORDING)
        return takes and not (self.trunk_sid or self.fields["voice_application_sid"])


def wanted(origin: str, fallback_url: str = "") -> dict[str, str]:
    """How a number is set whose calls shall come to the server at ``origin``."""
    return {
        "voice_url": origin + STREAMING,
        "voice_method": "POST",
        "voice_fallback_url": fallback_url or origin + FALLBACK,
        "voice_fallback_method": "POST",
        "status_callback": origin + STATUS,
        "status_callback_method": "POST",
        "voice_application_sid": "",
    }


def public_origin(settings: Settings) -> str:
    """FLASK_BASE_URL, if carriers can call it.

    Raises:
        ConfigurationError: it is not set, or not one.
    """
    origin = settings.flask_base_url
    if not origin:
        raise ConfigurationError(
            "FLASK_BASE_URL is not set: set it to the public https address of this server,"
            " as in https://voice.example.com"
        )
    if not origin.startswith("https://"):
        raise ConfigurationError(
            f"FLASK_BASE_URL={origin} is not https: Twilio opens streams over TLS only; set it to the public"
            " https address of this server"
        )
    is_simulated = addresses.is_loopback(settings.twilio_api_base_url)
    if not (settings.is_public_origin or is_simulated):
        raise ConfigurationError(
            f"FLASK_BASE_URL={origin} is this machine's own address: Twilio cannot call it;"
            " set it to the public https address of this server"
        )
    return origin


class Numbers:
    """The account's numbers, over REST.

    Args:
        client: ``twilio.rest.Client``, or what acts like it; else made from the settings.
    """

    def __init__(self, settings: Settings, client: Any = None) -> None:
        if not settings.twilio_account_sid:
            raise SetupError(
                "TWILIO_ACCOUNT_SID is not set: set it and TWILIO_AUTH_TOKEN, from Twilio's console"
            )
        self._settings = settings
        self._client = client or twilio_client(settings, ANSWERS_WITHIN_S)

    def find(self, phone_number: str = "") -> Number:
        """The number that is meant: this one, or the only one.

        Raises:
            SetupError: it is not the account's, or there are several to choose from.
        """
        if phone_number and (found := self.all(phone_number)):
            return found[0]
        known = self.all()
        if not known:
            raise SetupError("This account has no number: buy one in Twilio's console, under Phone Numbers")
        if len(known) == 1 and not phone_number:
            return known[0]
        what = f"{phone_number} is not a number of this account" if phone_number else "Which number?"
        listed = "\n".join(f"  {each.phone_number}" for each in known)
        raise SetupError(f"{what}; it has:\n{listed}\nChoose one with --number, or set TWILIO_PHONE_NUMBER")

    def all(self, phone_number: str = "") -> list[Number]:
        """The account's numbers, or this one if it is one of them.

        Raises:
            SetupError: Twilio does not answer, or not to us.
        """
        which = {"phone_number": phone_number} if phone_number else {}
        found = [_number(each) for each in self._asked(lambda api: api.list(limit=MOST_NUMBERS, **which))]
        return [each for each in found if phone_number in ("", each.phone_number)]

    def update(self, number: Number, fields: Mapping[str, str]) -> Number:
        """Set a number's fields; how it is then.

        Raises:
            SetupError: as ``all``, or Twilio does not take one of them.
        """
        return _number(self._asked(lambda api: api(number.sid).update(**fields)))

    def _asked(self, ask: Any) -> Any:
        from requests import RequestException
        from twilio.base.exceptions import TwilioException, TwilioRestException

        try:
            return ask(self._client.incoming_phone_numbers)
        except TwilioRestException as error:
            raise SetupError(_said(error.status, error.code, error.msg), error.status) from error
        except (TwilioException, RequestException, ValueError) as error:
            # Of lists the package raises no TwilioRestException, but hands on the answer itself.
            status = int(getattr(error.args[-1] if error.args else None, "status_code", 0))
            where, kind = self._settings.twilio_api_base_url, type(error).__name__
            nothing = f"{where} does not answer ({kind}): check the network"
            raise SetupError(_said(status, None, kind) if status else nothing, status) from error


def _said(status: int, code: int | None, message: str) -> str:
    if status == 401:
        return (
            "Twilio does not take TWILIO_AUTH_TOKEN for TWILIO_ACCOUNT_SID (401): copy both from the first"
            " page of its console; a rotated token is another one"
        )
    if status == 404:
        return "Twilio knows no such account or number (404): does TWILIO_ACCOUNT_SID own the number?"
    return f"Twilio refuses ({status}, error {code}): {message}"


def _number(found: Any) -> Number:
    fields = {name: str(getattr(found, name) or "") for name in FIELDS}
    return Number(found.sid, found.phone_number, fields, str(getattr(found, "trunk_sid", "") or ""))


class Memory:
    """How numbers were set before, in a file of this installation; the latest change is undone first."""

    def __init__(self, instance: Path = INSTANCE) -> None:
        self._path = instance / FILE

    def remember(self, number: Number, after: Mapping[str, str]) -> None:
        """Note how a number is before it is changed."""
        noted = [*self._noted(), {"sid": number.sid, "before": dict(number.fields), "after": dict(after)}]
        self._write(noted)

    def before(self, number: Number) -> dict[str, str] | None:
        """How it was before the latest change; None if nothing is known."""
        latest = self._latest(number)
        return dict(latest["before"]) if latest else None

    def strange(self, number: Number) -> dict[str, str]:
        """What somebody else has set since: fields neither as the latest change left nor as it found them."""
        latest = self._latest(number) or {"before": {}, "after": {}}
        before, after, now = latest["before"], latest["after"], number.fields
        return {name: now[name] for name in after if now[name] not in (after[name], before.get(name))}

    def forget(self, number: Number) -> None:
        """The latest change is undone."""
        noted = self._noted()
        for at in reversed(range(len(noted))):
            if noted[at]["sid"] == number.sid:
                del noted[at]
                break
        self._write(noted)

    def _latest(self, number: Number) -> dict[str, Any] | None:
        return next((each for each in reversed(self._noted()) if each["sid"] == number.sid), None)

    def _noted(self) -> list[dict[str, Any]]:
        try:
            return list(json.loads(self._path.read_text()))
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise SetupError(
                f"{self._path} cannot be read ({type(error).__name__}): mend or remove it"
            ) from error

    def _write(self, noted: list[dict[str, Any]]) -> None:
        """In one piece, or not at all; addresses may hold passwords, so only we may read it."""
        draft = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump(noted, file, indent=1)
            draft.replace(self._path)
        except OSError as error:
            raise SetupError(
                f"{self._path} cannot be written ({error.strerror}): nothing was changed"
            ) from error


def console_steps(number: Number, fields: Mapping[str, str]) -> Iterator[str]:
    """The same by hand."""
    yield f"Twilio console > Phone Numbers > Manage > Active numbers > {number.phone_number} > Voice:"
    for label, url, method in _CONSOLE:
        yield f"  {label:<22} Webhook, {fields[url] or '(empty)'}, HTTP {fields[method] or 'POST'}"


_CONSOLE = (
    ("A call comes in", "voice_url", "voice_method"),
    ("Primary handler fails", "voice_fallback_url", "voice_fallback_method"),
    ("Call status changes", "status_callback", "status_callback_method"),
)

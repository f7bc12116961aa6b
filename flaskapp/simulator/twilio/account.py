"""A Twilio account on the simulated network: its secret, its numbers and its sids."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field


def new_sid(prefix: str) -> str:
    """``CA``, ``MZ``, ``RE``, ``PN`` ... and 32 hexadecimal digits."""
    return prefix + secrets.token_hex(16)


@dataclass
class PhoneNumber:
    """A number and where its calls go; REST may change it."""

    phone_number: str
    voice_url: str = ""
    voice_method: str = "POST"
    voice_fallback_url: str = ""
    voice_fallback_method: str = "POST"
    status_callback: str = ""
    status_callback_method: str = "POST"
    voice_application_sid: str = ""
    trunk_sid: str = ""
    friendly_name: str = ""
    sid: str = field(default_factory=lambda: new_sid("PN"))


@dataclass
class Account:
    """``auth_token`` signs webhooks and opens the REST API; an empty one lets any password in."""

    sid: str = field(default_factory=lambda: new_sid("AC"))
    auth_token: str = field(default_factory=lambda: secrets.token_hex(16))
    numbers: list[PhoneNumber] = field(default_factory=list)

    def number(self, phone_number: str) -> PhoneNumber | None:
        """The number as configured, None if it is not this account's."""
        return next((n for n in self.numbers if n.phone_number == phone_number), None)

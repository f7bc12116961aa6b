"""What a tool may ask of the call itself, beside the answer that it gives the engine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EndCall:
    """Hang up once the goodbye was heard."""

    reason: str = "goodbye"


@dataclass(frozen=True, slots=True)
class TransferTo:
    """Join the caller to a person.

    Attributes:
        destination: its name in the agent's configuration.
        number: what is dialled; from the configuration, never from what was said.
    """

    destination: str
    number: str


@dataclass(frozen=True, slots=True)
class Message:
    """What the caller leaves for somebody.

    Attributes:
        name, callback: as the caller gave them; empty where he did not.
    """

    text: str
    name: str = ""
    callback: str = ""


Directive = EndCall | TransferTo | Message

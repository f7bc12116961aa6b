"""The persona that answers: who it is, how it greets, which voice it has, whom it may call in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Any

from flaskapp.phone.errors import ConfigurationError

INSTRUCTIONS = (
    "You are the assistant who answers this telephone. Be friendly, brief and clear: one or two short "
    "sentences at a time, no lists, no markup, numbers and dates in words. If you did not understand, "
    "ask. Never claim to have done what you cannot do."
)
GREETING = "Hello, thank you for calling. How can I help you?"
PERSON = "person"  # the one whom a single transfer number reaches
MOST_NAME = 64
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_SEPARATORS = re.compile(r"[\s().\-/]")


@dataclass(frozen=True)
class CallLimits:
    """What a call with this agent may take; None: what the settings say.

    Attributes:
        max_call_seconds: how long it may last.
        max_call_cost_usd: what it may cost; 0: no limit.
    """

    max_call_seconds: int | None = None
    max_call_cost_usd: float | None = None


@dataclass(frozen=True)
class Agent:
    """Who answers a call.

    Attributes:
        name: shown in history.
        instructions: what the engine is told about itself.
        greeting: spoken first, word for word; empty waits for the caller.
        language: BCP-47, as ``en`` or ``de-DE``; empty lets the engine find out.
        voice: an engine's voice; empty takes the one from the settings.
        hours: when somebody is there, in words; the engine is told.
        transfer_numbers: whom callers may be handed over to, and their numbers as ``+15551234567``.
        limits: what a call may take.
        tools: which of the house's tools this agent may use; None: all.
    """

    name: str = "Answerline"
    instructions: str = INSTRUCTIONS
    greeting: str = GREETING
    language: str = ""
    voice: str = ""
    hours: str = ""
    transfer_numbers: Mapping[str, str] = field(default_factory=dict, hash=False)
    limits: CallLimits = CallLimits()
    tools: tuple[str, ...] | None = None

    def told(self) -> str:
        """All that the engine is told about itself."""
        return f"{self.instructions}\n\nOpening hours: {self.hours}" if self.hours else self.instructions

    def greeting_instructions(self) -> str:
        """What makes an engine say the greeting and nothing else."""
        return f'Greet the caller by saying exactly: "{self.greeting}"' if self.greeting else ""


@dataclass(frozen=True)
class Agents:
    """The agent for each called number, and the one for all others."""

    default: Agent = field(default_factory=Agent)
    by_number: Mapping[str, Agent] = field(default_factory=dict)

    def for_number(self, called: str) -> Agent:
        """The agent that answers this number; ``+1 (415) 55`` and ``+141555`` are the same."""
        return self.by_number.get(_digits(called), self.default)


def read_agents(path: str | Path) -> Agents:
    """An agent file: YAML with an agent's fields, and ``numbers`` that override some of them.

    Raises:
        ConfigurationError: no such file, not YAML, or a field that no agent has.
    """
    import yaml

    try:
        data = yaml.load(Path(path).read_text(encoding="utf-8"), _loader()) or {}  # noqa: S506 - a SafeLoader
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"AGENT_FILE {path}: {error}") from error
    if not isinstance(data, dict):
        raise ConfigurationError(f"AGENT_FILE {path}: expected fields such as 'instructions', 'greeting'")
    numbers = data.pop("numbers", None) or {}
    default = _with_fields(Agent(), data, str(path))
    if not isinstance(numbers, dict):
        raise ConfigurationError(f"AGENT_FILE {path}: 'numbers' must map each number to its fields")
    wordy = [repr(number) for number in numbers if not _digits(str(number))]
    if wordy:
        raise ConfigurationError(f"AGENT_FILE {path}: no telephone number: {', '.join(wordy)}")
    return Agents(
        default,
        {
            _digits(str(number)): _with_fields(default, own or {}, str(path))
            for number, own in numbers.items()
        },
    )


def _loader() -> Any:
    """YAML in which every word is text: ``language: no`` is Norwegian, ``0301`` keeps its zero."""
    import yaml

    class Words(yaml.SafeLoader):
        yaml_implicit_resolvers = {  # noqa: RUF012 - yaml's own name and shape
            first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":null", ":merge"))]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    return Words


def _with_fields(agent: Agent, data: Any, path: str) -> Agent:
    unknown = set(data) - _FIELDS.keys() if isinstance(data, dict) else {repr(data)}
    if unknown:
        names = ", ".join(sorted(map(str, unknown)))
        raise ConfigurationError(
            f"AGENT_FILE {path}: unknown {names}; an agent has {', '.join(sorted(_FIELDS))}"
        )
    own, wrong = {}, []
    for name, value in data.items():
        attribute, read = _FIELDS[name]
        try:
            if value is not None:
                own[attribute] = read(value, getattr(agent, attribute))
        except ValueError as error:
            wrong.append(f"{name} {error}")
    if wrong:
        raise ConfigurationError(f"AGENT_FILE {path}: {'; '.join(wrong)}")
    return replace(agent, **own)


def _text(value: Any, _before: Any = None) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text")
    return value.strip()


def _transfer_numbers(value: Any, _before: Any) -> dict[str, str]:
    """``+15551234567``, or ``{sales: +15551234567, ...}``; empty text: nobody."""
    if value == "":
        return {}
    found: dict[str, str] = {}
    for name, number in (value if isinstance(value, dict) else {PERSON: value}).items():
        named, dialled = _text(name), _SEPARATORS.sub("", _text(number))
        if not named or len(named) > MOST_NAME or not named.isprintable() or named in found:
            raise ValueError(f"needs a name of its own for each number, of up to {MOST_NAME} letters")
        if not _E164.fullmatch(dialled):
            raise ValueError("must be a number such as +15551234567, or names with such numbers")
        found[named] = dialled
    return found


def _limits(value: Any, before: CallLimits) -> CallLimits:
    """Those that are named; the others stay."""
    unknown = sorted(set(map(str, value)) - _LIMITS.keys()) if isinstance(value, dict) else [""]
    if unknown:
        raise ValueError(f"may name {' and '.join(_LIMITS)} only")
    own: dict[str, Any] = {}
    for name, text in value.items():
        number = _number(text)
        if number is None or number < _LIMITS[name]:
            raise ValueError(f"needs a number for {name}, {_LIMITS[name]} or more")
        own[name] = int(number) if name == "max_call_seconds" else number
    return replace(before, **own)


def _number(value: Any) -> float | None:
    try:
        number = float(_text(value))
    except ValueError:
        return None
    return number if isfinite(number) else None


def _tools(value: Any, _before: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError("must be a list of names")
    return tuple(each.strip() for each in value)


#: The least that each limit may be.
_LIMITS = {"max_call_seconds": 1, "max_call_cost_usd": 0}
#: An agent file's fields: the agent's attribute, and what makes it of the file's value and of what it was.
_FIELDS: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    **{name: (name, _text) for name in ("name", "instructions", "greeting", "language", "voice", "hours")},
    "transfer_number": ("transfer_numbers", _transfer_numbers),
    "limits": ("limits", _limits),
    "tools": ("tools", _tools),
}


def _digits(number: str) -> str:
    return re.sub(r"\D", "", number)

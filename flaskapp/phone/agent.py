"""The persona that answers: who it is, how it greets, which voice it has."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from flaskapp.phone.errors import ConfigurationError

log = logging.getLogger(__name__)

NOT_USED_YET = {"transfer_number", "limits"}  # agent files may have them already
INSTRUCTIONS = (
    "You are the assistant who answers this telephone. Be friendly, brief and clear: one or two short "
    "sentences at a time, no lists, no markup, numbers and dates in words. If you did not understand, "
    "ask. Never claim to have done what you cannot do."
)
GREETING = "Hello, thank you for calling. How can I help you?"


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
    """

    name: str = "Answerline"
    instructions: str = INSTRUCTIONS
    greeting: str = GREETING
    language: str = ""
    voice: str = ""
    hours: str = ""

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
    known = {one.name for one in fields(Agent)}
    if isinstance(data, dict) and (early := sorted(NOT_USED_YET & data.keys())):
        log.warning("AGENT_FILE %s: %s is not used yet", path, ", ".join(early))
        data = {name: value for name, value in data.items() if name not in NOT_USED_YET}
    unknown = set(data) - known if isinstance(data, dict) else {repr(data)}
    if unknown:
        names = ", ".join(sorted(map(str, unknown)))
        raise ConfigurationError(
            f"AGENT_FILE {path}: unknown {names}; an agent has {', '.join(sorted(known))}"
        )
    wrong = [name for name, value in data.items() if not isinstance(value, str | None)]
    if wrong:
        raise ConfigurationError(f"AGENT_FILE {path}: {', '.join(wrong)} must be text")
    return replace(agent, **{name: value.strip() for name, value in data.items() if value is not None})


def _digits(number: str) -> str:
    return re.sub(r"\D", "", number)

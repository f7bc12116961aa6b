"""The tools of one recorded turn: what there is, what was done, and what of it stays if the turn fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flaskapp.phone.directives import Directive, EndCall, TransferTo
from flaskapp.phone.events import ToolAnswered

ROUNDS = 4  # so often a model may ask for tools within one turn; then it must answer
NO_TIME = "Not done: there is no time left."

#: Carries out a tool: its call's id, name, arguments as JSON text.
Use = Callable[[str, str, str], ToolAnswered]


@dataclass(frozen=True)
class ToolCall:
    """What a model asks for; ``arguments`` is JSON text, possibly broken."""

    id: str
    name: str
    arguments: str


class ToolUse:
    """What one turn has come to so far, kept where a failure leaves it.

    Once a tool was used the turn must not be begun anew: that might use it again. So what is known then -
    the caller's words, what was said, what tools ask of the call, what it cost - is the turn's answer.

    Args:
        schemas: the tools, as a Realtime session takes them.
        use: None: there are none.
    """

    def __init__(self, schemas: Sequence[Mapping[str, Any]] = (), use: Use | None = None) -> None:
        self.schemas = tuple(schemas) if use else ()
        self.words = ""
        self.said: list[str] = []
        self.usage: dict[str, float] = {}
        self.directives: list[Directive] = []
        self._use = use
        self._outputs: dict[ToolCall, str] = {}
        self._has_begun = self._is_over = False
        self._guard = threading.Lock()

    def perform(self, call: ToolCall) -> str:
        """Carry out a tool, once for each call; its output for the model.

        Raises:
            whatever ``use`` raises.
        """
        with self._guard:
            if call in self._outputs:
                return self._outputs[call]
            if self._is_over or self._use is None:
                return NO_TIME
            self._has_begun = True
        answered = self._use(call.id, call.name, call.arguments)
        with self._guard:
            self._outputs[call] = answered.output
            if answered.directive is not None:
                self.directives.append(answered.directive)
        return answered.output

    def count(self, usage: Mapping[str, float], prefix: str = "") -> None:
        """Add to what it cost."""
        for name, amount in usage.items():
            self.usage[prefix + name] = self.usage.get(prefix + name, 0) + amount

    @property
    def last_said(self) -> str:
        """What the model said last; it may have said it before it asked for a tool."""
        return self.said[-1] if self.said else ""

    @property
    def is_last_word(self) -> bool:
        """Whether the call goes elsewhere after what was said: there is nothing to add."""
        goes = any(isinstance(each, EndCall | TransferTo) for each in self.directives)
        return goes and bool(self.said)

    def give_up(self) -> bool:
        """No tool is used any more; whether one was."""
        with self._guard:
            self._is_over = True
            return self._has_begun

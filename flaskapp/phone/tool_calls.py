"""The functions that the engine asks for: each is carried out once, and answered to whichever session stands.

A function's answer is no reply yet: when all that were asked for are answered,
the engine is asked for one (``Conversation.is_due``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev

KEPT = 30  # so many are told to a session that follows
CUT_OFF = (
    "This was begun, and nobody knows whether it was done. Do not do it again by yourself: tell the caller, "
    "and ask."
)
OUTPUT_KEPT = 2000  # characters of an answer that another worker is told


@dataclass(slots=True)
class Use:
    """One function that was asked for.

    Attributes:
        position: the transcript's next place at that time.
        session: which of the leg's sessions asked.
        since: when.
        had_words: the engine had said something before it asked.
        output: the answer; None while it is carried out.
    """

    tool_call_id: str
    name: str
    arguments: str
    position: int
    session: int = 0
    since: float = 0.0
    had_words: bool = False
    output: str | None = None

    def recited(self) -> do.ReciteTool:
        """As a session is told that did not ask."""
        return do.ReciteTool(self.tool_call_id, self.name, self.arguments, self.output or "")


FIELDS = {each.name for each in fields(Use)}
NEEDED = {"tool_call_id", "name", "arguments", "position"}


@dataclass(slots=True)
class ToolCalls:
    """One leg's; ``past``: those of the legs before."""

    uses: dict[str, Use] = field(default_factory=dict)
    past: list[Use] = field(default_factory=list)
    session: int = 0

    def called(self, event: ev.ToolCalled, position: int, at: float, had_words: bool) -> list[do.Command]:
        """The engine asks: once for each call id, whatever comes twice."""
        if not event.tool_call_id or event.tool_call_id in self.uses:
            return []
        self.uses[event.tool_call_id] = Use(
            event.tool_call_id, event.name, event.arguments, position, self.session, at, had_words
        )
        run = do.RunTool(event.tool_call_id, event.name, event.arguments)
        return [run, do.TellEvent("tool_called", {"name": event.name})]

    def answered(self, event: ev.ToolAnswered) -> Use | None:
        """The use that has its answer now; None if nobody waits for it."""
        use = self.uses.get(event.tool_call_id)
        if use is None or use.output is not None:
            return None
        use.output = event.output
        return use

    def tell(self, use: Use) -> do.Command:
        """The answer, for the session that stands."""
        return do.AnswerTool(use.tool_call_id, use.output or "") if self._is_own(use) else use.recited()

    def _is_own(self, use: Use) -> bool:
        return use.session == self.session

    @property
    def running_since(self) -> float | None:
        """Since when the caller waits for a function; None: for none."""
        return min((use.since for use in self.uses.values() if use.output is None), default=None)

    @property
    def known(self) -> list[Use]:
        """All of the call's legs, in order."""
        return [*self.past, *self.uses.values()][-KEPT:]

    def done(self) -> list[Use]:
        """Those that are answered."""
        return [use for use in self.known if use.output is not None]

    def remembered(self) -> list[dict[str, Any]]:
        """As JSON carries them; one that is being carried out may be lost with its worker, and says so."""
        told = [(use, CUT_OFF if use.output is None else use.output) for use in self.known]
        return [{**asdict(use), "output": output[:OUTPUT_KEPT]} for use, output in told]

    @staticmethod
    def recalled(uses: Iterable[Mapping[str, Any]]) -> list[Use]:
        """What ``remembered`` gave, perhaps to another version: what it lacks or has beyond is left out."""
        known = [{name: value for name, value in use.items() if name in FIELDS} for use in uses]
        return [Use(**use) for use in known if use.keys() >= NEEDED]

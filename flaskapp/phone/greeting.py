"""The agent's first words: played from what the engine once spoke, or spoken by it now and kept."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from flaskapp.phone import commands as do
from flaskapp.phone.playout import Clip

ITEM = "greeting"
KEPT_PAYLOADS = 1000  # 20 s, should an engine send every 20 ms by itself: more is no greeting
_LETTERS = re.compile(r"\W+")


def _always() -> bool:
    return True


@dataclass(slots=True)
class Greeting:
    """One call's.

    Attributes:
        text: the words; empty: the agent waits for the caller.
        clip: how the engine spoke them before; None: nobody has kept that yet.
        reply_id: the response in which the engine speaks them now.
        payloads: what came of it so far.
        may_be_kept: asked when the engine begins to speak it; of calls that begin together one is enough.
    """

    text: str = ""
    clip: Clip | None = None
    is_asked: bool = False
    reply_id: str = ""
    payloads: list[bytes] = field(default_factory=list)
    may_be_kept: Callable[[], bool] = _always

    def asked(self) -> None:
        """The next response that begins is the greeting."""
        self.is_asked = True

    def started(self, reply_id: str) -> None:
        """A response begins."""
        self.reply_id = reply_id if self.is_asked and self.may_be_kept() else ""
        self.is_asked = False
        self.payloads.clear()

    def takes(self, payload: bytes) -> None:
        """A slice of the greeting as it is spoken."""
        self.payloads.append(payload)
        if len(self.payloads) > KEPT_PAYLOADS:
            self.reply_id, self.payloads = "", []

    def ended(self, reply_id: str, is_whole: bool, words: str) -> list[do.Command]:
        """A response is over: if it was the greeting, all of it and nothing else, it is worth keeping.

        Args:
            is_whole: the engine finished it, and the caller did not interrupt.
            words: what the engine says it said.
        """
        if not self.reply_id or reply_id != self.reply_id:
            return []
        payloads, self.reply_id, self.payloads = tuple(self.payloads), "", []
        if not (is_whole and payloads and _letters(words) == _letters(self.text)):
            return []
        return [do.KeepGreeting(payloads)]


def _letters(text: str) -> str:
    """What is left when spelling, blanks and points do not count."""
    return _LETTERS.sub("", text).casefold()

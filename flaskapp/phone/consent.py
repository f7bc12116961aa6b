"""What a caller is told before anything of his call is kept, and how it is known that he has heard it.

The carrier says it where it takes documents, before it opens the stream. Where
it does not, the agent's first words are it; then only the transcript tells how
much of it the caller heard.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from flaskapp.phone.agent import Agent
from flaskapp.phone.transcript import AGENT, Line

#: Of what every worker knows of a call, what says whether the caller has been told.
TOLD_BY = ("consent_said", "consented")
#: What is left of words when spelling, blanks and points do not count, and digits may have been masked.
_REST = re.compile(r"[\W\d_]+")


class Books(Protocol):
    """What every worker knows of calls in progress (``store/live.py``)."""

    def remember(self, call_sid: str, **fields: str) -> None: ...


def telling(agent: Agent, consent: str) -> Agent:
    """The same agent, who says this first."""
    return replace(agent, greeting=f"{consent} {agent.greeting}".strip()) if consent else agent


def consent_due(known: Mapping[str, str], consent: str) -> str:
    """What the agent has to say first, because nobody has said it.

    Args:
        known: what every worker knows of the call.
    """
    return "" if known.get("consent_said") or known.get("consented") else consent


def consent_heard(call_sid: str, known: Mapping[str, str], live: Books) -> None:
    """The carrier has carried out the document that said it: no other one says it again."""
    if known.get("consent_said") and not known.get("consented"):
        live.remember(call_sid, consented="1")


def heard_at_ms(consent: str, lines: Iterable[Line]) -> int | None:
    """When the agent had told it to the end, and the caller had heard that; None: he has not."""
    told = _letters(consent)
    ends = (
        line.end_ms
        for line in lines
        if line.speaker == AGENT and line.is_final and _letters(line.text).startswith(told)
    )
    return next(ends, None)


def _letters(text: str) -> str:
    return _REST.sub("", text).casefold()

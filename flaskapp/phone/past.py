"""What a leg of a call is told about the call's life before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flaskapp.phone.transcript import Line


@dataclass(frozen=True)
class Past:
    """A call as it stood when its stream came (again).

    Attributes:
        lines: what was said and heard before, in order; all of them final.
        base_ms: where in the call this leg begins.
        unheard: mu-law at 8 kHz: what the caller said that nobody has put into words yet.
        memo: what the leg before wanted to be remembered (``Call.memo``), as JSON carries it.
        cost_usd: what the call has cost so far.
        broke_off: the leg before ended without a word: what was said in its last second may be lost.
        position: the next place in the transcript that nobody has taken.
        note: something that the engine is told first and answers to, as that a transfer failed.
    """

    lines: Sequence[Line] = ()
    base_ms: int = 0
    unheard: bytes = b""
    memo: Mapping[str, Any] = field(default_factory=dict)
    cost_usd: float = 0.0
    note: str = ""
    broke_off: bool = False
    position: int = 0


NOTHING = Past()

"""A call's transcript as it grows: read from the application's history, shown line by line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

UNKNOWN = "transcript: this machine's database does not know the call"

Turn = dict[str, Any]
# call sid -> its turns as the history has them, sorted; None where there is no history to be asked
Turns = Callable[[str], Sequence[Turn] | None]


@dataclass(frozen=True)
class Share:
    """How a reply's delay divides, in ms; None where the application did not say."""

    engine_ms: float | None = None
    bridge_ms: float | None = None


class Transcript:
    """What the history knows of one call; a line is new once it has stayed the same between two looks."""

    def __init__(self, turns: Turns) -> None:
        self.turns: list[Turn] = []
        self.readable = True
        self._read = turns
        self._shown: set[object] = set()

    def look(self, call_sid: str, *, final: bool = False) -> list[Turn]:
        """Reads the history again; returns the lines that can be shown now, in order.

        A line is held back while it still grows, unless this is the final look.
        """
        before = {turn.get("item"): turn["text"] for turn in self.turns}
        found = self._read(call_sid)
        self.readable, self.turns = found is not None, list(found or ())
        settled = [
            turn
            for turn in self.turns
            if turn["text"] and (final or before.get(turn.get("item")) == turn["text"])
        ]
        new = [turn for turn in settled if _key(turn) not in self._shown]
        self._shown.update(_key(turn) for turn in new)
        return new

    def complete(self, utterances: int) -> bool:
        """Whether every utterance has its line and an agent's line comes last."""
        heard = [turn for turn in self.turns if turn["speaker"] == "caller" and turn["text"]]
        return len(heard) >= utterances and bool(self.turns) and self.turns[-1]["speaker"] == "agent"

    @property
    def two_sided(self) -> bool:
        """At least one line of the caller and a later one of the agent."""
        speakers = [turn["speaker"] for turn in self.turns if turn["text"]]
        return "caller" in speakers and "agent" in speakers[speakers.index("caller") :]

    def lines(self) -> list[dict[str, Any]]:
        """The lines in the shape of ``transcript.json``."""
        return [
            {
                "speaker": turn["speaker"],
                "transcript": turn["text"],
                "start_ms": turn["start_ms"],
                "end_ms": turn["end_ms"],
                "is_final": True,
            }
            for turn in self.turns
            if turn["text"]
        ]

    def shares(self) -> list[Share]:
        """For each line of the caller, how the delay of the reply after it divides."""
        found: list[Share] = []
        waiting = False
        for turn in self.turns:
            if turn["speaker"] == "caller":
                found.append(Share())
                waiting = True
            elif waiting:
                found[-1] = Share(turn.get("engine_ms"), turn.get("bridge_ms"))
                waiting = False
        return found


def _key(turn: Turn) -> object:
    return turn.get("item") or turn["position"]

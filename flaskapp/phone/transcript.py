"""The conversation's lines, in the conversation's order.

A line takes its place when its item is first announced - the caller begins to
speak, the engine begins to answer - and keeps it, however late its words
arrive: engines transcribe the caller after they have answered.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

CALLER, AGENT = "caller", "agent"


@dataclass(slots=True)
class Line:
    """One speaker's utterance; times are ms since the stream started."""

    item_id: str
    position: int
    speaker: str
    text: str = ""
    start_ms: int = 0
    end_ms: int = 0
    is_final: bool = False
    interrupted: bool = False
    engine_ms: int | None = None


@dataclass(slots=True)
class Transcript:
    """Lines by item, in the order in which they were announced."""

    lines: dict[str, Line] = field(default_factory=dict)

    def line(self, item_id: str, speaker: str, at_ms: int = 0) -> Line:
        """The item's line, placed at the end if it is new."""
        found = self.lines.get(item_id)
        if found is None:
            found = Line(item_id, len(self.lines), speaker, start_ms=at_ms, end_ms=at_ms)
            self.lines[item_id] = found
        return found

    def spoken(self) -> list[Line]:
        """Lines that hold words."""
        return [line for line in self.lines.values() if line.text]

    def awaits_words(self) -> bool:
        """Whether a caller's line was begun whose words have not come."""
        return any(line.speaker == CALLER and not line.is_final for line in self.lines.values())

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Transcript:
        return cls({item: Line(**line) for item, line in data["lines"].items()})


def heard_part(text: str, heard_ms: int, received_ms: int) -> str:
    """The words of a reply that the caller heard, cut at a word, by time.

    An engine tells what was said, not when: words are taken to be spread
    evenly over the audio.
    """
    if heard_ms >= received_ms or received_ms <= 0:
        return text
    words = text.split()
    return " ".join(words[: int(len(words) * heard_ms / received_ms)])

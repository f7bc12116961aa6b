"""The conversation's lines, in the conversation's order.

A line takes its place when its item is first announced - the caller begins to
speak, the engine begins to answer - and keeps it, however late its words
arrive: engines transcribe the caller after they have answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

CALLER, AGENT = "caller", "agent"


@dataclass(slots=True)
class Line:
    """One speaker's utterance; times are ms since the call's first second, lengths are ms.

    Attributes:
        is_said: the engine has told all of its words; what of them was heard is only known once it is final.
        engine_ms: of an agent's line, from the caller's last word to its first audio.
        heard_ms: from there until its first audio was played, as the carrier's mark says.
        noticed_ms: of a caller's line, from his last word until the engine took him to have stopped.
        words_ms: from his last word until his words were there.
        generated: all the words that there were of an agent's line of which less was heard.
    """

    item_id: str
    position: int
    speaker: str
    text: str = ""
    start_ms: int = 0
    end_ms: int = 0
    is_final: bool = False
    interrupted: bool = False
    engine_ms: int | None = None
    is_said: bool = False
    heard_ms: int | None = None
    noticed_ms: int | None = None
    words_ms: int | None = None
    generated: str = ""


@dataclass(slots=True)
class Transcript:
    """Lines by item, in the order in which they were announced.

    ``past``: what was said before, on other legs of the same call; positions go on from there, or
    from ``first_position``: others may have taken places for lines that nobody knows of.
    """

    lines: dict[str, Line] = field(default_factory=dict)
    past: list[Line] = field(default_factory=list)
    first_position: int = 0

    def line(self, item_id: str, speaker: str, at_ms: int = 0) -> Line:
        """The item's line, placed at the end if it is new."""
        found = self.lines.get(item_id)
        if found is None:
            found = Line(item_id, self.next_position, speaker, start_ms=at_ms, end_ms=at_ms)
            self.lines[item_id] = found
        return found

    @property
    def next_position(self) -> int:
        after = max((line.position for line in self.past), default=-1) + 1
        return len(self.lines) + max(after, self.first_position)

    def spoken(self) -> list[Line]:
        """Lines that hold words."""
        return [line for line in self.lines.values() if line.text]

    @property
    def last_spoken(self) -> Line | None:
        """The last line of the call that holds words."""
        spoken = self.spoken() or [line for line in self.past if line.text]
        return max(spoken, key=lambda line: line.position, default=None)

    def is_answered(self, item_id: str) -> bool:
        """Whether the agent has said something since this line."""
        position = self.lines[item_id].position
        return any(line.speaker == AGENT and line.position > position for line in self.spoken())

    def awaits_words(self) -> bool:
        """Whether a caller's line was begun whose words have not come."""
        return any(line.speaker == CALLER and not line.is_final for line in self.lines.values())


@dataclass(slots=True)
class Utterance:
    """Something the caller said that has no words yet, in ms of the stream's audio.

    Attributes:
        line_id: its line in the transcript.
        end_ms: None while he speaks.
        is_orphan: the session that noticed it is gone, the next has not noticed it yet.
    """

    line_id: str
    start_ms: float
    end_ms: float | None = None
    is_orphan: bool = False


@dataclass(slots=True)
class Awaited:
    """The caller's utterances whose words have not come, oldest first.

    Attributes:
        worded_ms: up to here the caller's audio has become words.
        lost_ms: what was said before this may be an orphan's.
        lines: an item of this session -> the line that a session before it began.
    """

    utterances: list[Utterance] = field(default_factory=list)
    worded_ms: float = 0.0
    lost_ms: float = 0.0
    lines: dict[str, str] = field(default_factory=dict)

    def line_id(self, item_id: str) -> str:
        return self.lines.get(item_id, item_id)

    def begins(self, item_id: str, start_ms: float) -> str:
        """A new item of the caller's: the line that it belongs to."""
        orphan = next((each for each in self.utterances if each.is_orphan), None)
        if orphan is not None and start_ms < self.lost_ms:
            orphan.is_orphan, orphan.start_ms, orphan.end_ms = False, start_ms, None
            self.lines[item_id] = orphan.line_id
            return orphan.line_id
        if self._find(item_id) is None:
            self.utterances.append(Utterance(item_id, start_ms))
        return item_id

    def ends(self, line_id: str, end_ms: float) -> list[str]:
        """He stopped: the lines of orphans that this item has swallowed."""
        found = self._find(line_id)
        if found is None:
            return []
        found.end_ms = max(end_ms, found.start_ms)
        swallowed = [each for each in self.utterances if each.is_orphan and each.start_ms < end_ms]
        self._forget(swallowed)
        return [each.line_id for each in swallowed]

    def passed_by(self, start_ms: float) -> list[str]:
        """He speaks in audio that no session had before: the lines of orphans that were not heard again."""
        unheard = [each for each in self.utterances if each.is_orphan and start_ms >= self.lost_ms]
        self._forget(unheard)
        return [each.line_id for each in unheard]

    def worded(self, line_id: str) -> None:
        """The line has its words, or will never have them."""
        if (found := self._find(line_id)) is not None:
            end_ms = found.start_ms if found.end_ms is None else found.end_ms
            self.worded_ms = max(self.worded_ms, end_ms)
            self.utterances.remove(found)

    def lost(self, at_ms: float) -> list[str]:
        """The session is gone: the lines of utterances that cannot be given again without later ones."""
        overtaken = [each for each in self.utterances if not self._is_open(each)]
        self._forget(overtaken)
        self.lost_ms, self.lines = at_ms, {}
        for each in self.utterances:
            each.is_orphan = True
        return [each.line_id for each in overtaken]

    @property
    def first(self) -> Utterance | None:
        """The oldest utterance that no later one has overtaken with its words."""
        return next((each for each in self.utterances if self._is_open(each)), None)

    def open_lines(self) -> list[str]:
        """The lines of utterances that wait for their words, and were not overtaken."""
        return [each.line_id for each in self.utterances if self._is_open(each)]

    def _is_open(self, utterance: Utterance) -> bool:
        return utterance.end_ms is None or utterance.end_ms > self.worded_ms

    def _find(self, line_id: str) -> Utterance | None:
        return next((each for each in self.utterances if each.line_id == line_id), None)

    def _forget(self, utterances: Sequence[Utterance]) -> None:
        self.utterances = [each for each in self.utterances if each not in utterances]


def heard_part(text: str, heard_ms: int, received_ms: int) -> str:
    """The words of a reply that the caller heard, cut at a word, by time.

    An engine tells what was said, not when: words are taken to be spread
    evenly over the audio.
    """
    if heard_ms >= received_ms or received_ms <= 0:
        return text
    words = text.split()
    return " ".join(words[: int(len(words) * heard_ms / received_ms)])

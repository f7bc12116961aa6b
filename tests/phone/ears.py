"""An engine's ears in a few lines: voice activity and words, later than they happen, without sockets.

A frame's payload says what is in it: ``3AAA`` is part of the caller's third
utterance - loud, if it is played -, nothing is silence. That is its word, too.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev
from flaskapp.phone.call import Call
from tests.phone.scene import READY, SILENT, START

FRAME_MS = 20
STOP_MS = 500
FRAME_S = FRAME_MS / 1000
_items = itertools.count()


@dataclass
class Ears:
    """One session: what it was given becomes events, so many frames later."""

    notices_after: int
    writes_after: int
    payloads: list[bytes] = field(default_factory=list)
    due: list[tuple[int, ev.Event]] = field(default_factory=list)
    item: str = ""
    words: list[str] = field(default_factory=list)
    quiet_ms: int = 0
    now: int = 0
    known_words: set[str] = field(default_factory=set)  # written before it began

    def hear(self, payload: bytes) -> None:
        self.payloads.append(payload)
        clock_ms = len(self.payloads) * FRAME_MS
        if payload:
            self.quiet_ms = 0
            if not self.item:
                self.item, self.words = f"u{next(_items)}", []
                began = ev.SpeechStarted(self.item, clock_ms - FRAME_MS)
                self._say(self.notices_after, began, ev.CallerWords(self.item, payload.decode(), False))
            if payload.decode() not in self.words:
                self.words.append(payload.decode())
            return
        self.quiet_ms += FRAME_MS
        if self.item and self.quiet_ms >= STOP_MS:
            self._say(
                self.notices_after, ev.SpeechStopped(self.item, clock_ms), ev.SpeechCommitted(self.item)
            )
            words = ev.CallerWords(self.item, " ".join(self.words), True)
            self._say(self.notices_after + self.writes_after, words)
            self.item = ""

    def _say(self, after: int, *events: ev.Event) -> None:
        self.due += [(self.now + after, event) for event in events]

    def ready(self, now: int) -> list[ev.Event]:
        """What it has to say by now, in order."""
        self.now = now
        events = [event for at, event in sorted(self.due, key=lambda each: each[0]) if at <= now]
        self.due = [each for each in self.due if each[0] > now]
        return events


@dataclass
class Losing:
    """A call whose sessions are lost at certain frames, and stand again so many frames later."""

    notices_after: int = 5
    writes_after: int = 20
    reopens_after: int = 20
    call: Call = field(default_factory=lambda: Call("CA1", SILENT, 0.0))
    told: list[do.Command] = field(default_factory=list)
    sessions: list[Ears] = field(default_factory=list)
    ears: Ears | None = None
    opens_at: int | None = None
    number: int = 0
    given_up_at: int | None = None

    def __post_init__(self) -> None:
        self.call.intake.flow = []  # somebody keeps his audio
        self._do(START)
        self.opens_at = 0

    @property
    def at(self) -> float:
        return self.number * FRAME_S

    def lives(self, payloads: list[bytes], lost_at: set[int]) -> None:
        for payload in payloads:
            self.number += 1
            if self.number in lost_at and self.ears is not None:
                self.ears = None
                self._do(ev.EngineClosed("engine_lost", status=401 if self.number == self.given_up_at else 0))
            if self.opens_at is not None and self.number >= self.opens_at:
                self.opens_at, self.ears = None, Ears(self.notices_after, self.writes_after, now=self.number)
                self.ears.known_words = set(self.written)
                self.sessions.append(self.ears)
                self._do(ev.EngineOpened(), READY)
            self._do(ev.CallerAudio(payload, FRAME_MS))
            if self.number % 5 == 0:
                self._take(self.call.tick(self.at))
            if self.ears is not None:
                self._do(*self.ears.ready(self.number))

    def _do(self, *events: ev.Event) -> None:
        for event in events:
            self._take(self.call.receive(event, self.at))

    def _take(self, commands: list[do.Command]) -> None:
        self.told += commands
        for command in commands:
            if isinstance(command, do.Hear) and self.ears is not None:
                self.ears.hear(command.payload)
            if isinstance(command, do.OpenEngine):
                self.opens_at = self.number + self.reopens_after

    @property
    def written(self) -> list[str]:
        """The caller's words, in the transcript's order."""
        lines = sorted(self.call.talk.transcript.lines.values(), key=lambda line: line.position)
        return " ".join(line.text for line in lines if line.is_final).split()


def word(number: int) -> str:
    """What the caller's utterance of this number (below ten) is written as: base64 of something loud."""
    return f"{number}AAA"


def speech(*pauses_and_utterances: tuple[int, int]) -> list[bytes]:
    """(frames of silence, frames of speech) ..., then two seconds of silence."""
    frames: list[bytes] = []
    for number, (pause, length) in enumerate(pauses_and_utterances):
        frames += [b""] * pause + [word(number).encode()] * length
    return frames + [b""] * 250

"""Recorded conversations, replayed through a call: JSON lines in, and what it commanded held against them.

The first line of a recording sets the scene: ``about`` (a sentence), and where they differ from nothing,
``agent``, ``limits``, ``past``, ``greeting_ms`` (there is a clip of the greeting), ``company`` (there is one
that keeps the caller company), ``price_usd`` (of one output token), ``heeds`` (kinds that always matter).
Every other line has a time, ``at`` (seconds), and one of:

- ``event``: what a leg reports then, as ``{"type": ..., fields}``;
- ``commands``: what the call has commanded since the last such line, all of it and in this order, with those
  fields that are named; ``IGNORED`` kinds need not be told, and of audio to the engine only how many
  ``slices``. At the end none may be left over.
- ``call``: its state, why it ended, up to where the caller was understood;
- ``lines``: the transcript's words so far;
- ``line``: what the carrier brings from now on: ``silence``, ``voice``, ``nothing``.

Between the lines time passes: the call is asked every 0.1 s, a carrier brings audio from the stream's start
on, and returns each mark ``LAG_S`` after its audio has ended, or as soon as it is told to clear.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev
from flaskapp.phone.agent import Agent
from flaskapp.phone.audio import MULAW_BYTES_PER_MS
from flaskapp.phone.call import Call
from flaskapp.phone.directives import EndCall, Message, TransferTo
from flaskapp.phone.endings import Limits
from flaskapp.phone.past import Past
from flaskapp.phone.playout import Clip
from flaskapp.phone.transcript import Line

RECORDINGS = Path(__file__).parent / "recordings"
BEGAN_AT = 1000.0
TICK_S, LAG_S = 0.1, 0.05
GREETING, COMPANY = b"greeting-clip", b"company-clip"
DIRECTIVES = {kind.__name__: kind for kind in (EndCall, Message, TransferTo)}
LINE = {"silence": b64encode(b"\xff" * 6), "voice": b64encode(b"\x8f\x0f" * 3), "nothing": b""}
#: Kinds that only matter where a recording names them: audio on its way in, and what is told to others.
IGNORED = {
    "Hear",
    "SetMark",
    "TellLine",
    "TellPlace",
    "TellTurn",
    "TellEvent",
    "TellEngine",
    "TellFault",
    "ConfigureSession",
}


def read(name: str) -> list[dict[str, Any]]:
    """A recording's lines, its scene first."""
    text = (RECORDINGS / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@dataclass(frozen=True)
class Hear:
    """Slices of the caller's audio that went to the engine in a row."""

    slices: int


class Replay:
    """One recording's call, on a clock of its own.

    Attributes:
        told: all that was commanded: (when, command).
    """

    def __init__(self, scene: dict[str, Any]) -> None:
        past = dict(scene.get("past", {}))
        past["lines"] = [Line(**line) for line in past.get("lines", ())]
        sound = bytes.fromhex(past.pop("unheard", "ff"))
        past["unheard"] = sound * (MULAW_BYTES_PER_MS * past.pop("unheard_ms", 0) // len(sound))
        self._clips = {COMPANY: 1000.0, GREETING: scene.get("greeting_ms", 0.0)}
        greeting = Clip(GREETING, scene["greeting_ms"]) if "greeting_ms" in scene else None
        price_usd = scene.get("price_usd", 0.0)
        self.call = Call(
            "CA1",
            Agent(**{"name": "Test", "greeting": "", **scene.get("agent", {})}),
            BEGAN_AT,
            Past(**past),
            Limits(**scene.get("limits", {})),
            lambda usage: usage.get("output_tokens", 0) * price_usd,
            greeting,
        )
        self.call.clip = Clip(COMPANY, 1000.0) if scene.get("company") else None
        self._ignored = IGNORED - set(scene.get("heeds", ()))
        self.at, self.told = 0.0, list[tuple[float, do.Command]]()
        self._ticks = self._compared = 0
        self._brings = b""
        self._queue: list[tuple[float, str]] = []  # the carrier's: marks, and when they are reached
        self._plays_until = 0.0
        self._slice_ms = 0.0

    def play(self, lines: list[dict[str, Any]]) -> None:
        """All of it.

        Raises:
            AssertionError: the call commanded something else; says when and what.
        """
        for line in lines:
            self.passes(line["at"])
            what = next(key for key in line if key != "at")
            HANDLED[what](self, line[what])
        self._commands([])

    def passes(self, until: float) -> None:
        """Let time pass up to then."""
        assert until >= self.at, f"{until} s comes after {self.at} s"
        while (tick_at := round((self._ticks + 1) * TICK_S, 3)) <= until:
            self._ticks += 1
            self._carrier_until(tick_at)
            if self._brings:
                self.hears(ev.CallerAudio(self._brings, TICK_S * 1000), tick_at)
            self._take(tick_at, self.call.tick(BEGAN_AT + tick_at))
        self._carrier_until(until)
        self.at = until

    def hears(self, event: ev.Event, at: float) -> None:
        if isinstance(event, ev.StreamStarted):
            self._brings = self._brings or LINE["silence"]
        if isinstance(event, ev.ReplyAudio):
            self._slice_ms = event.duration_ms
        self._take(at, self.call.receive(event, BEGAN_AT + at))

    def _take(self, at: float, commands: list[do.Command]) -> None:
        for command in commands:
            self.told.append((at, command))
            self._performed(command, at)

    def _performed(self, command: do.Command, at: float) -> None:
        """What the carrier does."""
        if isinstance(command, do.Play):
            ms = self._clips.get(command.payload, self._slice_ms)
            self._plays_until = max(self._plays_until, at) + ms / 1000
        elif isinstance(command, do.SetMark):
            self._queue.append((self._plays_until + LAG_S, command.name))
        elif isinstance(command, do.ClearPlayback):
            self._plays_until = at
            self._queue = [(at, name) for _, name in self._queue]
        elif isinstance(command, do.CloseCarrier):
            self._brings = b""

    def _carrier_until(self, until: float) -> None:
        due = sorted(each for each in self._queue if each[0] <= until)
        self._queue = [each for each in self._queue if each[0] > until]
        for at, name in due:
            self.hears(ev.MarkReached(name), max(at, self.at))

    # ------------------------------------------------------------------ a recording's lines

    def _event(self, fields: dict[str, Any]) -> None:
        fields = dict(fields)
        kind = getattr(ev, fields.pop("type"))
        if "payload" in fields:
            fields["payload"] = fields["payload"].encode()
        if "directive" in fields:
            directive = dict(fields["directive"])
            fields["directive"] = DIRECTIVES[directive.pop("type")](**directive)
        self.hears(kind(**fields), self.at)

    def _commands(self, expected: list[dict[str, Any]]) -> None:
        named = {each["type"] for each in expected}
        found: list[tuple[float, Any]] = []
        for at, command in self.told[self._compared :]:
            kind = type(command).__name__
            if kind == "Hear" and kind in named and found and isinstance(found[-1][1], Hear):
                found[-1] = (at, Hear(found[-1][1].slices + 1))
            elif kind not in self._ignored or kind in named:
                found.append((at, Hear(1) if kind == "Hear" else command))
        self._compared = len(self.told)
        listing = "\n".join(f"  {at:8.3f}  {command}" for at, command in found) or "  nothing"
        message = f"until {self.at} s expected\n  {expected}\nbut commanded was\n{listing}"
        assert len(found) == len(expected), message
        for (_, command), each in zip(found, expected, strict=True):
            assert is_as_told(command, each), message

    def _call(self, expected: dict[str, Any]) -> None:
        memory = self.call.memory
        found: dict[str, Any] = {"state": str(memory.state), "ended_reason": memory.ended_reason}
        found["heard_until_ms"] = self.call.heard_until_ms(BEGAN_AT + self.at)
        assert {name: found[name] for name in expected} == expected, f"at {self.at} s: {found}"

    def _lines(self, expected: list[dict[str, Any]]) -> None:
        found = [asdict(line) for line in self.call.talk.transcript.spoken()]
        found.sort(key=lambda line: line["position"])
        chosen = [{name: line[name] for name in each} for line, each in zip(found, expected, strict=False)]
        assert (len(found), chosen) == (len(expected), expected), f"at {self.at} s: {found}"

    def _line_brings(self, what: str) -> None:
        self._brings = LINE[what]


def is_as_told(command: Any, expected: dict[str, Any]) -> bool:
    """Whether a command is of this type and has these fields; of instructions, whether these are in them."""
    if type(command).__name__ != expected["type"]:
        return False
    found = {name: _plain(value) for name, value in asdict(command).items()}
    wanted = {name: value for name, value in expected.items() if name != "type"}
    part = wanted.get("instructions")
    if part and part in found["instructions"]:
        del wanted["instructions"]
    return all(found[name] == value for name, value in wanted.items())


def _plain(value: Any) -> Any:
    """A field as JSON has it."""
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value.decode() if isinstance(value, bytes) else value


HANDLED: dict[str, Callable[[Replay, Any], None]] = {
    "event": Replay._event,
    "commands": Replay._commands,
    "call": Replay._call,
    "lines": Replay._lines,
    "line": Replay._line_brings,
}

"""What a call commands: done by the rim, which alone reads, writes and waits.

Audio travels as base64 text in bytes, exactly as it came. All times in ``*_ms``
are milliseconds of audio. Commands that a frame becomes are not frozen, though
nobody changes them: frozen ones take four times as long to make.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flaskapp.phone.directives import Message


@dataclass(frozen=True, slots=True)
class OpenEngine:
    """Connect to the engine; report EngineOpened or EngineClosed."""


@dataclass(frozen=True, slots=True)
class ConfigureSession:
    """Tell the engine who it is and what it hears; ``minimal`` leaves out what it may refuse."""

    audio_format: str
    minimal: bool = False


@dataclass(frozen=True, slots=True)
class Recite:
    """Tell the engine what was said before its session: a line of "caller" or "agent", or a "note"."""

    speaker: str
    text: str


@dataclass(slots=True)
class Hear:
    """Pass the caller's audio to the engine."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class CommitSpeech:
    """Close the caller's unfinished utterance, so that it is transcribed."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Ask the engine for a response."""

    instructions: str = ""


@dataclass(frozen=True, slots=True)
class CancelReply:
    """Stop a response that is being made."""

    response_id: str


@dataclass(frozen=True, slots=True)
class Truncate:
    """Tell the engine how much of an item the caller heard."""

    item_id: str
    content_index: int
    audio_end_ms: int


@dataclass(slots=True)
class Play:
    """Pass the agent's audio to the carrier."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class SetMark:
    """Have the carrier say when everything before this has been played; ``is_last``: it ends there."""

    name: str
    is_last: bool = False


@dataclass(frozen=True, slots=True)
class ClearPlayback:
    """Drop everything that has not been played yet."""


@dataclass(frozen=True, slots=True)
class RunTool:
    """Carry out a function of ours, off the audio's path; report ToolAnswered, once."""

    tool_call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class AnswerTool:
    """Give the engine a function's answer."""

    tool_call_id: str
    output: str


@dataclass(frozen=True, slots=True)
class ReciteTool:
    """Tell the engine of a function that was used before its session."""

    tool_call_id: str
    name: str
    arguments: str
    output: str


@dataclass(frozen=True, slots=True)
class TransferCaller:
    """Have the carrier dial ``number`` for the caller; report TransferFailed if it will not."""

    destination: str
    number: str


@dataclass(frozen=True, slots=True)
class KeepGreeting:
    """This is how the engine speaks the greeting: the next caller shall hear it at once."""

    payloads: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class TellMessage:
    """The caller leaves a message for somebody."""

    message: Message


@dataclass(frozen=True, slots=True)
class TellLine:
    """A transcript line grew or became final; ``position`` is its place in the call.

    ``is_said``: no more words will come; final is it when it is known what of them was heard. The rest is
    as in ``transcript.Line``.
    """

    item_id: str
    position: int
    speaker: str
    text: str
    start_ms: int
    end_ms: int
    is_final: bool
    interrupted: bool = False
    engine_ms: int | None = None
    is_said: bool = False
    heard_ms: int | None = None
    noticed_ms: int | None = None
    words_ms: int | None = None
    generated: str = ""


@dataclass(frozen=True, slots=True)
class TellPlace:
    """Somebody began to speak: the place of a line that has no words yet; ``is_over``: it never gets any."""

    item_id: str
    position: int
    speaker: str
    is_over: bool = False


@dataclass(frozen=True, slots=True)
class TellTurn:
    """The first audio of a reply leaves now, ``engine_ms`` after the engine had the caller's last word."""

    item_id: str
    engine_ms: int | None
    first_of_call: bool


@dataclass(frozen=True, slots=True)
class TellEvent:
    """Something for the call's history: a barge-in, a key, a fault."""

    kind: str
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TellFault:
    """Something went wrong that the metrics count."""

    kind: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class TellEngine:
    """How the engine does: what ails it, that it was opened again (in vain or not), that it replies."""

    trouble: str = ""
    status: int = 0
    is_again: bool = False
    serves: bool = False


@dataclass(frozen=True, slots=True)
class CloseEngine:
    """Close the engine's connection; whatever still comes from it is no event of this call."""


@dataclass(frozen=True, slots=True)
class CloseCarrier:
    """Close the carrier's connection.

    ``needs_fallback``: the caller is still there, unserved; ``moves``: another worker shall take the
    call up where it is; ``destination``: the caller shall be joined to this person.
    """

    code: int
    reason: str
    needs_fallback: bool = False
    moves: bool = False
    destination: str = ""


Command = (
    OpenEngine | ConfigureSession | Recite | Hear | CommitSpeech | Reply | CancelReply | Truncate
    | Play | SetMark | ClearPlayback | TellLine | TellPlace | TellTurn | TellEvent | TellFault | TellEngine
    | CloseEngine | CloseCarrier
    | RunTool | AnswerTool | ReciteTool | TransferCaller | KeepGreeting | TellMessage
)  # fmt: skip

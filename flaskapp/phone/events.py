"""What the legs of a call report: a carrier's or an engine's words, already translated.

Audio travels as base64 text in bytes, exactly as it came: nobody on the way
needs to look inside. All times in ``*_ms`` are milliseconds of audio. Events
that a frame becomes are msgspec's structs, though nobody encodes them: those
take a third of the time to make, and the garbage collector does not see them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from flaskapp.phone.directives import Directive

# --------------------------------------------------------------------- carrier


@dataclass(frozen=True, slots=True)
class StreamStarted:
    """The carrier opened its media stream and said what it will carry.

    ``audio_format`` is an engine's name for it (``audio/pcmu``), or empty
    where we have no equal.
    """

    stream_id: str
    call_sid: str
    audio_format: str
    sample_rate_hz: int = 8000
    account_id: str = ""
    caller: str = ""
    called: str = ""
    parameters: dict[str, str] = field(default_factory=dict)
    carrier: str = "twilio"


class CallerAudio(msgspec.Struct, gc=False):
    """A slice of what the caller says: base64, and how long it lasts.

    Once passed on, there may be many in one piece (``payloads.BETWEEN``).
    """

    payload: bytes
    duration_ms: float


@dataclass(frozen=True, slots=True)
class Digit:
    """The caller pressed a key (DTMF): 0-9, ``*``, ``#``, A-D."""

    digit: str


@dataclass(frozen=True, slots=True)
class Typed:
    """The caller wrote this instead of saying it: one line, not empty."""

    text: str


@dataclass(frozen=True, slots=True)
class MarkReached:
    """The carrier returned a mark: all audio before it was played, or cleared."""

    name: str


@dataclass(frozen=True, slots=True)
class StreamStopped:
    """The carrier says the stream is over: the caller hung up, or the flow moved on."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class CarrierClosed:
    """The carrier's connection is gone."""

    code: int = 1006


@dataclass(frozen=True, slots=True)
class NotAdmitted:
    """The stream brought no ticket, or one that does not open this call."""

    reason: str = ""


# ---------------------------------------------------------------------- engine


@dataclass(frozen=True, slots=True)
class EngineOpened:
    """The engine's connection stands; nothing has been agreed yet."""


@dataclass(frozen=True, slots=True)
class SessionReady:
    """The engine accepted our session; what it echoed back.

    ``silence_ms``: how long it waits before it takes the caller to have stopped;
    ``transcribes``: whether it will write down the caller's words.
    """

    input_format: str
    output_format: str
    interrupts_itself: bool = True
    silence_ms: int = 0
    transcribes: bool = True


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The engine heard the caller begin to speak."""

    item_id: str
    audio_start_ms: int


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The engine heard the caller stop; ``audio_end_ms`` includes the silence it waited for."""

    item_id: str
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class SpeechCommitted:
    """The caller's words became an item of the conversation."""

    item_id: str


@dataclass(frozen=True, slots=True)
class CallerWords:
    """What the caller said, as transcribed: a piece (``delta``) or the whole line."""

    item_id: str
    text: str
    is_final: bool
    usage: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CallerWordsLost:
    """The caller's words could not be transcribed."""

    item_id: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ReplyStarted:
    """The engine began a response."""

    response_id: str


class ReplyAudio(msgspec.Struct, gc=False):
    """A slice of the agent's speech: base64, and how long it lasts."""

    response_id: str
    item_id: str
    content_index: int
    payload: bytes
    duration_ms: float


@dataclass(frozen=True, slots=True)
class ReplyAudioEnded:
    """No more audio will come for this item."""

    response_id: str
    item_id: str


@dataclass(frozen=True, slots=True)
class ReplyWords:
    """The agent's words: a piece (``delta``) or the whole line."""

    response_id: str
    item_id: str
    text: str
    is_final: bool


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """The engine asks for a function of ours; ``arguments`` is JSON text, possibly broken."""

    response_id: str
    tool_call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolAnswered:
    """A tool's answer for the engine, and what it asks of the call; ``is_error``: it could not do it."""

    tool_call_id: str
    output: str
    directive: Directive | None = None
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class TransferFailed:
    """The carrier would not transfer the caller, who is still on the line; no reason: it never does."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class ReplyEnded:
    """A response is over: completed, cancelled, failed or incomplete."""

    response_id: str
    status: str
    reason: str = ""
    error_code: str = ""
    usage: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EngineFault:
    """The engine sent an ``error`` event; the session normally stays open."""

    code: str
    kind: str = ""
    message: str = ""
    param: str = ""
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class EngineClosed:
    """The engine's connection is gone, or never came about.

    ``code`` is the WebSocket's; ``status`` the HTTP status of a refusal, and
    ``retry_after_s`` how long a busy server asks to be left alone.
    """

    reason: str
    code: int = 1006
    status: int = 0
    retry_after_s: float | None = None


# ------------------------------------------------------------------- any leg


@dataclass(frozen=True, slots=True)
class Malformed:
    """A message that cannot be read; ``leg`` is "carrier" or "engine"."""

    leg: str
    kind: str


@dataclass(frozen=True, slots=True)
class HangUp:
    """We want the call to end: an operator, a shutdown, a script."""

    reason: str


@dataclass(frozen=True, slots=True)
class MoveAway:
    """This worker is about to end: let another one take the call over, at a good moment.

    ``within_s``: by then it must be gone, at whatever moment.
    """

    within_s: float


Event = (
    StreamStarted | CallerAudio | Digit | Typed | MarkReached | StreamStopped | CarrierClosed | NotAdmitted
    | EngineOpened | SessionReady | SpeechStarted | SpeechStopped | SpeechCommitted
    | CallerWords | CallerWordsLost | ReplyStarted | ReplyAudio | ReplyAudioEnded | ReplyWords
    | ToolCalled | ReplyEnded | EngineFault | EngineClosed | Malformed | HangUp
    | ToolAnswered | TransferFailed | MoveAway
)  # fmt: skip

"""What the API takes and gives, field by field; ``openapi.json`` is made of these."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

CALL_SID = r"^[A-Za-z0-9_-]{1,64}$"
WORD = r"^[A-Za-z0-9_-]{1,32}$"
NO_TIME = "must be a time with its zone, as 2026-11-22T09:00:00Z (write + as %2B), or a day, as 2026-11-22"

Status = Literal[
    "queued", "initiated", "ringing", "in-progress", "completed", "busy", "failed", "no-answer", "canceled"
]
Milliseconds = Annotated[int, Field(description="Milliseconds")]
SinceBegin = Annotated[int, Field(description="Milliseconds since the call began")]


def _moment(text: Any) -> Any:
    """A time in UTC; of a day its first moment."""
    if not isinstance(text, str):
        return text
    try:
        if len(text) == len("2026-11-22"):
            return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError("no zone")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(NO_TIME) from error


Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "format": "date"}]}
    ),
]


class Question(BaseModel):
    """What stands in an address behind the question mark; a name that there is not is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Filters(Question):
    """Which calls."""

    carrier: str | None = Field(
        None, pattern=WORD, description="Only calls of this carrier, as twilio or exotel"
    )
    mode: str | None = Field(
        None, pattern=WORD, description="Only calls that were live, recorded, both, or rejected"
    )
    status: Status | None = Field(None, description="Only calls that stand so with the carrier")
    outcome: str | None = Field(
        None, pattern=WORD, description="Only calls that came to this, as answered or message"
    )
    ended_reason: str | None = Field(
        None, pattern=WORD, description="Only calls that ended so, as goodbye or worker_lost"
    )
    since: Moment | None = Field(
        None, description="Only calls that began then or later: a time, or a day in UTC"
    )
    until: Moment | None = Field(None, description="Only calls that began before")


class PageWanted(Filters):
    """Which calls, and which of their pages."""

    after: str | None = Field(
        None, pattern=CALL_SID, description="The page behind this call: `next` of the page before"
    )
    limit: int = Field(50, ge=1, le=200, description="So many calls at most")


class CallNamed(BaseModel):
    """Which call."""

    call_sid: str = Field(pattern=CALL_SID, description="The call's id, as the carrier gave it")


class Shape(BaseModel):
    """Part of an answer; made of the history's rows, of which it takes what it names."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", from_attributes=True, protected_namespaces=(), defer_build=True
    )


class Call(Shape):
    """A call, as a list shows it. Numbers are whole. What is not known is null."""

    call_sid: str
    carrier: str | None = Field(description="twilio, exotel, ...")
    mode: str | None = Field(description="live, recorded, both, or rejected")
    caller: str | None = Field(description="The caller's number as the carrier gave it")
    called: str | None = Field(description="The number that was called")
    status: Status = Field(description="How the call stands with the carrier")
    started_at: datetime | None = Field(description="In UTC")
    ended_at: datetime | None
    duration_ms: int | None
    ended_reason: str | None = Field(description="One word: goodbye, caller_hung_up, max_duration, ...")
    outcome: str | None = Field(
        description="What came of it: answered, transferred, message, rejected, limit, lost, or nothing_said"
    )
    engine: str | None = Field(description="Who understood and spoke: openai, azure or local")
    model: str | None
    cost_usd: float | None = Field(description="By the prices in the settings; null where nothing is known")


class CallPage(Shape):
    """Some calls, the newest first."""

    calls: list[Call]
    next: str | None = Field(description="`after` of the next page; null: this is the last one")


class Turn(Shape):
    """What one of them said at one time, as it was heard."""

    item: str = Field(description="The line's own name; /client gives it too")
    position: int
    speaker: str = Field(description="caller or agent")
    text: str
    start_ms: SinceBegin
    end_ms: SinceBegin
    mode: str = Field(description="live, recorded, or unheard (said when nobody was there to hear it)")
    interrupted: bool = Field(description="The other one spoke; the text ends where he did")
    is_final: bool
    generated: str | None = Field(None, description="All that the agent had to say, where less was heard")
    engine_ms: int | None = Field(None, description="The caller's last word to the first audio of the answer")
    bridge_ms: int | None = Field(None, description="From there until it was sent to the carrier")
    heard_ms: int | None = Field(None, description="From there until the carrier had played it")
    noticed_ms: int | None = Field(None, description="Last word until the engine saw that he had stopped")
    words_ms: int | None = Field(None, description="Last word until his words were written down")


class Event(Shape):
    """Something that happened: a barge-in, a key, a function, a fault."""

    at_ms: SinceBegin
    kind: str
    detail: dict[str, Any]


class ToolUse(Shape):
    """A function that the agent used."""

    at_ms: SinceBegin
    name: str
    took_ms: int | None = Field(description="Until it was answered; null: it was not")
    failed: bool


class Recording(Shape):
    """What the caller said without being heard live."""

    recording_sid: str
    status: str = Field(description="claimed, waiting, answered, understood, silent, or why it was neither")
    source: str | None = Field(description="recording (a carrier's), buffer (our own), or words")
    duration_ms: int | None
    at_ms: int | None
    error: str | None
    created_at: datetime


class Message(Shape):
    """What the caller left for somebody."""

    text: str
    name: str = ""
    callback: str = ""


class Step(Shape):
    """One answer's way to the caller, in milliseconds from his last word; null: not measured."""

    item: str = Field(description="The agent's line")
    at_ms: SinceBegin
    noticed_ms: int | None = Field(description="The engine took him to have stopped")
    words_ms: int | None = Field(description="His words were there; that may be later than the answer")
    engine_ms: int = Field(description="The first audio came from the engine")
    sent_ms: int = Field(description="It left for the carrier")
    heard_ms: int | None = Field(description="The carrier had played it")


class Figures(Shape):
    """How quick the answers were, from the caller's last word to the first audio that left."""

    turns: int
    first_audio_ms: int | None = Field(description="From the call's beginning to the agent's first word")
    median_ms: int | None
    p90_ms: int | None = Field(description="Nine of ten were as quick, or quicker")
    by_caller: int = Field(description="How often the caller spoke over the agent")
    by_agent: int = Field(description="How often the agent spoke over the caller")
    steps: list[Step]


class WholeCall(Call):
    """A call with all that is kept of it."""

    ended: str | None = Field(description="`ended_reason` in a sentence")
    usage: dict[str, float] | None = Field(description="The engine's own counts")
    message: Message | None
    figures: Figures
    turns: list[Turn]
    tool_calls: list[ToolUse]
    events: list[Event]
    recordings: list[Recording]
    has_audio: bool = Field(description="Whether `audio.wav` is there")


class TranscriptLine(Shape):
    """One line, as it was heard."""

    speaker: str = Field(description="caller or agent")
    transcript: str
    start_ms: SinceBegin
    end_ms: SinceBegin
    is_final: bool
    interrupted: bool
    mode: str


class Transcript(Shape):
    """What was said, in its order."""

    call_sid: str
    lines: list[TranscriptLine]


class Wrong(Shape):
    """One thing that is wrong with a request."""

    name: str = Field(description="Which parameter")
    detail: str = Field(description="What is wrong with it")


class Problem(Shape):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str | None
    errors: list[Wrong] = Field(default_factory=list, description="Each wrong parameter")


class Health(Shape):
    """The process is alive."""

    status: Literal["ok"]


class EngineInUse(Shape):
    """Who hears and speaks."""

    kind: str
    model: str


class Readiness(Shape):
    """Whether calls may be sent here."""

    status: Literal["ready", "not ready"]
    reasons: list[str] = Field(description="Why not: redis or database does not answer, draining, ...")
    engine: EngineInUse | None


class StoredChunk(Shape):
    """Audio that was handed in is kept; the sums are over all that is kept of the call."""

    call_sid: str
    chunks: int
    bytes: int
    duration_ms: Milliseconds
    format: str = Field(description="How this chunk was understood: wav, or mulaw")


class Completed(Shape):
    """What was handed in, understood and answered."""

    call_sid: str
    transcript: str
    response: str
    duration_ms: Milliseconds
    latency_ms: Milliseconds

"""One connection to a fake engine: what came, what was sent, and what a test makes it say."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from openai.types.realtime import RealtimeClientEvent
from pydantic import BaseModel, TypeAdapter, ValidationError

from tests.behaviour import BYTES_PER_MS, Behaviour, Turn, Usage
from tests.fake_conversation import Conversation
from tests.fake_replies import Meter, Response

_client_event: TypeAdapter[Any] = TypeAdapter(RealtimeClientEvent)
_numbers = itertools.count(1)


def offences(event: dict[str, Any]) -> list[str]:
    """What the typed models do not allow about a client event: wrong shapes, unknown fields."""
    try:
        parsed = _client_event.validate_python(event)
    except ValidationError as error:
        return [f"{event.get('type')}: {each['loc']} {each['msg']}" for each in error.errors()]
    return [f"{event['type']}: unknown field {name}" for name in _unknown(parsed)]


def _unknown(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, BaseModel):
        yield from (f"{path}{name}" for name in value.model_extra or {})
        for name in type(value).model_fields:
            yield from _unknown(getattr(value, name), f"{path}{name}.")
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _unknown(each, path)


@dataclass
class Session:
    """One connection and all that was said on it."""

    number: int
    headers: dict[str, str]
    path: str
    send: Callable[[dict[str, Any]], None]
    close: Callable[[int], None]
    send_raw: Callable[[str], None]
    events: list[dict[str, Any]] = field(default_factory=list)
    offences: list[str] = field(default_factory=list)
    came: bytearray = field(default_factory=bytearray)  # all audio, as it came
    audio: bytearray = field(default_factory=bytearray)  # the same as mu-law
    arrivals: list[tuple[float, int]] = field(default_factory=list)  # when, and how much audio there was then
    sent: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    session: dict[str, Any] = field(default_factory=dict)
    is_open: bool = True
    behaviour: Behaviour = field(default_factory=Behaviour)
    die: Callable[[], None] = lambda: None
    conversation: Conversation = field(default_factory=Conversation)
    active: Response | None = None  # a response that is not done yet
    began_at: float = field(default_factory=time.monotonic)
    expires_at: int | None = None
    turns: deque[Turn] = field(default_factory=deque)  # its next replies to the caller
    creates: deque[Turn] = field(default_factory=deque)  # and to response.create
    replies: int = 0
    meter: Meter = field(default_factory=lambda: Meter(Usage()))

    def of_type(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == name]

    def sent_of_type(self, name: str) -> list[tuple[float, dict[str, Any]]]:
        return [(at, event) for at, event in self.sent if event["type"] == name]

    # What a test makes it say -------------------------------------------------

    def speech_started(self, item: str = "", at_ms: int | None = None) -> str:
        item = item or f"item_u{next(_numbers)}"
        self.conversation.speech_began()
        self.send(
            {
                "type": "input_audio_buffer.speech_started",
                "audio_start_ms": self.heard_ms if at_ms is None else at_ms,
                "item_id": item,
            }
        )
        return item

    def speech_stopped(self, item: str, words: str = "", at_ms: int | None = None) -> None:
        end_ms = self.heard_ms if at_ms is None else at_ms
        self.send({"type": "input_audio_buffer.speech_stopped", "audio_end_ms": end_ms, "item_id": item})
        self.send({"type": "input_audio_buffer.committed", "item_id": item, "previous_item_id": None})
        if words:
            self.transcribed(item, words)

    def transcribed(self, item: str, words: str) -> None:
        self.conversation.heard(words)
        self.send(
            {
                "type": "conversation.item.input_audio_transcription.completed",
                "item_id": item,
                "content_index": 0,
                "transcript": words,
                "usage": {"type": "duration", "seconds": 1.0},
            }
        )

    @property
    def creates_responses(self) -> bool:
        """Whether it answers when the caller stops: the session may have asked for silence."""
        turns = (self.session.get("audio") or {}).get("input", {}).get("turn_detection") or {}
        return bool(turns.get("create_response", True))

    @property
    def heard_ms(self) -> int:
        return len(self.audio) // BYTES_PER_MS

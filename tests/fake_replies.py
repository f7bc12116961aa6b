"""What a fake engine says: one response, event by event, as the wire tells it."""

from __future__ import annotations

import base64
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.behaviour import BYTES_PER_MS, ToolUse, Usage

Event = dict[str, Any]
Step = tuple[float, Event]  # how many ms of speech an event brings, and the event
_numbers = itertools.count(1)


def tone(ms: int, period: int = 8, seed: int = 0) -> bytes:
    """Audible mu-law: never silence, and different for every seed."""
    high, low = 0x80 + (seed * 7) % 0x40, (seed * 7) % 0x40
    pattern = bytes([high] * (period // 2) + [low] * (period // 2))
    return (pattern * (ms * BYTES_PER_MS // period + 1))[: ms * BYTES_PER_MS]


def delta(response: str, item: str, audio: bytes, output_index: int = 0) -> Event:
    return {
        "type": "response.output_audio.delta",
        "response_id": response,
        "item_id": item,
        "output_index": output_index,
        "content_index": 0,
        "delta": base64.b64encode(audio).decode(),
    }


class Meter:
    """What a session has used; each response is billed once."""

    def __init__(self, usage: Usage) -> None:
        self._usage = usage
        self._since = time.monotonic()
        self._billed = 0

    def bill(self) -> dict[str, Any]:
        """The ``usage`` of the response that is done now."""
        each = self._usage
        due = int((time.monotonic() - self._since) * each.audio_out_per_s)
        spoken, self._billed = each.audio_out + due - self._billed, due
        heard, said = each.text_in + each.audio_in, each.text_out + spoken
        return {
            "total_tokens": heard + said,
            "input_tokens": heard,
            "output_tokens": said,
            "input_token_details": {
                "text_tokens": each.text_in,
                "audio_tokens": each.audio_in,
                "cached_tokens": 0,
                "cached_tokens_details": {"text_tokens": 0, "audio_tokens": 0},
            },
            "output_token_details": {"text_tokens": each.text_out, "audio_tokens": spoken},
        }


@dataclass
class Response:
    """One response: ``steps`` are its events in order, ``done`` is the last one."""

    audio: bytes
    text: str
    calls: tuple[ToolUse, ...] = ()
    calls_first: bool = False
    delta_ms: int = 100
    is_paced: bool = False
    number: int = field(default_factory=lambda: next(_numbers))
    output: list[Event] = field(default_factory=list)

    @property
    def id(self) -> str:
        return f"resp_{self.number}"

    @property
    def item(self) -> str:
        """The id of what it says."""
        return f"item_a{self.number}"

    def call_id(self, index: int) -> str:
        return f"call_{self.number}_{index}"

    def created(self) -> Event:
        return {"type": "response.created", "response": {"id": self.id, "status": "in_progress"}}

    def steps(self, finish: bool = True) -> Iterator[Step]:
        """All events but the first and the last; unfinished, it breaks off in its speech."""
        speech = self._speech(finish) if self.audio or self.text or not self.calls else iter(())
        uses = (step for index, use in enumerate(self.calls) for step in self._use(index, use))
        yield from (*uses, *speech) if self.calls_first else self._both(speech, uses)

    def _both(self, speech: Iterator[Step], uses: Iterator[Step]) -> Iterator[Step]:
        yield from speech
        yield from uses

    def done(self, status: str, usage: dict[str, Any], details: Event | None = None) -> Event:
        response = {"id": self.id, "status": status, "output": self.output, "usage": usage}
        return {"type": "response.done", "response": {**response, "status_details": details}}

    def _speech(self, finish: bool) -> Iterator[Step]:
        index = len(self.output)
        place = {"response_id": self.id, "output_index": index}
        at = {**place, "item_id": self.item, "content_index": 0}
        message = {"id": self.item, "object": "realtime.item", "type": "message", "role": "assistant"}
        begun = {**message, "status": "in_progress", "content": []}
        yield 0, {"type": "response.output_item.added", **place, "item": begun}
        yield 0, {"type": "response.output_audio_transcript.delta", **at, "delta": self.text}
        size = self.delta_ms * BYTES_PER_MS
        for start in range(0, len(self.audio), size):
            piece = self.audio[start : start + size]
            yield len(piece) / BYTES_PER_MS, delta(self.id, self.item, piece, index)
        if not finish:
            return
        content = [{"type": "output_audio", "transcript": self.text}]
        whole = {**message, "status": "completed", "content": content}
        self.output.append(whole)
        yield 0, {"type": "response.output_audio.done", **at}
        yield 0, {"type": "response.output_audio_transcript.done", **at, "transcript": self.text}
        yield 0, {"type": "response.output_item.done", **place, "item": whole}

    def _use(self, number: int, use: ToolUse) -> Iterator[Step]:
        place = {"response_id": self.id, "output_index": len(self.output)}
        item, call_id = f"item_f{self.number}_{number}", self.call_id(number)
        about = {"id": item, "object": "realtime.item", "type": "function_call", "call_id": call_id}
        begun = {**about, "name": use.name, "status": "in_progress", "arguments": ""}
        whole = {**begun, "status": "completed", "arguments": use.arguments}
        at = {**place, "item_id": item, "call_id": call_id}
        kind = "response.function_call_arguments"
        self.output.append(whole)
        yield 0, {"type": "response.output_item.added", **place, "item": begun}
        yield 0, {"type": f"{kind}.delta", **at, "delta": use.arguments}
        yield 0, {"type": f"{kind}.done", **at, "name": use.name, "arguments": use.arguments}
        yield 0, {"type": "response.output_item.done", **place, "item": whole}

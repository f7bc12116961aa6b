"""Conversation items: what a client may create, and what one is to the mind."""

from __future__ import annotations

import copy
from typing import Any

from flaskapp.localai import tokens
from flaskapp.localai.mind import Line, Speaker
from flaskapp.localai.shape import list_of, mapping, or_null, record, text, variant

Body = dict[str, Any]

_COMMON = {"id": or_null(text), "object": or_null(text), "type": text, "status": or_null(text)}
_INPUT_TEXT = record({"type": text, "text": text}, "text")
_PARTS = {
    "user": variant(
        {
            "input_text": _INPUT_TEXT,
            "input_audio": record({"type": text, "audio": text, "transcript": or_null(text)}, "audio"),
        }
    ),
    "assistant": variant({"output_text": record({"type": text, "text": text}, "text")}),
    "system": variant({"input_text": _INPUT_TEXT}),
}
_MESSAGES = {
    role: record({**_COMMON, "role": text, "content": list_of(part)}, "content")
    for role, part in _PARTS.items()
}
_CALL = record({**_COMMON, "call_id": or_null(text), "name": text, "arguments": text}, "name", "arguments")
_RESULT = record({**_COMMON, "call_id": text, "output": text}, "call_id", "output")
_CHECK = variant(
    {"message": variant(_MESSAGES, "role"), "function_call": _CALL, "function_call_output": _RESULT}
)
_SPEAKERS = {"user": Speaker.CALLER, "assistant": Speaker.AGENT, "system": Speaker.SYSTEM}


class Item:
    """One entry of a conversation: its body as the API writes it, and its sound's length.

    ``audio_ms`` is how long the caller's audio is, or how much of the agent's
    was sent (after a truncation: was heard).
    """

    def __init__(self, body: Body, audio_ms: int = 0) -> None:
        self.body = body
        self.audio_ms = audio_ms
        self.understood = ""  # what the ears made of the caller's audio, told to the client or not

    @property
    def id(self) -> str:
        return str(self.body["id"])

    @property
    def text(self) -> str:
        """What was said or written in it, "" if unknown or truncated."""
        if self.understood:
            return self.understood
        said = (part.get("text") or part.get("transcript") or "" for part in self.body.get("content", []))
        return " ".join(each for each in said if each)

    def transcribe(self, transcript: str) -> None:
        """Show the client what the ears made of the caller's audio."""
        for part in self.body["content"]:
            if part["type"] == "input_audio":
                part["transcript"] = transcript

    def truncate(self, audio_end_ms: int) -> None:
        """Only so much was heard; as in the real API the whole transcript goes."""
        self.audio_ms = audio_end_ms
        for part in self.body["content"]:
            part.pop("transcript", None)

    def snapshot(self) -> Body:
        """The body as it is now, for an event that is sent later."""
        return copy.deepcopy(self.body)

    def as_line(self) -> Line:
        kind = self.body["type"]
        if kind == "function_call":
            return Line(Speaker.CALL, self.body["arguments"], self.body["name"])
        if kind == "function_call_output":
            return Line(Speaker.RESULT, self.body["output"])
        return Line(_SPEAKERS[self.body["role"]], self.text)

    def input_tokens(self) -> tuple[int, int]:
        """(text, audio) tokens of it as input to a later response."""
        if self.audio_ms and self.body.get("role") == "user":
            return 0, tokens.of_caller_audio(self.audio_ms)
        if self.audio_ms:
            return tokens.of_text(self.text), tokens.of_agent_audio(self.audio_ms)
        written = self.text or self.body.get("arguments", "") + self.body.get("output", "")
        return tokens.of_text(written), 0


def from_client(body: Any, path: str, new_id: str) -> Item:
    """An item that a client wrote, given an id if it has none.

    Raises:
        Refused: a field is unknown or wrong; ``path`` is where the item stood.
    """
    mapping(body, path)
    _CHECK(body, path)
    whole = {**body, "id": body.get("id") or new_id, "object": "realtime.item", "status": "completed"}
    if body["type"] == "function_call":
        whole["call_id"] = body.get("call_id") or new_id.replace("item_", "call_", 1)
    return Item(copy.deepcopy(whole))


def caller_audio(item_id: str, duration_ms: int) -> Item:
    """A turn that was spoken; its transcript is not known yet."""
    content = [{"type": "input_audio", "transcript": None}]
    return Item({**_message(item_id, "user"), "status": "completed", "content": content}, duration_ms)


def agent_message(item_id: str) -> Item:
    """A reply about to be spoken or written."""
    return Item({**_message(item_id, "assistant"), "status": "in_progress", "content": []})


def agent_call(item_id: str, call_id: str, name: str, arguments: str) -> Item:
    """A function that the agent wants called."""
    about = {"id": item_id, "object": "realtime.item", "type": "function_call", "status": "in_progress"}
    return Item({**about, "call_id": call_id, "name": name, "arguments": arguments})


def _message(item_id: str, role: str) -> Body:
    return {"id": item_id, "object": "realtime.item", "type": "message", "role": role}

"""Requests to OpenAI's plain HTTP endpoints as a test's server gets them, and what is wrong about them.

Requests are held against the parameter types of the ``openai`` package, and a
field that those do not know is an offence.
"""

from __future__ import annotations

import email.parser
import email.policy
import hashlib
import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from openai.types.audio.speech_create_params import SpeechCreateParams
from openai.types.audio.transcription_create_params import TranscriptionCreateParamsNonStreaming
from openai.types.chat import ChatCompletionMessageParam
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from pydantic import TypeAdapter, ValidationError

KINDS = {
    "/audio/transcriptions": "transcribe",
    "/chat/completions": "chat",
    "/audio/speech": "speech",
    "/models": "models",
}
_chat: TypeAdapter[Any] = TypeAdapter(CompletionCreateParamsNonStreaming)
_message: TypeAdapter[Any] = TypeAdapter(ChatCompletionMessageParam)
_form = get_type_hints(TranscriptionCreateParamsNonStreaming).keys()
_speech: TypeAdapter[Any] = TypeAdapter(SpeechCreateParams)


@dataclass
class Request:
    """One request as it came."""

    kind: str
    path: str
    headers: dict[str, str]
    fields: dict[str, Any]
    file: bytes = b""
    file_name: str = ""
    file_type: str = ""
    at: float = field(default_factory=time.monotonic)
    status: int = 0  # what it was answered; 0 for nothing

    @property
    def digest(self) -> str:
        """Of the recording's sound: the same for the same recording."""
        return hashlib.sha256(self.file).hexdigest()[:16]


def parsed(path: str, headers: dict[str, str], body: bytes) -> Request:
    """A request of any kind; one whose address nobody knows has none."""
    kind = KINDS.get(path.removeprefix("/openai").removeprefix("/v1"), "")
    content_type = headers.get("content-type", "")
    if not content_type.startswith("multipart/form-data"):
        try:
            return Request(kind, path, headers, json.loads(body) if body else {})
        except ValueError:
            return Request(kind, path, headers, {"": "not JSON"})
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    request = Request(kind, path, headers, {})
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if part.get_filename():
            request.file, request.file_name, request.file_type = (
                content,
                part.get_filename(),
                part.get_content_type(),
            )
        else:
            request.fields[name] = content.decode()
    return request


def offences(request: Request) -> Iterator[str]:
    """What the types do not allow."""
    if request.kind == "transcribe":
        yield from _wrong_form(request)
    elif request.kind == "speech":
        yield from _wrong_fields(_speech, request.fields)
    elif request.kind == "chat":
        yield from _wrong_fields(_chat, request.fields)
        for each in request.fields.get("messages", []):  # which the types leave to who iterates
            yield from _wrong_fields(_message, each)
        yield from _wrong_order(request.fields.get("messages", []))
    elif not request.kind:
        yield "no such address"


def _wrong_order(messages: list[dict[str, Any]]) -> Iterator[str]:
    """Each call of a tool is answered once, right after it."""
    asked: list[str] = []
    for each in messages:
        if each["role"] == "tool":
            if each["tool_call_id"] not in asked:
                yield f"an answer to no call: {each['tool_call_id']}"
            else:
                asked.remove(each["tool_call_id"])
            continue
        yield from (f"a call without its answer: {one}" for one in asked)
        asked = [call["id"] for call in each.get("tool_calls") or []]
    yield from (f"a call without its answer: {one}" for one in asked)


def _wrong_form(request: Request) -> Iterator[str]:
    """A transcription's form, in which all values are text."""
    for name in request.fields:
        if name.removesuffix("[]") not in _form:
            yield f"unknown field {name}"
    if not request.fields.get("model"):
        yield "no model"
    if request.fields.get("response_format", "json") not in ("json", "text", "srt", "verbose_json", "vtt"):
        yield "no such response_format"
    if request.file[:4] != b"RIFF" or not request.file_name.endswith(".wav"):
        yield f"no WAV file: {request.file_name} begins with {request.file[:4]!r}"
    elif struct.unpack_from("<I", request.file, 4)[0] != len(request.file) - 8:
        yield "a WAV file of another length than it says"
    if request.file_type not in ("audio/wav", "audio/x-wav"):
        yield f"a file of type {request.file_type}"
    if len(request.file) > 25 << 20:
        yield "a file of more than 25 MB"


def _wrong_fields(adapter: TypeAdapter[Any], fields: dict[str, Any]) -> Iterator[str]:
    """Fields that the type does not know are left out of what it makes of them."""
    try:
        yield from (
            f"unknown field {name}" for name in fields.keys() - adapter.validate_python(fields).keys()
        )
    except ValidationError as error:
        yield from (f"{each['loc']} {each['msg']}" for each in error.errors())

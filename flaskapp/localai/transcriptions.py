"""POST /v1/audio/transcriptions: a WAV file in, its words out.

Source: 'Create transcription' in OpenAI's API reference.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.web_request import FileField

from flaskapp.localai import tokens
from flaskapp.localai.refusal import Refused, invalid, missing, unknown
from flaskapp.localai.session import Desk
from flaskapp.localai.stretches import Stretch
from flaskapp.phone.audio import Wav, read_wav
from flaskapp.phone.errors import AudioError

MOST_BYTES = 25 * 1024 * 1024
FORMATS = ("json", "text", "verbose_json")
# Accepted, and nothing is done about them: only English is heard.
IDLE = {
    *("language", "languages[]", "prompt", "keywords[]", "temperature", "timestamp_granularities[]"),
    *("include[]", "chunking_strategy", "timestamp_granularities", "include", "languages", "keywords"),
}


@dataclass(frozen=True)
class Order:
    """What is asked for, checked."""

    sound: Wav
    model: str
    response_format: str


async def create(request: web.Request, desk: Desk) -> web.Response:
    """The endpoint.

    Raises:
        Refused: a field, or the file, cannot be used.
        WorkerLost: the ears died over it.
    """
    order = await _order(request)
    parts = await desk.ears.hear_stretches(
        order.sound.pcm, order.sound.rate_hz, lambda: request.transport is not None
    )
    text = " ".join(words for _, words in parts if words)
    if order.response_format == "text":
        return web.Response(text=f"{text}\n")
    duration_ms = order.sound.duration_ms
    if order.response_format == "verbose_json":
        return web.json_response(_verbose(text, parts, duration_ms))
    usage = tokens.transcription_usage(order.model, duration_ms, text)
    return web.json_response({"text": text, "usage": usage})


async def _order(request: web.Request) -> Order:
    if not request.content_type.startswith("multipart/form-data"):
        raise invalid("file", "a multipart/form-data request with a file")
    try:
        form = await request.post()
    except ValueError as error:
        raise invalid("file", "a well-formed multipart/form-data request") from error
    fields = {name: value for name, value in form.items() if name != "file"}
    for name in fields:
        if name not in IDLE and name not in ("model", "response_format", "stream"):
            raise unknown(name)
    model, file = fields.get("model"), form.get("file")
    if not isinstance(model, str) or not model:
        raise missing("model")
    if not isinstance(file, FileField):
        raise missing("file")
    if fields.get("stream", "false") not in ("false", "False"):
        raise Refused("unsupported_value", "This server does not stream transcriptions.", "stream")
    wanted = fields.get("response_format", "json")
    if wanted not in FORMATS:
        raise invalid("response_format", f"one of {', '.join(FORMATS)}")
    return Order(await asyncio.to_thread(_sound, file), model, str(wanted))


def _sound(file: FileField) -> Wav:
    data = file.file.read()
    if len(data) > MOST_BYTES:
        raise Refused("file_too_large", "Maximum content size limit (26214400) exceeded.", "file", 413)
    try:
        return read_wav(data)
    except AudioError as error:
        raise Refused(
            "invalid_value", f"Audio file might be corrupted or unsupported: {error}.", "file"
        ) from error


def _verbose(text: str, parts: list[tuple[Stretch, str]], duration_ms: int) -> dict[str, Any]:
    return {
        "text": text,
        "language": "english",
        "duration": duration_ms / 1000,
        "segments": [_segment(number, part, words) for number, (part, words) in enumerate(parts) if words],
        "usage": {"type": "duration", "seconds": duration_ms / 1000},
    }


def _segment(number: int, part: Stretch, words: str) -> dict[str, Any]:
    """The ears do not tell how sure they are: those fields are zero."""
    return {
        "id": number,
        "seek": 0,
        "start": part.start_ms / 1000,
        "end": part.end_ms / 1000,
        "text": words,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": 0.0,
        "compression_ratio": 0.0,
        "no_speech_prob": 0.0,
    }

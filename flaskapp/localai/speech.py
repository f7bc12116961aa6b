"""POST /v1/audio/speech: a text in, espeak-ng's voice out.

Source: 'Create speech' in OpenAI's API reference.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from flaskapp.localai.chat import body_of
from flaskapp.localai.refusal import invalid
from flaskapp.localai.session import Desk
from flaskapp.localai.shape import either, number, one_of, record, text
from flaskapp.phone.audio import resample_pcm16, write_wav

RATE_HZ = 24_000
MOST_CHARACTERS = 4096
TYPES = {"wav": "audio/wav", "pcm": "audio/pcm"}
_REQUEST = record(
    {
        "model": text,
        "input": text,
        "voice": either(record({"id": text}, "id"), text),
        "instructions": text,
        "response_format": text,
        "speed": number(0.25, 4.0),
        "stream_format": one_of("audio"),
    },
    "model",
    "input",
    "voice",
)


async def create(request: web.Request, desk: Desk) -> web.Response:
    """The endpoint.

    Raises:
        Refused: the request is not one, or asks for what there is not.
        WorkerLost: the voice died over it.
    """
    asked = await body_of(request)
    _REQUEST(asked, "")
    wanted = asked.get("response_format", "mp3")
    if wanted not in TYPES:
        raise invalid("response_format", "wav or pcm, which is all that this server makes")
    if not asked["input"].strip() or len(asked["input"]) > MOST_CHARACTERS:
        raise invalid("input", f"a text of 1 to {MOST_CHARACTERS} characters")
    voice = asked["voice"]["id"] if isinstance(asked["voice"], dict) else asked["voice"]
    speech = await desk.voice.speak(asked["input"], voice, asked.get("speed", 1.0))
    pcm = await asyncio.to_thread(resample_pcm16, speech.pcm, speech.rate_hz, RATE_HZ)
    return web.Response(body=write_wav(pcm, RATE_HZ) if wanted == "wav" else pcm, content_type=TYPES[wanted])

"""What a turn would have cost: tokens, counted as OpenAI's guide describes them.

The caller's audio counts one token for 100 ms, the agent's one for 50 ms
(guide 'Managing costs', Realtime). Text counts four tokens for three words,
the usual estimate for English; there is no tokenizer here. Nothing is cached.
"""

from __future__ import annotations

import math
from typing import Any

_MS_PER_CALLER_TOKEN = 100
_MS_PER_AGENT_TOKEN = 50


def of_text(text: str) -> int:
    return math.ceil(len(text.split()) * 4 / 3)


def of_caller_audio(milliseconds: int) -> int:
    return math.ceil(milliseconds / _MS_PER_CALLER_TOKEN)


def of_agent_audio(milliseconds: int) -> int:
    return math.ceil(milliseconds / _MS_PER_AGENT_TOKEN)


def response_usage(text_in: int, audio_in: int, text_out: int, audio_out: int) -> dict[str, Any]:
    """The ``usage`` of ``response.done``."""
    return {
        "total_tokens": text_in + audio_in + text_out + audio_out,
        "input_tokens": text_in + audio_in,
        "output_tokens": text_out + audio_out,
        "input_token_details": {
            "text_tokens": text_in,
            "audio_tokens": audio_in,
            "image_tokens": 0,
            "cached_tokens": 0,
            "cached_tokens_details": {"text_tokens": 0, "audio_tokens": 0, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": text_out, "audio_tokens": audio_out},
    }


def transcription_usage(model: str, milliseconds: int, transcript: str) -> dict[str, Any]:
    """The ``usage`` of a transcription: by duration for the whisper models, else by tokens."""
    if "whisper" in model:
        return {"type": "duration", "seconds": milliseconds / 1000}
    audio, words = of_caller_audio(milliseconds), of_text(transcript)
    return {
        "type": "tokens",
        "input_tokens": audio,
        "output_tokens": words,
        "total_tokens": audio + words,
        "input_token_details": {"audio_tokens": audio, "text_tokens": 0},
    }

"""A session's settings as the GA API shapes them: defaults, and what an update may change.

Source: ``session.update`` and ``response.create`` in OpenAI's Realtime
reference; the field names are held against the ``openai`` package by a test.
"""

from __future__ import annotations

import copy
from typing import Any

from flaskapp.localai.refusal import Refused, invalid, missing
from flaskapp.localai.shape import (
    anything,
    boolean,
    either,
    integer,
    list_of,
    mapping,
    number,
    one_of,
    or_null,
    record,
    text,
    variant,
)

Settings = dict[str, Any]

SERVER_VAD = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 500,
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}
SEMANTIC_VAD = {
    "type": "semantic_vad",
    "eagerness": "auto",
    "create_response": True,
    "interrupt_response": True,
}
_TURN_DETECTION_DEFAULTS = {"server_vad": SERVER_VAD, "semantic_vad": SEMANTIC_VAD}

_FORMAT = variant(
    {
        "audio/pcm": record({"type": text, "rate": one_of(24000)}),
        "audio/pcmu": record({"type": text}),
        "audio/pcma": record({"type": text}),
    }
)
_VOICE = either(record({"id": text}, "id"), text)
_TURN_DETECTION = variant(
    {
        "server_vad": record(
            {
                "type": text,
                "threshold": or_null(number(0, 1)),
                "prefix_padding_ms": or_null(integer(0, 5000)),
                "silence_duration_ms": or_null(integer(0, 10_000)),
                "idle_timeout_ms": or_null(integer(5000, 30_000)),
                "create_response": or_null(boolean),
                "interrupt_response": or_null(boolean),
            }
        ),
        "semantic_vad": record(
            {
                "type": text,
                "eagerness": or_null(one_of("low", "medium", "high", "auto")),
                "create_response": or_null(boolean),
                "interrupt_response": or_null(boolean),
            }
        ),
    }
)
_TRANSCRIPTION = record(
    {
        "model": text,
        "language": or_null(text),
        "languages": or_null(list_of(text)),
        "prompt": or_null(text),
        "keywords": or_null(list_of(text)),
        "delay": or_null(one_of("minimal", "low", "medium", "high", "xhigh")),
    }
)
_TOOL = variant(
    {"function": record({"type": text, "name": text, "description": text, "parameters": mapping}, "name")}
)
_TOOL_CHOICE = either(
    one_of("auto", "none", "required"),
    variant({"function": record({"type": text, "name": text}, "name")}),
)
_TOKENS = either(one_of("inf"), integer(1, 4096))
_MODALITIES = either(one_of(["audio"]), one_of(["text"]))
_SHARED = {  # fields that a session and a single response have in common
    "instructions": text,
    "output_modalities": _MODALITIES,
    "max_output_tokens": _TOKENS,
    "tools": list_of(_TOOL),
    "tool_choice": _TOOL_CHOICE,
    "parallel_tool_calls": or_null(boolean),
    "reasoning": or_null(record({"effort": or_null(text)})),
    "prompt": or_null(record({"id": text, "version": or_null(text), "variables": or_null(mapping)}, "id")),
}
AUDIO_INPUT_FIELDS = {
    "format": _FORMAT,
    "noise_reduction": or_null(
        record({"type": one_of("near_field", "far_field"), "strength": or_null(number(0, 1))})
    ),
    "transcription": or_null(_TRANSCRIPTION),
    "turn_detection": or_null(_TURN_DETECTION),
}
AUDIO_OUTPUT_FIELDS = {"format": _FORMAT, "voice": _VOICE, "speed": number(0.25, 1.5)}
AUDIO_FIELDS = {"input": record(AUDIO_INPUT_FIELDS), "output": record(AUDIO_OUTPUT_FIELDS)}
SESSION_FIELDS = {
    **_SHARED,
    "type": one_of("realtime"),
    "model": text,
    "audio": record(AUDIO_FIELDS),
    "include": or_null(list_of(one_of("item.input_audio_transcription.logprobs"))),
    "tracing": or_null(anything),
    "truncation": anything,
}
RESPONSE_FIELDS = {
    **_SHARED,
    "audio": record({"output": record({"format": _FORMAT, "voice": _VOICE})}),
    "conversation": one_of("auto", "none"),
    "input": list_of(mapping),
    "metadata": or_null(mapping),
}
_SESSION = record(SESSION_FIELDS)
_RESPONSE = record(RESPONSE_FIELDS)


def defaults(model: str) -> Settings:
    """What a session is before its first update: PCM at 24 kHz, server VAD on."""
    return {
        "type": "realtime",
        "model": model,
        "output_modalities": ["audio"],
        "instructions": "",
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "include": None,
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": dict(SERVER_VAD),
            },
            "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "alloy", "speed": 1.0},
        },
    }


def updated(settings: Settings, change: Any, spoken: bool) -> Settings:
    """The settings after a ``session.update``; ``spoken`` once audio was sent.

    Raises:
        Refused: any field is unknown or wrong. Then nothing at all is changed.
    """
    mapping(change, "session")
    if "type" not in change:
        raise missing("session.type")
    _SESSION(change, "session")
    if change.get("model", settings["model"]) != settings["model"]:
        raise invalid("session.model", "the model that the session was opened with")
    after = copy.deepcopy(settings)
    audio = change.get("audio", {})
    after.update({name: value for name, value in change.items() if name != "audio"})
    for side in ("input", "output"):
        after["audio"][side].update(copy.deepcopy(audio.get(side, {})))
    _complete(after["audio"])
    if spoken and after["audio"]["output"]["voice"] != settings["audio"]["output"]["voice"]:
        raise Refused(
            "cannot_update_voice",
            "Cannot update a conversation's voice if assistant audio is present.",
            "session.audio.output.voice",
        )
    return after


def response_settings(settings: Settings, request: Any) -> Settings:
    """What one response goes by: the session's settings, overridden by its request.

    Raises:
        Refused: a field of the request is unknown or wrong.
    """
    _RESPONSE(request, "response")
    merged: Settings = {"conversation": "auto", "metadata": None, "input": None, **settings}
    merged.update({name: value for name, value in request.items() if name != "audio"})
    output = {**settings["audio"]["output"], **request.get("audio", {}).get("output", {})}
    merged["audio"] = {"input": settings["audio"]["input"], "output": _with_rate(output)}
    return merged


def _complete(audio: dict[str, Any]) -> None:
    """Fill in what a client may leave out, so that the echo tells the whole truth."""
    detection = audio["input"]["turn_detection"]
    if detection is not None:
        given = {name: value for name, value in detection.items() if value is not None}
        audio["input"]["turn_detection"] = {**_TURN_DETECTION_DEFAULTS[detection["type"]], **given}
    _with_rate(audio["input"])
    _with_rate(audio["output"])


def _with_rate(side: dict[str, Any]) -> dict[str, Any]:
    if side["format"]["type"] == "audio/pcm":
        side["format"] = {"type": "audio/pcm", "rate": 24000}
    return side

"""What a carrier and an engine say on a call, as the messages that they are."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any


def _json(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode()


# --------------------------------------------------------------------- a carrier's words

START = _json(
    {
        "event": "start",
        "streamSid": "MZ1",
        "start": {
            "callSid": "CA1",
            "streamSid": "MZ1",
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        },
    }
)


def exotel_start(rate_hz: int) -> bytes:
    sound = {"encoding": "base64", "sample_rate": str(rate_hz)}
    start = {"stream_sid": "MZ1", "call_sid": "CA1", "media_format": sound}
    return _json({"event": "start", "stream_sid": "MZ1", "start": start})


def media(sound: bytes) -> bytes:
    return _json({"event": "media", "media": {"payload": base64.b64encode(sound).decode()}})


def mark_back(name: str) -> bytes:
    return _json({"event": "mark", "mark": {"name": name}})


def key(digit: str = "1") -> bytes:
    return _json({"event": "dtmf", "dtmf": {"digit": digit}})


STOP = _json({"event": "stop", "stop": {}})


# --------------------------------------------------------------------- an engine's words


def agreed(audio_format: str = "audio/pcmu") -> bytes:
    sound = {"format": {"type": audio_format}}
    turns = {
        "turn_detection": {"type": "server_vad", "silence_duration_ms": 500},
        "transcription": {"model": "t"},
    }
    return _json({"type": "session.updated", "session": {"audio": {"input": sound | turns, "output": sound}}})


def delta(sound: bytes, item: str = "a1", reply: str = "r1") -> bytes:
    text = base64.b64encode(sound).decode()
    about = {"response_id": reply, "item_id": item, "content_index": 0}
    event_id = f"event_{zlib.crc32(sound) % 10_050}"  # not quite all are of one length
    return _json({"type": "response.output_audio.delta", "event_id": event_id, **about, "delta": text})


def engine(kind: str, **more: Any) -> bytes:
    return _json({"type": kind, **more})


def reply_begins(reply: str = "r1") -> bytes:
    return engine("response.created", response={"id": reply})


def reply_ends(reply: str = "r1", status: str = "completed", tokens: int = 7) -> bytes:
    response = {"id": reply, "status": status, "usage": {"total_tokens": tokens}}
    return engine("response.done", response=response)


def speech_begins(item: str = "u1", at_ms: int = 0) -> bytes:
    return engine("input_audio_buffer.speech_started", item_id=item, audio_start_ms=at_ms)


def speech_ends(item: str = "u1", at_ms: int = 500) -> bytes:
    return engine("input_audio_buffer.speech_stopped", item_id=item, audio_end_ms=at_ms)


def agents_words(text: str, item: str = "a1", reply: str = "r1", is_final: bool = False) -> bytes:
    kind, name = ("done", "transcript") if is_final else ("delta", "delta")
    about = {"response_id": reply, "item_id": item}
    return engine(f"response.output_audio_transcript.{kind}", **about, **{name: text})


def callers_words(text: str, item: str = "u1") -> bytes:
    kind = "conversation.item.input_audio_transcription.completed"
    return engine(kind, item_id=item, transcript=text, usage={"seconds": 1})

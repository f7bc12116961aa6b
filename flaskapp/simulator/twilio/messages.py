"""Twilio's Media Streams messages: what the network sends, and a strict reading of what it gets.

Text JSON frames only; numbers are strings (Twilio, "Media Streams - WebSocket
messages"; errors 31950 and 31951).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MALFORMED, INVALID = 31950, 31951
CONNECTED = json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"})


class BadMessage(Exception):
    """The application sent what Twilio does not accept."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@dataclass(frozen=True)
class Media:
    """Audio to be played: mu-law at 8000 Hz, any length."""

    audio: bytes


@dataclass(frozen=True)
class Mark:
    """A name to be sent back when all audio before it has played."""

    name: str


@dataclass(frozen=True)
class Clear:
    """Throw away what has not been played."""


def read(text: str | bytes, stream_sid: str) -> Media | Mark | Clear:
    """One message of the application.

    Raises:
        BadMessage: 31950 for binary frames, 31951 for anything that is not a
            known event of this stream with all its fields.
    """
    if isinstance(text, bytes):
        raise BadMessage(MALFORMED, f"binary frame of {len(text)} bytes")
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadMessage(INVALID, f"not JSON: {text[:60]!r}") from error
    if not isinstance(message, dict):
        raise BadMessage(INVALID, f"not a JSON object: {text[:60]!r}")
    event = message.get("event")
    reader = _READERS.get(event) if isinstance(event, str) else None
    if reader is None:
        raise BadMessage(INVALID, f"unknown event {event!r}")
    if message.get("streamSid") != stream_sid:
        raise BadMessage(INVALID, f"{event} with streamSid {message.get('streamSid')!r}, not {stream_sid}")
    return reader(message)


def start(
    account_sid: str, call_sid: str, stream_sid: str, parameters: Mapping[str, str], sequence: int = 1
) -> str:
    """The message that opens a bidirectional stream."""
    body = {
        "accountSid": account_sid,
        "streamSid": stream_sid,
        "callSid": call_sid,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": dict(parameters),
    }
    return _event("start", sequence, stream_sid, body)


def media(stream_sid: str, sequence: int, chunk: int, timestamp_ms: int, audio: bytes) -> str:
    """20 ms of the caller; written out by hand, as it is sent fifty times a second for every call."""
    payload = base64.b64encode(audio).decode()
    return (
        f'{{"event":"media","sequenceNumber":"{sequence}","streamSid":"{stream_sid}","media":'
        f'{{"track":"inbound","chunk":"{chunk}","timestamp":"{timestamp_ms}","payload":"{payload}"}}}}'
    )


def dtmf(stream_sid: str, sequence: int, digit: str) -> str:
    """One key that the caller pressed."""
    return _event("dtmf", sequence, stream_sid, {"track": "inbound_track", "digit": digit})


def mark(stream_sid: str, sequence: int, name: str) -> str:
    """A mark going back."""
    return _event("mark", sequence, stream_sid, {"name": name})


def stop(account_sid: str, call_sid: str, stream_sid: str, sequence: int) -> str:
    """The stream's last message, sent when the call ends or is taken elsewhere."""
    return _event("stop", sequence, stream_sid, {"accountSid": account_sid, "callSid": call_sid})


def _event(event: str, sequence: int, stream_sid: str, body: Mapping[str, Any]) -> str:
    message = {"event": event, "sequenceNumber": str(sequence), "streamSid": stream_sid, event: body}
    return json.dumps(message, separators=(",", ":"))


def _read_media(message: dict[str, Any]) -> Media:
    payload = _field(message, "media", "payload")
    try:
        audio = base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadMessage(INVALID, f"media payload is not base64: {payload[:40]!r}") from error
    if not audio:
        raise BadMessage(INVALID, "media payload is empty")
    if audio[:4] == b"RIFF":
        raise BadMessage(INVALID, "media payload has a WAV header: raw mu-law is expected")
    return Media(audio)


def _read_mark(message: dict[str, Any]) -> Mark:
    return Mark(_field(message, "mark", "name"))


def _read_clear(_: dict[str, Any]) -> Clear:
    return Clear()


def _field(message: dict[str, Any], section: str, name: str) -> str:
    body = message.get(section)
    value = body.get(name) if isinstance(body, dict) else None
    if not isinstance(value, str) or not value:
        raise BadMessage(INVALID, f"{section} without {section}.{name}")
    return value


_READERS: dict[str, Callable[[dict[str, Any]], Media | Mark | Clear]] = {
    "media": _read_media,
    "mark": _read_mark,
    "clear": _read_clear,
}

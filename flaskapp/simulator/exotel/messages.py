"""Exotel's stream messages: what the network writes, in either spelling, and a reading of what it gets.

Text JSON frames; audio is raw 16-bit little-endian PCM, mono (Exotel, "Stream and Voicebot
applet"; exotel/Agent-Stream, ``docs/AGENTSTREAM_WSS_PROTOCOL.md``).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from flaskapp.simulator.spec import Spelling

CONNECTED = json.dumps({"event": "connected"})
EVENTS = ("media", "mark", "clear")
_MISSING = object()


class Unreadable(Exception):
    """A message of which nothing can be done; ``kind`` is the rule that it breaks."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text


@dataclass(frozen=True)
class Received:
    """One message of the application; numbers are None where they are missing or none.

    ``flaws``: fields that are there in both spellings and do not agree.
    """

    event: str
    audio: bytes = b""
    name: str = ""
    sequence: int | None = None
    chunk: int | None = None
    timestamp_ms: int | None = None
    flaws: tuple[str, ...] = ()


class Writing:
    """How this network spells its fields and writes its numbers."""

    def __init__(self, spelling: Spelling = "snake", numbers: Literal["", "int", "text"] = "") -> None:
        self._is_camel = spelling == "camel"
        self._as_text = numbers == "text" or (not numbers and self._is_camel)
        self._as_shown = not numbers  # the pages show some numbers as text even among numbers

    def start(
        self, account_sid: str, call_sid: str, stream_sid: str, rate_hz: int, about: Mapping[str, Any]
    ) -> str:
        """The message that opens a stream; ``about``: from, to, custom_parameters."""
        media_format = self._named(
            encoding="base64",
            sample_rate=str(rate_hz) if self._as_shown else self._number(rate_hz),
            bit_rate=f"{rate_hz * 16 // 1000}kbps",
        )
        body = self._named(
            stream_sid=stream_sid,
            call_sid=call_sid,
            account_sid=account_sid,
            **about,
            media_format=media_format,
        )
        return self._event("start", 1, stream_sid, body)

    def media(self, stream_sid: str, sequence: int, chunk: int, timestamp_ms: int, pcm: bytes) -> str:
        """100 ms of the caller."""
        body = {
            "chunk": self._number(chunk),
            "timestamp": str(timestamp_ms) if self._as_shown else self._number(timestamp_ms),
            "payload": base64.b64encode(pcm).decode(),
        }
        return self._event("media", sequence, stream_sid, body)

    def dtmf(self, stream_sid: str, sequence: int, digit: str, duration_ms: int = 120) -> str:
        """One key that the caller pressed."""
        duration = str(duration_ms) if self._as_shown else self._number(duration_ms)
        return self._event("dtmf", sequence, stream_sid, {"digit": digit, "duration": duration})

    def mark(self, stream_sid: str, sequence: int, name: str) -> str:
        """A mark going back."""
        return self._event("mark", sequence, stream_sid, {"name": name})

    def stop(self, account_sid: str, call_sid: str, stream_sid: str, sequence: int, reason: str) -> str:
        """The stream's last message; ``reason``: callended or stopped."""
        body = self._named(call_sid=call_sid, account_sid=account_sid, reason=reason)
        return self._event("stop", sequence, stream_sid, body)

    def _event(self, event: str, sequence: int, stream_sid: str, body: Mapping[str, Any]) -> str:
        head = self._named(sequence_number=self._number(sequence), stream_sid=stream_sid)
        return json.dumps({"event": event, **head, event: body}, separators=(",", ":"))

    def _named(self, **fields: Any) -> dict[str, Any]:
        """Our names as this network spells them; what is inside a value keeps its own."""
        return {camel(name): value for name, value in fields.items()} if self._is_camel else fields

    def _number(self, number: int) -> int | str:
        return str(number) if self._as_text else number


def camel(name: str) -> str:
    """``sequence_number`` as ``sequenceNumber``."""
    first, *others = name.split("_")
    return first + "".join(word.title() for word in others)


def read(data: str | bytes, stream_sid: str) -> Received:
    """One message of the application.

    Raises:
        Unreadable: of kind "binary", "json", "event", "stream", "payload" or "name".
    """
    if isinstance(data, bytes):
        raise Unreadable("binary", f"binary frame of {len(data)} bytes")
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Unreadable("json", f"not JSON: {data[:60]!r}") from error
    event = message.get("event") if isinstance(message, dict) else None
    if event not in EVENTS:
        raise Unreadable("event", f"unknown event {event!r}")
    _check_stream(message, event, stream_sid)
    body = message.get(event)
    body = body if isinstance(body, dict) else {}
    flaws = [name for name in ("sequence_number",) if _field(message, name) is _MISSING]
    return Received(
        event,
        audio=_audio(body) if event == "media" else b"",
        name=_name(body) if event == "mark" else "",
        sequence=_whole(_field(message, "sequence_number")),
        chunk=_whole(body.get("chunk")),
        timestamp_ms=_whole(body.get("timestamp")),
        flaws=tuple(flaws),
    )


def _check_stream(message: dict[str, Any], event: str, stream_sid: str) -> None:
    """At least one spelling of the stream's id, and each that is there is ours."""
    told = {message[name] for name in ("stream_sid", "streamSid") if isinstance(message.get(name), str)}
    if told != {stream_sid}:
        raise Unreadable("stream", f"{event} for the stream {' and '.join(sorted(told)) or 'of nobody'}")


def _field(message: dict[str, Any], name: str) -> Any:
    """A field in either spelling; None without one, ``_MISSING`` where the two differ."""
    told = [message[each] for each in (name, camel(name)) if each in message]
    if len(told) == 2 and _whole(told[0]) != _whole(told[1]):
        return _MISSING
    return told[0] if told else None


def _whole(value: Any) -> int | None:
    """A number written as one or as text."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 16:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _audio(body: dict[str, Any]) -> bytes:
    payload = body.get("payload")
    if not isinstance(payload, str) or not payload:
        raise Unreadable("payload", "media without media.payload")
    try:
        audio = base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unreadable("payload", f"media.payload is not base64: {payload[:40]!r}") from error
    if audio[:4] == b"RIFF":
        raise Unreadable("payload", "media.payload has a WAV header: raw PCM is expected")
    return audio


def _name(body: dict[str, Any]) -> str:
    name = body.get("name")
    if not isinstance(name, str) or not name:
        raise Unreadable("name", "mark without mark.name")
    return name

"""Twilio Media Streams on the wire, both ways.

Source: Twilio's "Media Streams - WebSocket messages". Numbers arrive as
strings; fields are added without notice; audio is mu-law at 8 kHz in base64,
20 ms a message, though no size is promised.
"""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec

from flaskapp.phone import events as ev
from flaskapp.phone.audio import MULAW_BYTES_PER_MS
from flaskapp.phone.carriers.base import NOTHING, Number, Repeats, unexpected
from flaskapp.phone.payloads import SHORT, base64_size, unquoted

FORMATS = {("audio/x-mulaw", "8000", "1"): "audio/pcmu"}
LONGEST_TEXT = 500
MAX_PAYLOAD = 10_664  # base64 of a second of mu-law, in whole groups of four


class _MediaFormat(msgspec.Struct, gc=False):  # names are spelt as Twilio spells them
    encoding: str = ""
    sampleRate: str | int | float = ""
    channels: str | int | float = 1


class _Start(msgspec.Struct, gc=False):
    callSid: str = ""
    streamSid: str | None = ""
    accountSid: str | None = ""
    mediaFormat: _MediaFormat | None = None
    customParameters: dict[str, Any] | None = None


class _Media(msgspec.Struct, gc=False):
    payload: str
    chunk: Number = None


class _Mark(msgspec.Struct, gc=False):
    name: str = ""


class _Dtmf(msgspec.Struct, gc=False):
    digit: str | int = ""


class _Text(msgspec.Struct, gc=False):
    body: str


class _TextMessage(msgspec.Struct, gc=False):
    event: Literal["text"]
    text: _Text


class _Message(msgspec.Struct, gc=False):
    event: str
    streamSid: str | None = ""
    media: _Media | None = None
    start: _Start | None = None
    mark: _Mark | None = None
    dtmf: _Dtmf | None = None


class _MediaMessage(msgspec.Struct, gc=False):
    event: Literal["media"]
    media: _Media


_decode = msgspec.json.Decoder(_Message).decode
_decode_text = msgspec.json.Decoder(_TextMessage).decode
_decode_media = msgspec.json.Decoder(_MediaMessage).decode
_KNOWN = {"connected", "start", "media", "dtmf", "mark", "stop"}


class TwilioStream:
    """The codec of one Twilio media stream."""

    __slots__ = ("_media_head", "_repeats", "_stream", "around")

    name = "twilio"
    formats: tuple[str, ...] = ("audio/pcmu",)
    takes_orders = True

    def __init__(self) -> None:
        self._media_head = b""
        self.around = b"", b""
        self._stream = b'""'
        self._repeats = Repeats()

    def decode(self, message: bytes) -> ev.Event | None:
        """One of connected, start, media, dtmf, mark, stop; others are ignored."""
        if (audio := self.audio(message)) is not None:
            return None if audio is NOTHING else audio
        try:
            parsed = _decode(message)
        except msgspec.ValidationError:
            return unexpected(message, _KNOWN)
        except (ValueError, RecursionError):  # no JSON, no UTF-8, a tower of brackets
            return ev.Malformed("carrier", "message")
        if parsed.event == "media":
            return ev.Malformed("carrier", "message" if parsed.media is None else "audio")
        return self._rare(parsed)

    def audio(self, message: bytes) -> ev.CallerAudio | None:
        """A media message, read without looking at what else it says."""
        try:
            media = _decode_media(message).media
            payload = media.payload.encode()
            # As ``base64_size`` does it.
            size = len(unquoted(b'"' + payload + b'"')) if len(payload) < SHORT else base64_size(payload)
        except (ValueError, RecursionError):  # msgspec's errors are such, too
            return None
        if (size + 2) // 3 * 4 != len(payload):
            return None
        # Nothing is no audio: it would pass every limit that counts milliseconds.
        if not size or self._repeats.has(media.chunk, payload):
            return NOTHING
        return ev.CallerAudio(payload, size / MULAW_BYTES_PER_MS)

    def _rare(self, parsed: _Message) -> ev.Event | None:
        if parsed.event == "start":
            return self._started(parsed)
        if parsed.event == "mark" and parsed.mark is not None:
            return ev.MarkReached(parsed.mark.name)
        if parsed.event == "dtmf" and parsed.dtmf is not None:
            return ev.Digit(str(parsed.dtmf.digit))
        if parsed.event == "stop":
            return ev.StreamStopped()
        return ev.Malformed("carrier", "message") if parsed.event in ("mark", "dtmf") else None

    def _started(self, parsed: _Message) -> ev.Event:
        start = parsed.start
        if start is None or not (stream_id := start.streamSid or parsed.streamSid):
            return ev.Malformed("carrier", "message")
        if not self._media_head:  # a second start must not redirect the first one's audio
            self._stream = json.dumps(stream_id).encode()
            self._media_head = b'{"event":"media","streamSid":' + self._stream + b',"media":{"payload":"'
            self.around = self._media_head, b'"}}'
        sound = start.mediaFormat or _MediaFormat()
        media_format = (sound.encoding, _whole(sound.sampleRate), _whole(sound.channels))
        return ev.StreamStarted(
            stream_id,
            start.callSid,
            FORMATS.get(media_format, ""),
            account_id=start.accountSid or "",
            parameters={name: str(value) for name, value in (start.customParameters or {}).items()},
            carrier=self.name,
        )

    def media(self, payload: bytes) -> list[bytes]:
        """Audio in messages of a second at most: Twilio names no limit, so stay far below any."""
        if len(payload) <= MAX_PAYLOAD:
            return [self._media_head + payload + b'"}}']
        parts = (payload[at : at + MAX_PAYLOAD] for at in range(0, len(payload), MAX_PAYLOAD))
        return [self._media_head + part + b'"}}' for part in parts]

    def mark(self, name: str) -> bytes:
        return b'{"event":"mark","streamSid":' + self._stream + b',"mark":{"name":"' + name.encode() + b'"}}'

    def clear(self) -> bytes:
        return b'{"event":"clear","streamSid":' + self._stream + b"}"


class BrowserStream(TwilioStream):
    """The browser phone's: Twilio's messages, and ``text`` for what is typed; it dials nobody."""

    __slots__ = ()

    name = "browser"
    takes_orders = False

    def decode(self, message: bytes) -> ev.Event | None:
        """As Twilio's, and ``{"event":"text","streamSid":...,"text":{"body":"..."}}``."""
        event = super().decode(message)
        return _typed(message) if event is None else event


def _typed(message: bytes) -> ev.Typed | None:
    """What was typed, on one line; None where the message is another."""
    try:
        body = _decode_text(message).text.body
    except (ValueError, RecursionError):
        return None
    text = " ".join("".join(each if each.isprintable() else " " for each in body).split())
    return ev.Typed(text[:LONGEST_TEXT]) if text else None


def _whole(number: str | int | float | None) -> str:
    return str(number).removesuffix(".0")

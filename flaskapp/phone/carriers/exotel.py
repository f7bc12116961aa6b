"""Exotel's AgentStream on the wire, both ways: the Voicebot and the Stream applet.

Source: Exotel's "AgentStream WSS protocol" and "Stream & Voicebot applet".
Names come in snake_case or in camelCase, numbers as text or as numbers, audio
as 16-bit little-endian PCM at 8, 16 or 24 kHz, some 100 ms a message. What is
sent must come in multiples of 320 bytes, 3,200 to 100,000 of them; less leaves
gaps, more runs into timeouts. Which of the other fields Exotel needs its pages
do not agree on, so it gets all of them, in both spellings.
"""

from __future__ import annotations

import binascii
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from flaskapp.phone import events as ev
from flaskapp.phone.audio import mulaw_to_pcm16, pcm16_to_mulaw
from flaskapp.phone.carriers.base import NOTHING, Number, Repeats, unexpected
from flaskapp.phone.payloads import base64_size
from flaskapp.phone.resampling import Resampler

CHUNK_UNIT = 320
MIN_CHUNK, MAX_CHUNK = 3200, 100_000
ENGINE_RATE_HZ = 24_000


class _MediaFormat(msgspec.Struct, gc=False):
    encoding: str | None = ""
    sample_rate: Number = None
    sampleRate: Number = None


class _Start(msgspec.Struct, gc=False):
    stream_sid: Number = None
    streamSid: Number = None
    call_sid: Number = None
    callSid: Number = None
    account_sid: Number = None
    accountSid: Number = None
    from_: Number = msgspec.field(default=None, name="from")
    to: Number = None
    custom_parameters: Any = None
    customParameters: Any = None
    media_format: _MediaFormat | None = None
    mediaFormat: _MediaFormat | None = None


class _Media(msgspec.Struct, gc=False):
    payload: str | None = None
    Payload: str | None = None
    chunk: Number = None

    @property
    def is_silent(self) -> bool:
        """Whether it does not even say that there is no sound."""
        return self.payload is None and self.Payload is None


class _Mark(msgspec.Struct, gc=False):
    name: Number = ""


class _Dtmf(msgspec.Struct, gc=False):
    digit: Number = None


class _Message(msgspec.Struct, gc=False):
    event: str
    stream_sid: Number = None
    streamSid: Number = None
    media: _Media | None = None
    start: _Start | None = None
    mark: _Mark | None = None
    dtmf: _Dtmf | None = None
    stop: Any = None


class _MediaMessage(msgspec.Struct, gc=False):
    event: str
    media: _Media


_decode = msgspec.json.Decoder(_Message).decode
_decode_media = msgspec.json.Decoder(_MediaMessage).decode
_KNOWN = {"connected", "start", "media", "dtmf", "mark", "stop"}


@dataclass(frozen=True)
class _Sound:
    """How a stream sounds: the engine's format for it, and whether a byte or two make a sample."""

    audio_format: str
    rate_hz: int
    width: int = 2
    silence: bytes = b"\0"

    @property
    def bytes_per_s(self) -> int:
        return self.rate_hz * self.width


_TELEPHONE = _Sound("audio/pcmu", 8000)
_SOUNDS = {
    ("pcm", "8000"): _TELEPHONE,
    ("pcm", "16000"): _Sound("audio/pcm", 16_000),
    ("pcm", "24000"): _Sound("audio/pcm", 24_000),
    ("mulaw", "8000"): _Sound("audio/pcmu", 8000, width=1, silence=b"\xff"),
}
# "base64" is how it travels, not how it sounds; a page that claims mu-law as the default is alone with that.
_KINDS = dict.fromkeys(("", "base64", "raw", "x-raw", "l16", "x-l16", "pcm", "x-pcm", "pcm16", "slin"), "pcm")
_KINDS |= dict.fromkeys(("mulaw", "x-mulaw", "mu-law", "ulaw", "pcmu"), "mulaw")


class ExotelStream:
    """The codec of one Exotel stream.

    Args:
        sample_rate_hz: of a stream whose start does not say it; 8000, 16000 or 24000.
        chunk_bytes: of PCM in each message that we send; a multiple of 320, 3200 to 100000.
    """

    name = "exotel"
    formats: tuple[str, ...] = ("audio/pcmu", "audio/pcm")
    takes_orders = False
    lead_s = 0.3
    around = b"", b""

    def __init__(self, sample_rate_hz: int = 8000, chunk_bytes: int = MIN_CHUNK) -> None:
        if chunk_bytes % CHUNK_UNIT or not MIN_CHUNK <= chunk_bytes <= MAX_CHUNK:
            raise ValueError(f"chunks of {chunk_bytes} bytes are none that Exotel takes")
        self._rate_hz, self._chunk_bytes = sample_rate_hz, chunk_bytes
        self._stream = b""  # how each message names it, once it is known
        self._repeats = Repeats()
        self._uncounted_ms = 0.0  # heard, but still held back by the filter
        self._held = bytearray()
        self._half = b""  # of a sample whose other byte is in the engine's next message
        self._sent_messages = self._sent_chunks = self._sent_bytes = 0
        self._tune(_SOUNDS.get(("pcm", str(sample_rate_hz)), _TELEPHONE))

    def _tune(self, sound: _Sound) -> None:
        self._sound = sound
        self._from_carrier: Callable[[bytes], bytes] | None = None
        self._to_carrier: Callable[[bytes], bytes] | None = None
        self._filter: Resampler | None = None
        if sound.audio_format == "audio/pcmu" and sound.width == 2:
            self._from_carrier, self._to_carrier = pcm16_to_mulaw, mulaw_to_pcm16
        elif sound.rate_hz != ENGINE_RATE_HZ and sound.width == 2:
            self._from_carrier = Resampler(sound.rate_hz, ENGINE_RATE_HZ).feed
            self._filter = Resampler(ENGINE_RATE_HZ, sound.rate_hz)
            self._to_carrier = self._filter.feed

    @property
    def bytes_per_s(self) -> int:
        return self._sound.bytes_per_s

    # ------------------------------------------------------------------ in

    def decode(self, message: bytes) -> ev.Event | None:
        """One of connected, start, media, dtmf, mark, stop; others are ignored."""
        if (audio := self.audio(message)) is not None:
            return None if audio is NOTHING else audio
        try:
            parsed = _decode(message)
        except msgspec.ValidationError:
            odd = _odd_start(message)
            return unexpected(message, _KNOWN) if odd is None else self._started(odd)
        except (ValueError, RecursionError):  # no JSON, no UTF-8, a tower of brackets
            return ev.Malformed("carrier", "message")
        if parsed.event == "media":
            return ev.Malformed(
                "carrier", "message" if parsed.media is None or parsed.media.is_silent else "audio"
            )
        return self._rare(parsed)

    def audio(self, message: bytes) -> ev.CallerAudio | None:
        """A media message, read without looking at what else it says."""
        try:
            parsed = _decode_media(message)
            text = _sound_in(parsed.media)
            payload = text.encode("ascii")
            size = base64_size(payload)
        except (ValueError, RecursionError):  # msgspec's errors are such, too
            return None
        if parsed.event != "media" or parsed.media.is_silent or size % self._sound.width:
            return None
        # Nothing is no audio: it would pass every limit that counts milliseconds.
        if not size or self._repeats.has(parsed.media.chunk, payload):
            return NOTHING
        return self._heard(payload, size * 1000 / self._sound.bytes_per_s)

    def _heard(self, payload: bytes, duration_ms: float) -> ev.CallerAudio:
        """The same in the engine's format."""
        if self._from_carrier is None:
            return ev.CallerAudio(payload, duration_ms)
        sound = self._from_carrier(binascii.a2b_base64(payload))
        self._uncounted_ms += duration_ms
        if not sound:  # all of it is still in the filter: its time is told with what comes out next
            return NOTHING
        duration_ms, self._uncounted_ms = self._uncounted_ms, 0.0
        return ev.CallerAudio(binascii.b2a_base64(sound, newline=False), duration_ms)

    def _rare(self, parsed: _Message) -> ev.Event | None:
        if parsed.event == "start":
            return self._started(parsed)
        if parsed.event == "mark" and parsed.mark is not None:
            return ev.MarkReached(_text(parsed.mark.name))
        if parsed.event == "dtmf" and parsed.dtmf is not None:
            return ev.Digit(_text(parsed.dtmf.digit))
        if parsed.event == "stop":
            reason = parsed.stop.get("reason") if isinstance(parsed.stop, dict) else None
            return ev.StreamStopped(reason if isinstance(reason, str) else "")
        return ev.Malformed("carrier", "message") if parsed.event in ("mark", "dtmf") else None

    def _started(self, parsed: _Message) -> ev.Event:
        start = parsed.start or _Start()
        call_sid = _text(start.call_sid, start.callSid)
        # One without a name is the only one of its call, for all we know.
        stream_id = _text(start.stream_sid, start.streamSid, parsed.stream_sid, parsed.streamSid) or call_sid
        if not stream_id:
            return ev.Malformed("carrier", "message")
        sound = self._sound_of(start.media_format or start.mediaFormat or _MediaFormat())
        if not self._stream:  # a second start must not redirect the first one's audio, nor bend it
            name = json.dumps(stream_id).encode()
            self._stream = b',"stream_sid":' + name + b',"streamSid":' + name
            if sound is not None and sound != self._sound:
                self._tune(sound)
        given = start.custom_parameters or start.customParameters
        return ev.StreamStarted(
            stream_id,
            call_sid,
            sound.audio_format if sound else "",
            sample_rate_hz=sound.rate_hz if sound else self._rate_hz,
            account_id=_text(start.account_sid, start.accountSid),
            caller=_text(start.from_),
            called=_text(start.to),
            parameters={name: str(value) for name, value in given.items()} if isinstance(given, dict) else {},
            carrier=self.name,
        )

    def _sound_of(self, told: _MediaFormat) -> _Sound | None:
        """What the start says of the sound, else what we were told beforehand; None: we have no equal."""
        rate = _text(told.sample_rate, told.sampleRate) or str(self._rate_hz)
        encoding = (told.encoding or "").lower().partition(";")[0].strip().removeprefix("audio/")
        kind = _KINDS.get(encoding, "")
        return _SOUNDS.get((kind, rate))

    # ------------------------------------------------------------------ out

    def media(self, payload: bytes) -> list[bytes]:
        """Whole chunks as messages, unpaced; the remainder waits for more, or for ``tail``."""
        return [self.frame(chunk) for chunk in self.chunks(payload)]

    def chunks(self, payload: bytes) -> list[bytes]:
        """The engine's audio as chunks of exactly ``chunk_bytes``; the remainder waits for more."""
        sound = binascii.a2b_base64(payload)
        if self._sound.audio_format == "audio/pcm":
            sound = self._half + sound
            whole = len(sound) & ~1
            self._half, sound = sound[whole:], sound[:whole]
        self._held += sound if self._to_carrier is None else self._to_carrier(sound)
        return self._cut()

    def _cut(self) -> list[bytes]:
        size, held = self._chunk_bytes, self._held
        end = len(held) - len(held) % size
        chunks = [bytes(held[at : at + size]) for at in range(0, end, size)]
        del held[:end]
        return chunks

    def tail(self) -> list[bytes]:
        """The remainder, padded with silence to a multiple of 320 bytes, 3200 at least."""
        if self._filter is not None:
            self._held += self._filter.flush()
        chunks = self._cut()
        if rest := bytes(self._held):
            size = max(MIN_CHUNK, -(-len(rest) // CHUNK_UNIT) * CHUNK_UNIT)
            chunks.append(rest.ljust(size, self._sound.silence))
        self._held.clear()
        self._half = b""  # half a sample at a reply's end must not shift the next reply
        return chunks

    def frame(self, chunk: bytes) -> bytes:
        """A chunk as ``media``; ``timestamp`` is the milliseconds of audio that were sent before it."""
        sent_ms = self._sent_bytes * 1000 // self._sound.bytes_per_s
        self._sent_chunks += 1
        self._sent_bytes += len(chunk)
        payload = binascii.b2a_base64(chunk, newline=False)
        counted = b'","chunk":%d,"timestamp":"%d"}}' % (self._sent_chunks, sent_ms)
        return self._beginning(b"media") + b',"media":{"payload":"' + payload + counted

    def mark(self, name: str) -> bytes:
        return self._beginning(b"mark") + b',"mark":{"name":' + json.dumps(name).encode() + b"}}"

    def clear(self) -> bytes:
        """Drops what Exotel has not played, and what is held back here."""
        self._held.clear()
        self._half = b""
        if self._filter is not None:
            self._filter.flush()
        return self._beginning(b"clear") + b"}"

    def _beginning(self, event: bytes) -> bytes:
        self._sent_messages += 1
        number = self._sent_messages
        numbers = b',"sequence_number":%d,"sequenceNumber":%d' % (number, number)
        return b'{"event":"' + event + b'"' + self._stream + numbers


def _sound_in(media: _Media) -> str:
    """Its sound as base64, by either name."""
    return media.payload if media.payload is not None else media.Payload or ""


def _text(*candidates: Number) -> str:
    """The first that says something, as text: 5, 5.0 and "5" are the same."""
    return next((str(each).removesuffix(".0") for each in candidates if each not in (None, "")), "")


def _odd_start(message: bytes) -> _Message | None:
    """A start with a field of another type than it has with Exotel: read without that field.

    None for anything else: no call is lost for what it does not need.
    """
    try:
        told = json.loads(message)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict) or told.get("event") != "start":
        return None
    start = told.get("start")
    start = start if isinstance(start, dict) else {}
    parameters = {name: start.get(name) for name in ("custom_parameters", "customParameters")}
    formats = {name: _odd_format(start.get(name)) for name in ("media_format", "mediaFormat")}
    ids = _scalars({name: told.get(name) for name in ("stream_sid", "streamSid")})
    body = {**_scalars(start), **parameters, **formats}
    return msgspec.convert({"event": "start", **ids, "start": body}, _Message)


def _odd_format(given: Any) -> dict[str, Any] | None:
    """What can be understood of a ``media_format``; a text may be the encoding's name."""
    if isinstance(given, str):
        return {"encoding": given} if given.lower() in _KINDS else None
    if not isinstance(given, dict):
        return None
    told = _scalars(given)
    if not isinstance(told.get("encoding"), str):
        told.pop("encoding", None)
    return told


def _scalars(given: dict[str, Any]) -> dict[str, Any]:
    """The texts and numbers among some fields."""
    return {name: value for name, value in given.items() if _is_scalar(value)}


def _is_scalar(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | int) and not isinstance(value, bool)

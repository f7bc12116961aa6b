"""One caller: a Twilio media stream whose frames are numbered, and what came back of them."""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from echo_engine import between_quotes
from framing import Peer

FRAME_S = 0.02
_SOUND = bytes(0x80 | at * 7 % 0x7F for at in range(154))  # a frame is 160 bytes, 6 of them its number
_HEAD = struct.Struct(">HI")
_NUMBERED = 8  # as base64


@dataclass(slots=True)
class Tally:
    """What became of the frames, of one caller or of all.

    Attributes:
        waits: seconds from sending to hearing, of the frames sent while it was measured.
        lags: seconds by which frames left later than they should have.
    """

    sent: int = 0
    heard: int = 0
    doubled: int = 0
    reordered: int = 0
    foreign: int = 0
    waits: list[float] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        for name in ("sent", "heard", "doubled", "reordered", "foreign"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.waits += other.waits
        self.lags += other.lags


class Caller(Peer):
    """Speaks Twilio's wire to an app.

    Args:
        number: of this caller; it is in every frame.
        stream: ``path``, ``call_sid`` and ``parameters`` of the media stream.
    """

    def __init__(self, number: int, stream: dict[str, Any], host: str) -> None:
        super().__init__(stream["path"], host)
        self.tally = Tally()
        self.is_measured = self.is_ready = False
        self._number, self._stream = number, stream
        self._stream_sid = f"MZ{number:032x}"
        self._sent_at: list[float] = []
        self._was_heard = bytearray()
        self._newest = -1
        self._tail = base64.b64encode(_SOUND)
        self._template = (
            b'{"event":"media","sequenceNumber":"%%d","media":{"track":"inbound","chunk":"%%d",'
            b'"timestamp":"%%d","payload":"%%s%s"},"streamSid":"%s"}'
        ) % (self._tail, self._stream_sid.encode())

    def opened(self) -> None:
        media_format = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
        start = {
            "accountSid": "AC" + 32 * "0",
            "streamSid": self._stream_sid,
            "callSid": self._stream["call_sid"],
            "tracks": ["inbound"],
            "mediaFormat": media_format,
            "customParameters": self._stream["parameters"],
        }
        connected = {"event": "connected", "protocol": "Call", "version": "1.0.0"}
        started = {"event": "start", "sequenceNumber": "1", "start": start, "streamSid": self._stream_sid}
        self.send(json.dumps(connected).encode(), json.dumps(started).encode())
        self.is_ready = True

    def speak(self, due_at: float) -> None:
        """The next frame, which was due at this time."""
        now, seq = monotonic(), len(self._sent_at)
        if self.is_measured:
            self.tally.lags.append(now - due_at)
        self._sent_at.append(now if self.is_measured else 0.0)
        self._was_heard.append(0)
        number = base64.b64encode(_HEAD.pack(self._number, seq))
        self.send(self._template % (seq + 2, seq + 1, seq * 20, number))
        self.tally.sent += 1

    def hang_up(self) -> None:
        stop = {"accountSid": "AC" + 32 * "0", "callSid": self._stream["call_sid"]}
        self.send(json.dumps({"event": "stop", "stop": stop, "streamSid": self._stream_sid}).encode())
        self.close()

    @property
    def missing(self) -> int:
        """Frames that did not come back, or not yet."""
        return self._was_heard.count(0)

    def messages(self, texts: list[bytes]) -> None:
        now = monotonic()
        for text in texts:
            payload = between_quotes(text, b'"payload"')
            if payload:
                self._hear(payload, now)
            elif b'"mark"' in text:  # nothing waits to be played: the mark returns at once
                self.send(text)

    def _hear(self, payload: bytes, now: float) -> None:
        tally = self.tally
        number, seq = _HEAD.unpack(base64.b64decode(payload[:_NUMBERED]))
        if number != self._number or seq >= len(self._sent_at) or payload[_NUMBERED:] != self._tail:
            tally.foreign += 1
            return
        if self._was_heard[seq]:
            tally.doubled += 1
            return
        self._was_heard[seq] = 1
        tally.heard += 1
        if seq < self._newest:
            tally.reordered += 1
        self._newest = max(self._newest, seq)
        if sent_at := self._sent_at[seq]:
            tally.waits.append(now - sent_at)

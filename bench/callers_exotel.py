"""An Exotel stream: 20 ms of PCM in a message; what comes back is counted in bytes, as it comes in chunks."""

from __future__ import annotations

import base64
import json
from time import monotonic
from typing import Any

from caller import FRAMES_PER_S, Caller
from peer import TEXT, Prepared, between_quotes
from picows import WSFrame, WSTransport

_SAMPLE_BYTES = 2
_CHUNK_BYTES = 3200  # the least that Exotel takes: less than this waits for more
_PATIENCE_S = 0.06  # a chunk that is later than this has left a gap

_heads = Prepared(lambda number: b'{"event":"media","sequence_number":%d,' % number)
_chunks = Prepared(lambda seq: b'"media":{"chunk":%d,"timestamp":"%d","payload":"' % (seq + 1, seq * 20))


class ExotelCaller(Caller):
    """Sound in against sound out, the wait for the first of it, gaps in it."""

    waits_once = True

    def __init__(self, stream: dict[str, Any]) -> None:
        super().__init__(stream)
        self._rate_hz = int(stream.get("sample_rate_hz") or 8000)
        self._frame_bytes = self._rate_hz // FRAMES_PER_S * _SAMPLE_BYTES
        self._bytes_per_s = self._rate_hz * _SAMPLE_BYTES
        self._stream_sid = f"{self.number:032x}"
        self._names = f'"stream_sid":"{self._stream_sid}",'.encode()
        sound = b"".join((at % 40 * 400 - 8000).to_bytes(2, "little", signed=True) for at in range(480))
        self._rest = base64.b64encode(sound[: self._frame_bytes]) + b'"}}'
        self._messages = self._sent = 0
        self._bytes_out = self._gaps = self._foreign = 0
        self._first_left_at = self._dry_at = 0.0
        self._before = b"\0"

    def opened(self) -> None:
        start = {
            "stream_sid": self._stream_sid,
            "call_sid": self.stream["call_sid"],
            "account_sid": "bench1",
            "from": "+15550001111",
            "to": "+15550002222",
            "custom_parameters": self.stream["parameters"],
            "media_format": {"encoding": "base64", "sample_rate": str(self._rate_hz), "bit_rate": "128kbps"},
        }
        self._messages = 1
        self._say({"event": "connected"})
        self._say({"event": "start", "sequence_number": 1, "stream_sid": self._stream_sid, "start": start})

    def speak(self, now: float) -> None:
        seq, messages = self._sent, self._messages + 1
        if not seq:
            self._first_left_at = now
        self._sent, self._messages = seq + 1, messages
        self.send(TEXT, _heads[messages] + self._names + _chunks[seq] + self._rest)

    def begin_turn(self) -> None:
        self._dry_at = 0.0

    def on_ws_frame(self, _transport: WSTransport, frame: WSFrame) -> None:
        self.rarely(frame, frame.get_payload_as_bytes())  # five a second

    def message(self, text: bytes) -> None:
        payload = between_quotes(text, b'"payload"')
        if payload:
            self._hear(len(payload) // 4 * 3 - payload.count(b"="), monotonic())
        elif b'"mark"' in text:
            self._messages += 1
            named = {
                "stream_sid": self._stream_sid,
                "mark": {"name": between_quotes(text, b'"name"').decode()},
            }
            self._say({"event": "mark", "sequence_number": self._messages, **named})
        elif b'"clear"' not in text:
            self._foreign += 1

    def hang_up(self) -> None:
        named = {"sequence_number": self._messages + 1, "stream_sid": self._stream_sid}
        stop = {"call_sid": self.stream["call_sid"], "account_sid": "bench1", "reason": "callended"}
        self._say({"event": "stop", **named, "stop": stop})
        self.close()

    @property
    def heard(self) -> int:
        """Frames' worth of sound."""
        return self._bytes_out // self._frame_bytes

    @property
    def missing(self) -> int:
        """Frames' worth; what does not fill a chunk is rightly held back."""
        rest = self._sent * self._frame_bytes - self._bytes_out
        return max(rest - _CHUNK_BYTES, 0) // self._frame_bytes

    def counts(self) -> dict[str, int]:
        return {
            "sent": self._sent,
            "heard": self.heard,
            "missing": self.missing,
            "foreign": self._foreign,
            "bytes_in": self._sent * self._frame_bytes,
            "bytes_out": self._bytes_out,
            "gaps": self._gaps,
        }

    def _hear(self, size: int, now: float) -> None:
        if not self._bytes_out:
            self.waits.add(now - self._first_left_at)
        if self._dry_at and now > self._dry_at + _PATIENCE_S:
            self._gaps += 1
        self._bytes_out += size
        self._dry_at = max(now, self._dry_at) + size / self._bytes_per_s

    def _say(self, message: dict[str, Any]) -> None:
        self.send(TEXT, json.dumps(message, separators=(",", ":")).encode())

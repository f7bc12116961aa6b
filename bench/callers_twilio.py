"""A Twilio media stream whose frames are numbered, and what came back of them."""

from __future__ import annotations

import base64
import binascii
import json
from collections import deque
from time import monotonic
from typing import Any

from caller import Caller
from peer import TEXT, Prepared, between_quotes
from picows import WSFrame, WSTransport

_FRAME_BYTES = 160  # three of its number, three of its caller's, and sound
_SOUND = bytes(0x80 | at * 7 % 0x7F for at in range(_FRAME_BYTES - 6))
_PER_S = 100_000  # a histogram's steps

_heads = Prepared(
    lambda number: b'{"event":"media","sequenceNumber":"%d","media":{"track":"inbound",' % number
)
_numbers = Prepared(lambda seq: base64.b64encode(seq.to_bytes(3, "big")))
_chunks = Prepared(
    lambda seq: b'"chunk":"%d","timestamp":"%d","payload":"%s' % (seq + 1, seq * 20, _numbers[seq])
)


class TwilioCaller(Caller):
    """Every frame's fate is known: each is awaited in its turn; who is late or never comes is remembered."""

    def __init__(self, stream: dict[str, Any]) -> None:
        super().__init__(stream)
        self._stream_sid = f"MZ{self.number:032x}"
        self._rest_of_sound = self.number.to_bytes(3, "big") + _SOUND
        self._tail = base64.b64encode(self._rest_of_sound)
        self._rest = self._tail + f'"}},"streamSid":"{self._stream_sid}"}}'.encode()
        self._messages = 1  # sent so far: Twilio numbers them all but the first
        self._sent = self._awaited = 0
        self._pending: deque[float] = deque()  # when those left that are awaited
        self._skipped: dict[int, float] = {}  # those that later ones have passed
        self._doubled = self._reordered = self._foreign = 0
        self._at = 0  # where, in this app's messages, the sound begins that follows a frame's number

    def opened(self) -> None:
        account, media_format = (
            "AC" + 32 * "0",
            {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        )
        start = {
            "accountSid": account,
            "streamSid": self._stream_sid,
            "callSid": self.stream["call_sid"],
            "tracks": ["inbound"],
            "mediaFormat": media_format,
            "customParameters": self.stream["parameters"],
        }
        self._say({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        self._say({"event": "start", "sequenceNumber": "1", "start": start, "streamSid": self._stream_sid})

    def speak(self, now: float) -> None:
        seq, messages = self._sent, self._messages + 1
        self._pending.append(now)
        self._sent, self._messages = seq + 1, messages
        self.send(TEXT, _heads[messages] + _chunks[seq] + self._rest)

    def on_ws_frame(self, _transport: WSTransport, frame: WSFrame) -> None:
        text = frame.get_payload_as_bytes()
        seq = self._awaited
        at = self._at
        if text.startswith(self._tail, at) and text[at - 4 : at] == _numbers[seq] and self._pending:
            self._awaited = seq + 1
            wait = monotonic() - self._pending.popleft()
            try:
                self.waits.fine[int(wait * _PER_S)] += 1
            except IndexError:
                self.waits.add(wait)
        else:
            self.rarely(frame, text)

    def message(self, text: bytes) -> None:
        now = monotonic()
        payload = between_quotes(text, b'"payload"')
        if payload:
            self._hear(payload, now)
            self._at = max(text.find(self._tail), 0)
        elif b'"mark"' in text:  # nothing waits to be played: the mark returns at once
            self._messages += 1
            mark = {"name": between_quotes(text, b'"name"').decode()}
            number = str(self._messages)
            self._say(
                {"event": "mark", "streamSid": self._stream_sid, "sequenceNumber": number, "mark": mark}
            )
        elif b'"clear"' not in text:
            self._foreign += 1

    def hang_up(self) -> None:
        stop = {"accountSid": "AC" + 32 * "0", "callSid": self.stream["call_sid"]}
        number = str(self._messages + 1)
        self._say({"event": "stop", "sequenceNumber": number, "stop": stop, "streamSid": self._stream_sid})
        self.close()

    @property
    def heard(self) -> int:
        return self._awaited - len(self._skipped)

    @property
    def missing(self) -> int:
        return len(self._pending) + len(self._skipped)

    def counts(self) -> dict[str, int]:
        return {
            "sent": self._sent,
            "heard": self.heard,
            "missing": self.missing,
            "doubled": self._doubled,
            "reordered": self._reordered,
            "foreign": self._foreign,
            "bytes_in": self._sent * _FRAME_BYTES,
            "bytes_out": (self.heard + self._doubled) * _FRAME_BYTES,
        }

    def _say(self, message: dict[str, Any]) -> None:
        self.send(TEXT, json.dumps(message, separators=(",", ":")).encode())

    def _hear(self, payload: bytes, now: float) -> None:
        """Sound that is not simply the awaited frame; some apps put several into one message."""
        try:
            sound = binascii.a2b_base64(payload)
        except ValueError:
            self._foreign += 1
            return
        for at in range(0, len(sound), _FRAME_BYTES):
            piece = sound[at : at + _FRAME_BYTES]
            seq = int.from_bytes(piece[:3], "big")
            if piece[3:] == self._rest_of_sound and seq < self._sent:
                self._account(seq, now)
            else:
                self._foreign += 1

    def _account(self, seq: int, now: float) -> None:
        if seq >= self._awaited:
            for passed in range(self._awaited, seq):
                self._skipped[passed] = self._pending.popleft()
            self._awaited = seq + 1
            self.waits.add(now - self._pending.popleft())
        elif seq in self._skipped:
            self._reordered += 1
            self.waits.add(now - self._skipped.pop(seq))
        else:
            self._doubled += 1

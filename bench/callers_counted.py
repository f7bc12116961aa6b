"""A Twilio stream to an app that resamples: its sound keeps no numbers, so that it is only counted."""

from __future__ import annotations

from typing import Any

from callers_twilio import TwilioCaller
from picows import WSFrame, WSTransport

_FRAME_BYTES = 160
_HELD_BACK = 25  # frames that filters and packets may rightly keep: half a second


class CountedCaller(TwilioCaller):
    """Speaks as every Twilio caller does; of what comes back only the amount is known."""

    waits_once = True

    def __init__(self, stream: dict[str, Any]) -> None:
        super().__init__(stream)
        self._bytes_out = 0
        self._first_left_at = 0.0

    def speak(self, now: float) -> None:
        self._first_left_at = self._first_left_at or now
        super().speak(now)
        self._pending.clear()

    def on_ws_frame(self, _transport: WSTransport, frame: WSFrame) -> None:
        self.rarely(frame, frame.get_payload_as_bytes())

    @property
    def heard(self) -> int:
        return self._bytes_out // _FRAME_BYTES

    @property
    def missing(self) -> int:
        return max(self._sent - self.heard - _HELD_BACK, 0)

    def _hear(self, payload: bytes, now: float) -> None:
        if not self._bytes_out:
            self.waits.add(now - self._first_left_at)
        self._bytes_out += len(payload) // 4 * 3 - payload.count(b"=")

    def counts(self) -> dict[str, int]:
        return super().counts() | {"missing": self.missing, "bytes_out": self._bytes_out}

"""AudioHandler: RTMTAudioHandler for Exotel's Voicebot streams, by the name that Exotel's users know.

    handler = AudioHandler("https://NAME.openai.azure.com", "gpt-realtime", "API-KEY")
    handler.serve(leg)                # blocks until the call ends; its id is what the stream's start says

Works under gevent and with plain threads, with and without a Flask app.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from typing import Any

from flaskapp.phone.carriers.exotel import ExotelStream
from flaskapp.phone.doorstep import wait_for_start
from flaskapp.phone.errors import LegClosed
from flaskapp.phone.rtmt_audio_handler import Leg, RTMTAudioHandler
from flaskapp.phone.wire import Wire

DOES_NOT_WAIT_S = 0.005


class AudioHandler(RTMTAudioHandler):
    """Joins Exotel's streams to Realtime sessions: one instance, many calls.

    Args:
        endpoint, deployment, credentials, voice_choice, ...: as ``RTMTAudioHandler`` has them.
        sample_rate_hz: of streams whose start does not say it: 8000, 16000 or 24000.
        chunk_bytes: of sound in each message to Exotel: a multiple of 320, 3200 to 100000.
    """

    def __init__(
        self,
        endpoint: Any,
        deployment: str,
        credentials: Any,
        voice_choice: str | None = None,
        *,
        sample_rate_hz: int = 8000,
        chunk_bytes: int = 3200,
        **more: Any,
    ) -> None:
        super().__init__(endpoint, deployment, credentials, voice_choice, **more)
        self._sound = (sample_rate_hz, chunk_bytes)
        ExotelStream(*self._sound)  # says at once what is wrong about them

    def serve(self, leg: Leg | Wire, call_sid: str = "", **more: Any) -> None:
        """Serve one call on this leg; blocks until the call is over and the leg closed.

        Args:
            leg: Exotel's messages as text: ``send(text)``, ``receive(timeout)``, ``close(code)``.
            call_sid: whose stream it must be; by default the call that its start names.
            more: as ``RTMTAudioHandler.serve``; ``called`` and ``caller`` are taken from the start, too.
        """
        if not call_sid:
            known = leg if isinstance(leg, Wire) else _Reread(leg)
            found = wait_for_start(known, ExotelStream(*self._sound))
            if found is None:
                return
            started, messages = found
            known.unread(messages)
            leg, call_sid = known, started.call_sid or started.stream_id
            more = {"called": started.called, "caller": started.caller, **more}
        super().serve(leg, call_sid, **{"carrier": ExotelStream(*self._sound), **more})


class _Reread:
    """A script's leg whose first messages were read by somebody else: they come once more.

    Until then it is what ``wait_for_start`` reads, message by message; from then on a leg like the script's.
    """

    def __init__(self, leg: Leg) -> None:
        self._leg = leg
        self._again: deque[str] = deque()
        self._is_at_the_door = True

    def unread(self, messages: list[bytes]) -> None:
        self._again.extend(message.decode() for message in messages)
        self._is_at_the_door = False

    def receive(self, timeout_s: float | None = None) -> Any:
        if not self._is_at_the_door:
            return self._again.popleft() if self._again else self._leg.receive(timeout_s or 0.0)
        began = time.monotonic()
        try:
            text = self._leg.receive(timeout_s or 0.0)
        except Exception as error:  # theirs: whatever it is, the leg is gone
            raise LegClosed(1006, type(error).__name__) from error
        if text is None and time.monotonic() - began < DOES_NOT_WAIT_S:
            time.sleep(DOES_NOT_WAIT_S)
        return [] if text is None else [text.encode() if isinstance(text, str) else bytes(text)]

    def send(self, text: str) -> None:
        self._leg.send(text)

    def close(self, code: int = 1000, reason: str = "") -> None:
        with contextlib.suppress(Exception):  # theirs, and it is over anyway
            self._leg.close(code)

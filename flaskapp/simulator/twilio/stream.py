"""Twilio's Media Streams on the simulated network: a frame every 20 ms, sent as it comes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiohttp

from flaskapp.simulator import media
from flaskapp.simulator.twilio import messages

CLOSE_ERROR, PROTOCOL_ERROR, OVERFLOW = 31921, 31924, 31930


class MediaStream(media.MediaStream):
    """A bidirectional ``<Stream>``; ``parameters`` are its ``<Parameter>`` children."""

    def __init__(self, *arguments: Any, parameters: Mapping[str, str], **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._parameters = parameters

    async def frame(self, sound: bytes, due: float, *, voiced: bool) -> bool:
        """Sends 20 ms of the caller; False where the server reads too slowly (31930)."""
        at_ms = max(0, round((due - self.started_at) * 1000))
        self._chunk += 1
        text = messages.media(self.stream_sid, self._next(), self._chunk, at_ms, sound)
        taken = await self._sent(text, at_ms)
        if not taken:
            self._journal.warn_once(OVERFLOW, "the server reads too slowly: audio was dropped")
        return taken

    async def digit(self, digit: str) -> None:
        """Sends a key that was pressed."""
        await self._send(messages.dtmf(self.stream_sid, self._next(), digit))

    def _greetings(self, call_sid: str) -> tuple[str, str]:
        start = messages.start(self._account_sid, call_sid, self.stream_sid, self._parameters, self._next())
        return messages.CONNECTED, start

    def _mark(self, name: str) -> str:
        return messages.mark(self.stream_sid, self._next(), name)

    def _stop(self) -> str:
        return messages.stop(self._account_sid, self._call_sid, self.stream_sid, self._next())

    async def _take(self, data: str | bytes) -> None:
        now = self._journal.clock()
        playout = self._line.playout
        try:
            message = messages.read(data, self.stream_sid)
        except messages.BadMessage as error:
            self._journal.complain(error.code, error.text)
            return
        if self._line.gone.is_set():
            return  # nobody hears it any more
        if isinstance(message, messages.Media):
            self.received_media += 1
            self.received_bytes += len(message.audio)
            playout.append(message.audio, now)
        elif isinstance(message, messages.Mark):
            playout.mark(message.name, now)
            await self._flush_marks()
            self._marks_changed.set()
        else:
            playout.clear(now)
            await self._flush_marks()

    def _told_closed(self, code: int | None) -> None:
        text = "the stream broke off (1006)" if code is None else f"the server closed the stream with {code}"
        self._journal.complain(CLOSE_ERROR, text, "warning")

    def _told_broken(self, error: aiohttp.WebSocketError) -> None:
        self._journal.complain(PROTOCOL_ERROR, f"WebSocket protocol error: {error}")

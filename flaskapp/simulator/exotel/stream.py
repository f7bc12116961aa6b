"""Exotel's streams on the simulated network: 100 ms of PCM in a message, strict rules for what comes back."""

from __future__ import annotations

from typing import Any

import aiohttp

from flaskapp.simulator import media
from flaskapp.simulator.exotel import messages
from flaskapp.simulator.exotel.address import Address
from flaskapp.simulator.exotel.messages import CONNECTED, Received, Unreadable, Writing
from flaskapp.simulator.exotel.rules import CODES, Flaw, Rules

MESSAGE_MS = 100
FRAMES = 5  # of 20 ms in a message
CALL_ENDED, STOPPED = "callended", "stopped"
AS_ENDED = (1000, 1001)  # closes by which the bot says that it is through
MOST_TOLD = 5  # of one kind and call: the others are only counted


class ExotelStream(media.MediaStream):
    """A Voicebot's stream, or a one-way Stream's, which only speaks."""

    def __init__(self, *arguments: Any, address: Address, violations: dict[str, int], **named: Any) -> None:
        super().__init__(*arguments, **named)
        encoding = self._line.playout.encoding
        self.address = address
        self.rules = Rules(encoding.rate_hz)
        self._rate_hz = encoding.rate_hz
        self._violations = violations
        self._writing = Writing(self._spec.spelling, self._spec.flow.numbers)
        self._held: list[bytes] = []
        self._breaks_at_ms: int | None = None

    def break_at(self, at_ms: int | None) -> None:
        """Has the network break the stream off then, ms after its start."""
        self._breaks_at_ms = at_ms

    async def frame(self, sound: bytes, due: float, *, voiced: bool) -> bool:
        """Takes 20 ms of the caller; with the fifth of them a message leaves."""
        self._held.append(sound)
        if len(self._held) < FRAMES:
            return True
        pcm, self._held = b"".join(self._held), []
        at_ms = self._chunk * MESSAGE_MS
        self._chunk += 1
        text = self._writing.media(self.stream_sid, self._next(), self._chunk, at_ms, pcm)
        if self._breaks_at_ms is not None and at_ms >= self._breaks_at_ms:
            self._break_off()
            return False
        taken = await self._sent(text, at_ms)
        if not taken:
            self._journal.warn_once(media.BROKE_OFF, "the server reads too slowly: audio was dropped")
        return taken

    async def digit(self, digit: str) -> None:
        """Sends a key that was pressed."""
        await self._send(self._writing.dtmf(self.stream_sid, self._next(), digit))

    def broken(self, flaw: Flaw) -> None:
        """Counts a rule that was broken; the first few of a kind are told."""
        self._violations[flaw.kind] = self._violations.get(flaw.kind, 0) + 1
        if self._violations[flaw.kind] <= MOST_TOLD:
            self._journal.complain(CODES[flaw.kind], f"{flaw.kind}: {flaw.text}")

    def _greetings(self, call_sid: str) -> tuple[str, str]:
        about = {
            "from": self._spec.from_number,
            "to": self._spec.to_number,
            "custom_parameters": self.address.parameters,
        }
        self._next()
        return CONNECTED, self._writing.start(
            self._account_sid, call_sid, self.stream_sid, self._rate_hz, about
        )

    def _mark(self, name: str) -> str:
        return self._writing.mark(self.stream_sid, self._next(), name)

    def _stop(self) -> str:
        reason = CALL_ENDED if self._line.gone.is_set() else STOPPED
        return self._writing.stop(self._account_sid, self._call_sid, self.stream_sid, self._next(), reason)

    def _break_off(self) -> None:
        self._breaks_at_ms = None
        self._line.listener = None
        self._socket.reset()

    async def _take(self, data: str | bytes) -> None:
        try:
            received = messages.read(data, self.stream_sid)
        except Unreadable as error:
            self.broken(Flaw(error.kind, error.text))
            return
        if self._line.gone.is_set():
            return  # nobody hears it any more
        if self._spec.flow.is_one_way:
            self.broken(Flaw("one-way", f"{received.event} to a stream that only speaks"))
            return
        for flaw in self.rules.check(received):
            self.broken(flaw)
        await self._obey(received)

    async def _obey(self, received: Received) -> None:
        now, playout = self._journal.clock(), self._line.playout
        if received.event == "media":
            self._play(received.audio, now)
        elif received.event == "mark":
            playout.mark(received.name, now)
            self._marks_changed.set()
        else:
            playout.clear(now, ends_chunk=True)
            self.rules.cleared(playout.ends_at or now)
        await self._flush_marks()

    def _play(self, pcm: bytes, now: float) -> None:
        playout = self._line.playout
        self.received_media += 1
        self.received_bytes += len(pcm)
        playout.append(pcm[: len(pcm) & ~1], now)
        stalled_s = self._line.stalled_s(now)
        for flaw in self.rules.came(len(pcm), now, playout.ends_at or now, stalled_s):
            self.broken(flaw)

    def _told_closed(self, code: int | None) -> None:
        if code not in AS_ENDED:
            what = "broke off" if code is None else f"was closed by the bot with {code}"
            self._journal.complain(code or media.BROKE_OFF, f"the stream {what}", "warning")

    def _told_broken(self, error: aiohttp.WebSocketError) -> None:
        self.broken(Flaw("protocol", f"WebSocket protocol error: {error}"))

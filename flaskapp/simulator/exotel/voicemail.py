"""The Voicemail applet's ear: a message lasts until its speaker is quiet."""

from __future__ import annotations

import asyncio

from flaskapp.simulator.line import FRAME_S, Line

QUIET_S, NOTHING_S, MOST_S = 2.0, 5.0, 120.0
LOOK_S = 0.05


class Voicemail:
    """Listens to the line for one message; only its length is kept."""

    def __init__(self) -> None:
        self.finished = asyncio.Event()
        self._frames = 0
        self._last_voiced: int | None = None

    @property
    def seconds(self) -> float:
        return (self._last_voiced or 0) * FRAME_S

    async def frame(self, sound: bytes, due: float, *, voiced: bool) -> bool:
        """Takes 20 ms of the caller."""
        self._frames += 1
        if voiced:
            self._last_voiced = self._frames
        quiet_s = (self._frames - (self._last_voiced or 0)) * FRAME_S
        patience_s = NOTHING_S if self._last_voiced is None else QUIET_S
        if quiet_s >= patience_s or self._frames * FRAME_S >= MOST_S:
            self.finished.set()
        return True

    async def digit(self, digit: str) -> None:
        """A key ends the message."""
        self.finished.set()

    async def recorded(self, line: Line) -> None:
        """Waits for the end of the message.

        Raises:
            HungUp: the call ended first.
        """
        while not self.finished.is_set():
            await line.hold(LOOK_S)

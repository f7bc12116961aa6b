"""The caller's telephone line: a frame every 20 ms out, the playout buffer at the ear.

One line lives from answer to hang-up; whoever serves the call at the moment
(a media stream, a recording, a menu) listens to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Protocol

from flaskapp.simulator.ear import Frame, is_voiced
from flaskapp.simulator.person import Person, Utterance
from flaskapp.simulator.playout import Playout

FRAME_S = 0.020
LATELY = 25  # frames: half a second
TOO_LATE_S = 1.0  # frames older than this are dropped, as a network drops what it cannot deliver


class HungUp(Exception):
    """The caller or the network ended the call while it was being served."""


class Listener(Protocol):
    """Takes the caller's audio, 20 ms at a time in the line's encoding, and keys."""

    async def frame(self, sound: bytes, due: float, *, voiced: bool) -> bool:
        """Takes one frame; False when it had to be dropped."""

    async def digit(self, digit: str) -> None:
        """Takes one pressed key."""


class Line:
    """The caller's end of one call."""

    def __init__(
        self,
        person: Person,
        seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_speech: Callable[[Utterance], None] = lambda _: None,
    ) -> None:
        self.person = person
        self.playout = Playout(person.encoding)
        self.frames: list[Frame] = []
        self.said = bytearray()
        self.began_at = 0.0
        self.gone = asyncio.Event()
        self.ended_by = ""
        self.ended_at = 0.0
        self.listener: Listener | None = None
        self.clock = clock
        self._seconds = seconds
        self._on_speech = on_speech
        self._heard_to = 0

    async def run(self) -> None:
        """Sends frames on absolute deadlines until the call is over.

        Each deadline is counted from the beginning, so one late frame does not
        delay the next, and no error of the timer adds up.
        """
        self.began_at = self.clock()
        count = 0
        try:
            while not self.gone.is_set():
                count += 1
                due = self.began_at + count * FRAME_S
                while (wait := due - self.clock()) > 0:
                    await asyncio.sleep(wait)
                await self._step(due)
        finally:  # whatever ended the line, nobody may go on waiting for it
            self.hang_up("network")

    def hang_up(self, who: str) -> None:
        """Ends the call: ``caller``, ``network`` (TwiML or REST) or ``limit``."""
        if not self.gone.is_set():
            self.ended_by = who
            self.ended_at = self.clock()
            self.gone.set()

    async def hold(self, seconds: float) -> None:
        """Lets time pass.

        Raises:
            HungUp: the call ended meanwhile.
        """
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.gone.wait(), max(0.0, seconds))
        if self.gone.is_set():
            raise HungUp

    def stalled_s(self, now: float) -> float:
        """How late this machine has been lately: with a frame that is overdue now, or with one just sent."""
        overdue = now - (self.began_at + (len(self.frames) + 1) * FRAME_S)
        return max(0.0, overdue, *(frame.left - frame.due for frame in self.frames[-LATELY:]))

    async def play(self, mulaw: bytes, source: str) -> None:
        """Plays one of the carrier's own sounds to the caller and returns when it has been heard.

        Raises:
            HungUp: the call ended before the sound did.
        """
        self.playout.append(self.playout.encoding.of_mulaw(mulaw), self.clock(), source)
        while (end := self.playout.ends_at) is not None and end > self.clock():
            await self.hold(end - self.clock())
        self.playout.advance(self.clock())

    async def _step(self, due: float) -> None:
        now = self.clock()
        tick = self.person.tick(now, self._agent_sounds(now), self.listener is not None)
        self.said += tick.frame
        if tick.began is not None:
            self._on_speech(tick.began)
        if tick.hang_up:
            self.hang_up("caller")
        elif now - self.began_at >= self._seconds:
            self.hang_up("limit")
        else:
            await self._send(tick.frame, tick.digit, due, now, voiced=tick.voiced)

    async def _send(self, sound: bytes, digit: str, due: float, now: float, *, voiced: bool) -> None:
        listener, taken, lost = self.listener, False, False
        if listener is not None:
            lost = now - due > TOO_LATE_S
            if not lost:
                taken = await listener.frame(sound, due, voiced=voiced)
                lost = not taken
            if digit:
                await listener.digit(digit)
        self.frames.append(Frame(due, now, taken, lost))

    def _agent_sounds(self, now: float) -> bool:
        """Whether anything audible was played since the last frame.

        The beep before a recording is no speech, but it is a sound: a person
        waits for its end as well.
        """
        self.playout.advance(now)
        since, self._heard_to = self._heard_to, self.playout.head
        thrown_away = [clear.first for clear in self.playout.cleared[-1:] if clear.first >= since]
        until = min([self._heard_to, *thrown_away])
        fresh = bytes(self.playout.audio[since:until])
        return since < until and is_voiced(fresh, self.playout.encoding)

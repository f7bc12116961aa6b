"""The fast path: audio goes from one leg to the other in the event loop's own callback.

Nearly all that comes on a live call is a slice of somebody's voice that has
only to be counted and passed on. While nobody is at work on the call, that is
done here, at once, and all that one read brought leaves in one write. What is
anything else - or comes while somebody is at work - waits in the call's inbox,
in order, for the greenlet that serves the call. Nothing in here waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from flaskapp.phone.audio import PCMU
from flaskapp.phone.call import Call
from flaskapp.phone.carriers.base import Carrier
from flaskapp.phone.engines.realtime import RealtimeSession
from flaskapp.phone.events import CallerAudio, Event, ReplyAudio
from flaskapp.phone.playback import Playback

Inbox = deque[tuple[Sequence[Event], float, Any]]


class Hears(Protocol):
    """The engine's side: where the caller's audio goes."""

    def send(self, messages: Sequence[bytes], *, droppable: bool = False) -> None: ...


class FastPath:
    """One call's.

    Args:
        inbox: what waits for the call's owner: events, when they came, the engine's leg that brought them.
        at_work: held by the call's owner.
        ring: wakes whoever works the inbox off.

    Attributes:
        leg: the engine's leg whose words count; None: there is none.
        in_s, out_s: how long the last batch took that was measured, from the carrier and to it.
        wants_in, wants_out: the next batch is to be measured.
    """

    def __init__(
        self,
        call: Call,
        carrier: Carrier,
        playback: Playback,
        inbox: Inbox,
        at_work: Any,
        ring: Callable[[], object],
        clock: Callable[[], float],
    ) -> None:
        self.leg: Hears | None = None
        self.in_s = self.out_s = 0.0
        self.wants_in = self.wants_out = True
        self._call, self._playback, self._clock = call, playback, clock
        self._from_carrier, self._append = carrier.decode, RealtimeSession().append
        self._from_engine = RealtimeSession().decode
        self._inbox, self._at_work, self._ring = inbox, at_work, ring

    def speaks(self, audio_format: str = PCMU) -> None:
        """The format that the stream's start told is the engine's, too."""
        self._from_engine = RealtimeSession(audio_format).decode

    def from_carrier(self, messages: list[bytes]) -> None:
        """What one read of the carrier's socket brought."""
        now = self._clock()
        decode, hears, append = self._from_carrier, self._call.hears, self._append
        is_free = not self._inbox and not self._at_work.locked()
        heard: list[bytes] = []
        later: list[Event] = []
        for message in messages:
            event = decode(message)
            if is_free and type(event) is CallerAudio and hears(event, now):
                heard.append(append(event.payload))
            elif event is not None:
                later.append(event)
                is_free = False
        if heard and self.leg is not None:
            self.leg.send(heard, droppable=True)
        if later:
            self._later(later, now, None)
        if self.wants_in:
            self.in_s, self.wants_in = self._clock() - now, False

    def from_engine(self, messages: list[bytes], leg: Hears) -> None:
        """What one read of an engine's socket brought."""
        if leg is not self.leg:
            return  # too late: another session, or none, is what the caller talks to
        now = self._clock()
        decode, speaks = self._from_engine, self._call.speaks
        is_free = not self._inbox and not self._at_work.locked()
        spoken: list[bytes] = []
        later: list[Event] = []
        for message in messages:
            event = decode(message)
            if is_free and type(event) is ReplyAudio and speaks(event, now):
                spoken.append(event.payload)
            elif event is not None:
                later.append(event)
                is_free = False
        if spoken:
            self._playback.play_now(spoken)
        if later:
            self._later(later, now, leg)
        if self.wants_out:
            self.out_s, self.wants_out = self._clock() - now, False

    def _later(self, events: list[Event], now: float, leg: Hears | None) -> None:
        self._inbox.append((events, now, leg))
        self._ring()

"""The fast path: audio goes from one leg to the other in the event loop's own callback.

Nearly all that comes on a live call is a slice of somebody's voice that has
only to be passed on. While nobody is at work on the call, that is done here, at
once, and all that one read brought leaves in one write; the call is told of it
before anything else happens to it, ten times a second at least. What is
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
from flaskapp.phone.engines.realtime import APPEND_HEAD, APPEND_TAIL, RealtimeSession
from flaskapp.phone.events import CallerAudio, Event
from flaskapp.phone.playback import Playback

Inbox = deque[tuple[Sequence[Event], float, Any]]


class Leg(Protocol):
    """The engine's side: where the caller's audio goes."""

    @property
    def pass_on(self) -> Callable[[bytes], None] | None: ...
    def send(self, messages: Sequence[bytes], *, droppable: bool = False) -> None: ...


class FastPath:
    """One call's; closed until it is opened.

    Args:
        inbox: what waits for the call's owner: events, when they came, the engine's leg that brought them.
        ring: wakes whoever works the inbox off.

    Attributes:
        is_open: nothing but audio has come since it was opened.
        in_s, out_s: how long the last batch took that was measured, from the carrier and to it.
        wants_in, wants_out: the next batch is to be measured.
    """

    #: First what a frame touches.
    __slots__ = (
        *("is_open", "_pass_in", "_carrier_audio", "_room_ms", "_clock", "_heard_at", "_heard", "wants_in"),
        *("_leg", "_is_known", "_more", "_goes_on", "_greeting", "_pass_out", "wants_out"),
        *("_engine_audio", "_voice", "_call", "_playback", "_learn"),
        *("_carrier_event", "_engine_event", "_append", "_inbox", "_ring", "in_s", "out_s"),
    )

    def __init__(
        self,
        call: Call,
        carrier: Carrier,
        playback: Playback,
        inbox: Inbox,
        ring: Callable[[], object],
        clock: Callable[[], float],
    ) -> None:
        self.in_s = self.out_s = self._heard_at = self._room_ms = 0.0
        self.wants_in = self.wants_out = True
        self.is_open = False
        self._leg: Leg | None = None
        self._pass_in: Callable[[bytes], None] | None = None
        self._voice: tuple[str, str, int] | None = None
        self._heard: list[CallerAudio] = []  # passed on, and the call has not been told yet
        self._call, self._playback, self._clock = call, playback, clock
        self._inbox, self._ring = inbox, ring
        self._carrier_audio: Callable[[bytes], CallerAudio | None] = getattr(carrier, "audio", _unknown)
        self._carrier_event = carrier.decode
        self._pass_out, self._goes_on, self._greeting = playback.pass_on, call.goes_on, call.talk.greeting
        self.uses(RealtimeSession(PCMU))

    def uses(self, session: RealtimeSession) -> None:
        """The engine's codec, once the stream's format is known."""
        self._engine_audio, self._engine_event, self._append = session.audio, session.decode, session.append
        self._learn, self._more, self._is_known = session.learn, session.more, False

    def open(self, leg: Leg | None) -> None:
        """Nobody is at work on the call, and nothing waits for it.

        Args:
            leg: the engine's leg whose words count; None: there is none.
        """
        self._leg, self._pass_in = leg, leg.pass_on if leg is not None else None
        self._room_ms, voice = self._call.hears, self._call.speaks
        if voice != self._voice:
            self._voice, self._is_known = voice, False
        self.is_open = self._pass_in is not None and not self._inbox

    def close(self) -> None:
        """Somebody is about to work on the call: it is told what was passed on."""
        self.is_open = False
        self.settle()

    def settle(self) -> None:
        """Tell the call what was passed on."""
        if heard := self._heard:
            self._heard = []
            self._call.heard(heard, self._heard_at)

    # ------------------------------------------------------------------ called by the event loop

    def take_in(self, text: bytes) -> bool:
        """Whether the text that was all that a read of the carrier's socket brought is audio: passed on."""
        pass_on = self._pass_in
        if not self.is_open or pass_on is None or (audio := self._carrier_audio(text)) is None:
            return False
        left_ms = self._room_ms - audio.duration_ms
        if left_ms < 0.0:  # the call decides what becomes of it
            self._later([audio], self._clock(), None)
        elif audio.payload:
            self._room_ms, self._heard_at = left_ms, self._clock()
            self._heard.append(audio)
            pass_on(APPEND_HEAD + audio.payload + APPEND_TAIL)
            if self.wants_in:
                self.in_s, self.wants_in = self._clock() - self._heard_at, False
        return True

    def take_out(self, leg: Leg, text: bytes) -> bool:
        """The same for what a read of the engine's socket brought."""
        if not self.is_open or leg is not self._leg:
            return False
        if self._is_known and (more := self._more(text)) is not None:  # as nearly always
            now = self._clock()
            self._goes_on(more[1], now)
            if self._greeting.reply_id:
                self._greeting.takes(more[0])
            self._pass_out(more[0])
            if self.wants_out:
                self.out_s, self.wants_out = self._clock() - now, False
            return True
        if (audio := self._engine_audio(text)) is None:
            return False
        if (audio.response_id, audio.item_id, audio.content_index) != self._voice:
            return False
        if audio.payload:
            now = self._clock()
            self._call.spoke(audio, now)
            self._pass_out(audio.payload)
            self._learn(text, audio)
            self._is_known = True
        return True

    def from_carrier(self, messages: Sequence[bytes]) -> None:
        """What one read of the carrier's socket brought."""
        now, is_open, left_ms = self._clock(), self.is_open, self._room_ms
        audio_of, append, heard = self._carrier_audio, self._append, self._heard
        passed: list[bytes] = []
        later: list[Event] = []
        for message in messages:
            event: Event | None
            if is_open and (event := audio_of(message)) is not None:
                left_ms -= event.duration_ms
                if left_ms >= 0.0:
                    if event.payload:
                        passed.append(append(event.payload))
                        heard.append(event)
                    continue
            else:
                event = self._carrier_event(message)
            is_open = False
            if event is not None:
                later.append(event)
        self._room_ms = left_ms
        if passed and self._leg is not None:
            self._heard_at = now
            self._leg.send(passed, droppable=True)
        if later:
            self._later(later, now, None)
        if self.wants_in:
            self.in_s, self.wants_in = self._clock() - now, False

    def from_engine(self, leg: Leg, messages: Sequence[bytes]) -> None:
        """What one read of an engine's socket brought, if that is the one whose words count."""
        now, is_open, voice = self._clock(), self.is_open and leg is self._leg, self._voice
        audio_of, spoke = self._engine_audio, self._call.spoke
        passed: list[bytes] = []
        later: list[Event] = []
        for message in messages:
            event: Event | None
            if is_open and (event := audio_of(message)) is not None:
                if (event.response_id, event.item_id, event.content_index) == voice:
                    if event.payload:
                        passed.append(event.payload)
                        spoke(event, now)
                    continue
            else:
                event = self._engine_event(message)
            is_open = False
            if event is not None:
                later.append(event)
        if passed:
            self._playback.play_now(passed)
        if later:
            self._later(later, now, leg)
        if self.wants_out:
            self.out_s, self.wants_out = self._clock() - now, False

    def _later(self, events: list[Event], now: float, leg: Leg | None) -> None:
        """For the greenlet that serves the call; until then everything else waits behind it."""
        self.is_open = False
        self._inbox.append((events, now, leg))
        self._ring()


def _unknown(message: bytes) -> CallerAudio | None:
    """Of a codec that does not tell: all goes the long way."""
    return None

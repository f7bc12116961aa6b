"""Joins the two legs of one call: reads both, asks the call what follows, does it.

What is read is put into the call's inbox; whoever finds nobody at work becomes
the call's owner until the inbox is empty. So the state machine sees one batch
at a time without anybody waiting for a lock, and everything that one read
brought leaves in one write. Under gevent the event loop reads, and passes audio
on itself (``fast_path.py``); elsewhere two threads do, one for each leg. An
engine's leg that was lost is followed by another; what the old one still
brings is dropped on the way to the call.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol

from flaskapp.phone import events as ev
from flaskapp.phone.breaker import Breaker
from flaskapp.phone.call import Call
from flaskapp.phone.carriers.base import Carrier
from flaskapp.phone.deeds import Deeds
from flaskapp.phone.engines.connection import Engine
from flaskapp.phone.engines.leg import LOST, EngineLeg
from flaskapp.phone.engines.realtime import RealtimeSession, SessionSpec
from flaskapp.phone.errands import Errands
from flaskapp.phone.errors import LegClosed, TicketError
from flaskapp.phone.fast_path import FastPath, Inbox
from flaskapp.phone.listener import Listener
from flaskapp.phone.playback import playback
from flaskapp.phone.tap import CARRIER, ENGINE, Tap, connection
from flaskapp.phone.waiting import native_lock
from flaskapp.phone.wire import Wire

log = logging.getLogger(__name__)

ENGINE_GONE_WITHIN_S = 2.0
OVER_WITHIN_S = 5.0
WIRES_EVERY_S = 1.0
#: Why a connection is gone that we closed, as raw events have it.
BY_US = "closed_by_us"
CROWDED = 500  # reads that wait for the owner of a call


class PhoneLeg(Protocol):
    """The carrier's side of a bridge; ``Wire`` is one."""

    @property
    def dropped(self) -> int: ...

    def receive(self, timeout_s: float | None = None) -> list[bytes]: ...
    def send(self, messages: Sequence[bytes], *, droppable: bool = False) -> None: ...
    def drop_queued(self) -> None: ...
    def close(self, code: int = 1000, reason: str = "") -> None: ...
    def tick(self, now: float) -> None: ...


class Bridge(Deeds):
    """One call with its two legs.

    Args:
        admit: looks at what the stream brought (its ticket); raises TicketError to refuse it.
        on_admitted: the stream is the call's from now on.
        on_ending: the call is over, which nobody has been told yet.

    Attributes:
        calm_until: before this time there is no need to ``tick``. In a list, for whoever has it need not
            touch the bridge to see that, ten times a second.

    A keeper may follow the call from another thread (``flow.py``).
    """

    __slots__ = (
        *("calm_until", "on_transcript", "_phone", "_carrier", "_playback", "_engine", "_spec"),
        *("_breaker", "_session", "_listener", "_admit", "_on_admitted", "_is_admitted", "_on_ending"),
        *("_errands", "_inbox", "_at_work", "_bell", "_door", "_gone", "_is_paused"),
        *("_wire", "_fast", "_over", "_sampled_at", "_tap"),
    )

    def __init__(
        self,
        call: Call,
        phone: PhoneLeg,
        carrier: Carrier,
        engine: Engine,
        spec: SessionSpec,
        listener: Listener,
        admit: Callable[[ev.StreamStarted], None] = lambda started: None,
        on_admitted: Callable[[], None] = lambda: None,
        on_ending: Callable[[], None] = lambda: None,
        breaker: Breaker | None = None,
        errands: Errands | None = None,
        on_transcript: Callable[[dict[str, Any]], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(call, clock)
        self.on_transcript, self._told = on_transcript, 0
        self._phone, self._carrier = phone, carrier
        self._playback = playback(phone, carrier, clock)
        self._engine, self._spec, self._breaker = engine, spec, breaker
        self._session = RealtimeSession()
        self._listener = listener
        self._admit, self._on_admitted, self._is_admitted = admit, on_admitted, False
        self._on_ending, self._errands = on_ending, errands or Errands()
        self._leg: EngineLeg | None = None  # the one whose words count
        self._legs: list[EngineLeg] = []  # and those that are not quite gone
        self._inbox: Inbox = []
        self._at_work = native_lock()
        self._bell = threading.Event()  # something waits in the inbox, or at the door
        self._door: list[Sequence[bytes]] | None = []  # of a stream that is not admitted; None: it is
        self._gone: LegClosed | None = None
        self._is_paused = False
        self.calm_until = [0.0]
        self._wire = phone if isinstance(phone, Wire) and phone.can_listen else None
        self._tap = Tap(call, listener.traced)
        self._fast = FastPath(call, carrier, self._playback, phone, self._inbox, self._ring, clock, self._tap)
        self._over = threading.Event()
        self._sampled_at = clock()

    # ------------------------------------------------------------------ the phone leg's reader

    def run(self) -> None:
        """Serve the call until it is over; the carrier's connection is then closed too."""
        try:
            if self._wire is not None:
                self._attend(self._wire)
            while True:
                self._from_carrier(self._phone.receive())
        except LegClosed as closed:
            self._handle([ev.CarrierClosed(closed.code)], self._clock())
        finally:
            self._finish()

    def _from_carrier(self, messages: Sequence[bytes]) -> None:
        now, decode, events = self._clock(), self._carrier.decode, []
        for message in messages:
            event = decode(message)
            if type(event) is not ev.CallerAudio:
                self._tap.took(CARRIER, message, now)
            if event is not None:
                events.append(event)
        if not self._is_admitted:
            events = [self._admitted(event) for event in events]
        self._handle(events, now)
        self._fast.in_s = self._clock() - now

    def _attend(self, wire: Wire) -> NoReturn:
        """Let the event loop read, and do what it leaves to be done.

        Raises:
            LegClosed: the carrier's connection is over.
        """
        wire.listen(self._arrived, self._left, self._fast.carrier_reader)
        while True:
            self._bell.wait()
            self._bell.clear()
            while self._door:
                self._from_carrier(self._door[0])
                self._door.pop(0)
            if self._is_admitted:
                self._door = None
            self._work_off()
            if self._gone is not None and not self._door:
                raise self._gone

    def _arrived(self, messages: Sequence[bytes]) -> None:
        """Called by the event loop: the carrier's messages."""
        if self._door is None:
            self._fast.from_carrier(messages)
        else:
            self._door.append(messages)
            self._bell.set()
            if len(self._door) >= CROWDED:
                self._pause(True)

    def _ring(self) -> None:
        """Called by the event loop: something waits in the inbox."""
        self._bell.set()
        if len(self._inbox) >= CROWDED:
            self._pause(True)

    def _pause(self, is_paused: bool) -> None:
        """Read nothing while too much waits for the call's owner."""
        # Again while it pauses: another leg may have begun to listen meanwhile.
        if (is_paused or self._is_paused) and self._wire is not None:
            self._is_paused = is_paused
            self._wire.pause(is_paused)
            current = [] if self._leg is None else [self._leg]
            # Of one that was given up meanwhile the end must be heard.
            for leg in current if is_paused else self._legs:
                leg.pause(is_paused)

    def _left(self, closed: LegClosed) -> None:
        """Called by the event loop: the carrier's connection is over."""
        self._gone = closed
        self._bell.set()

    def _admitted(self, started: ev.Event) -> ev.Event:
        """The first start of this very call, if its stream may come in; everything else as it is."""
        if self._is_admitted or not isinstance(started, ev.StreamStarted):
            return started
        if started.call_sid != self.call.call_sid:
            return started  # the call refuses it, and its ticket stays good
        try:
            self._admit(started)
        except TicketError as error:
            return ev.NotAdmitted(str(error))
        self._is_admitted = True
        self._tell(self._on_admitted)
        self._tell(self._listener.call_started, self.call.call_sid, started)
        return started

    def _finish(self) -> None:
        if not self._over.wait(OVER_WITHIN_S):
            self.hang_up("carrier_lost")
        gone_by = self._clock() + ENGINE_GONE_WITHIN_S
        for leg in self._legs:
            leg.close()
        for leg in self._legs:
            leg.join(max(gone_by - self._clock(), 0.0))
            leg.abort()

    # ------------------------------------------------------------------ the engine leg's reader

    def _from_engine(self, events: Sequence[ev.Event], now: float, leg: EngineLeg) -> None:
        for event in events:
            if type(event) is ev.EngineOpened:
                self._tap.took(ENGINE, connection("opened"), now)
            elif type(event) is ev.EngineClosed:
                # The call does not care who closed it, but whoever reads this looks for a fault.
                reason = BY_US if leg.is_given_up and event.reason == LOST else event.reason
                closed = connection("closed", reason=reason, code=event.code, status=event.status)
                self._tap.took(ENGINE, closed, now)
        self._handle(events, now, leg)
        self._fast.out_s = self._clock() - now

    # ------------------------------------------------------------------ the owner

    def _handle(self, events: Sequence[ev.Event], now: float, leg: EngineLeg | None = None) -> None:
        """Hand a batch to the call; if somebody is at work on it already, they will do this too.

        Args:
            leg: the engine's leg that brings it; None: it comes from elsewhere.
        """
        if not self._inbox and self._at_work.acquire(blocking=False):
            self._fast.close()
            try:
                self._step(events, now, leg)
            finally:
                self._at_rest()
        else:
            self._inbox.append((events, now, leg))
        self._work_off()

    def _work_off(self) -> None:
        """Whatever waits, unless somebody is at work on it."""
        while self._inbox and self._at_work.acquire(blocking=False):
            self._fast.close()
            try:
                while self._inbox:
                    self._step_safely(*self._inbox.pop(0))
            finally:
                self._at_rest()
        if self._is_paused and not self._inbox and not self._door:
            self._pause(False)

    def settle(self) -> None:
        """Tell the call what has only been passed on until now."""
        self._fast.settle()

    def is_still(self) -> bool:
        return super().is_still() and not self._fast.carrier_reader.heard

    def _at_rest(self) -> None:
        """Nobody is at work any more."""
        self.calm_until[0] = 0.0  # whatever was done may have changed what time brings
        self._has_news = True
        if self._wire is not None and self._door is None:
            self._fast.open(self._leg)
        self._at_work.release()

    def _step_safely(self, events: Sequence[ev.Event], now: float, leg: EngineLeg | None) -> None:
        """What an engine brings shall cost the call its session at most."""
        try:
            self._step(events, now, leg)
        except Exception:
            if leg is None:
                raise
            log.exception("The engine leg failed", extra={"call_sid": self.call.call_sid})
            self._step([ev.EngineClosed("engine_fault")], now, leg)

    def _step(self, events: Sequence[ev.Event], now: float, leg: EngineLeg | None) -> None:
        receive = self.call.receive
        if leg is not None and leg is not self._leg:
            return  # too late: another session, or none, is what the caller talks to
        if len(events) == 1:  # nearly always
            self._perform(receive(events[0], now), now)
        elif events:
            self._perform([command for event in events for command in receive(event, now)], now)
        else:  # nothing but time has passed
            self._perform(self.call.tick(now), now)

    # ------------------------------------------------------------------ from outside

    def tick(self, now: float) -> None:
        """Let time pass; the handler's pulse calls this."""
        if now < self.calm_until[0] and self._fast.is_open:
            return
        self._handle((), now)
        self.calm_until[0] = now + self.call.calm_s(now)
        if now - self._sampled_at < WIRES_EVERY_S and not self.call.is_over:
            return
        self._sampled_at = now
        self._tell(self._listener.frame_delay, self._fast.in_s, self._fast.out_s)
        self._fast.measure()
        self._phone.tick(now)
        for leg in self._legs:
            leg.tick(now)

    def move(self, within_s: float) -> None:
        """Let another worker take the call over at a good moment, at the latest then."""
        self._handle([ev.MoveAway(within_s)], self._clock())

    def hang_up(self, reason: str) -> None:
        """End the call now."""
        self._handle([ev.HangUp(reason)], self._clock())

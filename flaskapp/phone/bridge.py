"""Joins the two legs of one call: reads both, asks the call what follows, does it.

Two readers, one for each leg, put what they read into the call's inbox;
whichever finds nobody at work becomes the call's owner until the inbox is
empty. So the state machine sees one batch at a time without anybody waiting
for a lock, and everything that one read brought leaves in one write. An
engine's leg that was lost is followed by another; what the old one still
brings is dropped on the way to the call.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any, NoReturn, Protocol

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev
from flaskapp.phone.breaker import Breaker
from flaskapp.phone.call import Call
from flaskapp.phone.carriers.base import Carrier
from flaskapp.phone.directives import Message
from flaskapp.phone.engines.connection import Engine
from flaskapp.phone.engines.leg import EngineLeg
from flaskapp.phone.engines.realtime import COMMIT, RealtimeSession, SessionSpec
from flaskapp.phone.errands import Errands
from flaskapp.phone.errors import LegClosed, TicketError
from flaskapp.phone.fast_path import FastPath, Inbox
from flaskapp.phone.flow import Flow
from flaskapp.phone.listener import CallEnded, Listener
from flaskapp.phone.playback import playback
from flaskapp.phone.transcript import Line
from flaskapp.phone.waiting import native_lock
from flaskapp.phone.wire import Wire

log = logging.getLogger(__name__)

ENGINE_GONE_WITHIN_S = 2.0
OVER_WITHIN_S = 5.0
WIRES_EVERY_S = 1.0
CALM_S = 0.45  # somebody just speaks: so long nobody looks what time has brought
CROWDED = 500  # reads that wait for the owner of a call


class PhoneLeg(Protocol):
    """The carrier's side of a bridge; ``Wire`` is one."""

    @property
    def dropped(self) -> int: ...

    def receive(self, timeout_s: float | None = None) -> list[bytes]: ...
    def send(self, messages: Sequence[bytes], *, droppable: bool = False) -> None: ...
    def pass_on(self, message: bytes) -> None: ...
    def drop_queued(self) -> None: ...
    def close(self, code: int = 1000, reason: str = "") -> None: ...
    def tick(self, now: float) -> None: ...


class Bridge(Flow):
    """One call with its two legs.

    Args:
        admit: looks at what the stream brought (its ticket); raises TicketError to refuse it.
        on_admitted: the stream is the call's from now on.
        on_ending: the call is over, which nobody has been told yet.

    A keeper may follow the call from another thread (``flow.py``).
    """

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
        self._inbox: Inbox = deque()
        self._at_work = native_lock()
        self._bell = threading.Event()  # something waits in the inbox, or at the door
        self._door: deque[Sequence[bytes]] | None = deque()  # of a stream that is not admitted; None: it is
        self._gone: LegClosed | None = None
        self._is_paused, self._calm_until = False, 0.0
        self._wire = phone if isinstance(phone, Wire) and phone.can_listen else None
        self._fast = FastPath(call, carrier, self._playback, self._inbox, self._ring, clock)
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
        now, decode = self._clock(), self._carrier.decode
        events = [event for message in messages if (event := decode(message)) is not None]
        if not self._is_admitted:
            events = [self._admitted(event) for event in events]
        self._handle(events, now)
        self._fast.in_s = self._clock() - now

    def _attend(self, wire: Wire) -> NoReturn:
        """Let the event loop read, and do what it leaves to be done.

        Raises:
            LegClosed: the carrier's connection is over.
        """
        wire.listen(self._arrived, self._left, self._fast.carrier_lane())
        while True:
            self._bell.wait()
            self._bell.clear()
            while self._door:
                self._from_carrier(self._door[0])
                self._door.popleft()
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
        if is_paused is not self._is_paused and self._wire is not None:
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

    def _tell(self, hear: Callable[..., None], *what: Any) -> None:
        """Whatever is not audio, done so that its failing - a listener's, mostly - does not end the call."""
        try:
            hear(*what)
        except Exception:  # anybody's
            log.exception("%s failed", hear, extra={"call_sid": self.call.call_sid})

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
                    self._step_safely(*self._inbox.popleft())
            finally:
                self._at_rest()
        if self._is_paused and not self._inbox and not self._door:
            self._pause(False)

    def settle(self) -> None:
        """Tell the call what has only been passed on until now."""
        self._fast.settle()

    def _at_rest(self) -> None:
        """Nobody is at work any more."""
        self._calm_until = 0.0  # whatever was done may have changed what time brings
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

    def _perform(self, commands: list[do.Command], now: float) -> None:
        """Do what the call commands: one write to each leg, then whatever does not concern the audio."""
        to_engine: list[bytes] = []
        sounds = self._playback
        rest: list[do.Command] = []
        for command in commands:
            if isinstance(command, do.Hear):
                to_engine.append(self._session.append(command.payload))
            elif isinstance(command, do.Play):
                sounds.play(command.payload)
            elif isinstance(command, do.SetMark):
                sounds.mark(command.name, command.is_last)
            elif isinstance(command, do.ClearPlayback):
                sounds.clear()
            elif isinstance(command, do.Recite):
                to_engine.append(self._session.recite(command.speaker, command.text))
            elif isinstance(command, do.ReciteTool):
                to_engine += self._session.recite_tool(**asdict(command))
            elif isinstance(command, do.AnswerTool):
                to_engine.append(self._session.tool_output(command.tool_call_id, command.output))
            else:
                rest.append(command)
        if to_engine and self._leg is not None:
            self._leg.send(to_engine, droppable=True)
        sounds.push()
        for command in rest:
            self._tell(_PERFORM[type(command)], self, command, now)

    def _write(self, message: bytes) -> None:
        if self._leg is not None:
            self._leg.send([message])

    def _open_engine(self, command: do.OpenEngine, now: float) -> None:
        self._legs = [leg for leg in self._legs if not leg.is_over]
        # Known before it can report anything: it dials as soon as it is started.
        audio_format, hear = self.call.memory.audio_format, None
        if self._wire is not None:
            hear = self._fast
            hear.uses(RealtimeSession(audio_format))
        told = (self._from_engine, self._listener, self._clock, audio_format, hear)
        self._leg = EngineLeg(self._engine, self.call.call_sid, *told)
        self._legs.append(self._leg)
        self._leg.start()

    def _configure(self, command: do.ConfigureSession, now: float) -> None:
        self._write(self._session.session_update(self._spec, command.audio_format, command.minimal))

    def _truncate(self, command: do.Truncate, now: float) -> None:
        self._write(self._session.truncate(command.item_id, command.content_index, command.audio_end_ms))

    def _tell_line(self, command: do.TellLine, now: float) -> None:
        if self._lines is not None:
            self._lines.append(Line(**asdict(command)))
        self._listener.line(self.call.call_sid, command)
        self._tell_subscriber(
            transcript=command.text, is_final=command.is_final, speaker=command.speaker, item=command.item_id
        )

    def _tell_subscriber(self, **update: Any) -> None:
        """What a subscriber of the live transcript reads; ``sequence`` rises by one."""
        if self.on_transcript is not None:
            self._told += 1
            self.on_transcript({"call_sid": self.call.call_sid, **update, "sequence": self._told})

    def _tell_turn(self, command: do.TellTurn, now: float) -> None:
        """The reply's first audio has just been written: our share is what both directions took."""
        sounded_s = (self.call.ms(now) - self.call.talk.base_ms) / 1000
        first_sound_s = sounded_s if command.first_of_call else None
        self._listener.turn(self.call.call_sid, command, self._fast.in_s + self._clock() - now, first_sound_s)

    def _tell_event(self, command: do.TellEvent, now: float) -> None:
        at_ms = self.call.ms(now)
        self._listener.happened(self.call.call_sid, at_ms, command.kind, command.detail)

    def _tell_fault(self, command: do.TellFault, now: float) -> None:
        at_ms = self.call.ms(now)
        self._listener.fault(self.call.call_sid, at_ms, command.kind, command.detail)

    def _assess_engine(self, command: do.TellEngine, now: float) -> None:
        """Let the breaker know how the engine does, and the listener how a reopening went."""
        if command.is_again:
            self._listener.reconnected(self.call.call_sid, "failed" if command.trouble else "ok")
        if self._breaker is None:
            return
        if command.trouble:
            self._breaker.failed(command.trouble, command.status)
        elif command.serves:
            self._breaker.succeeded()

    def _run_errand(self, command: do.RunTool | do.TransferCaller | do.KeepGreeting, now: float) -> None:
        """Something that takes its time: done elsewhere, and reported when it is."""
        self._errands.run(command, self._report)

    def _report(self, event: ev.Event) -> None:
        message = event.directive if isinstance(event, ev.ToolAnswered) else None
        if self.call.is_over and isinstance(message, Message):  # left with the caller's last breath
            self._tell(self._listener.message, self.call.call_sid, message)
        self._handle([event], self._clock())

    def _tell_message(self, command: do.TellMessage, now: float) -> None:
        self._listener.message(self.call.call_sid, command.message)

    def _close_engine(self, command: do.CloseEngine, now: float) -> None:
        leg, self._leg = self._leg, None
        if leg is not None:
            leg.close()

    def _close_carrier(self, command: do.CloseCarrier, now: float) -> None:
        """The end is told first: the carrier asks what next as soon as its stream is closed."""
        try:
            if self._is_admitted:
                self._tell(self._on_ending)
                self._listener.call_ended(self._ended(command, now))
                self._tell_subscriber(event="call_ended", transcript="", is_final=True)
        finally:
            self._playback.stop()
            self._phone.close(command.code, command.reason)
            self._over.set()

    def _ended(self, command: do.CloseCarrier, now: float) -> CallEnded:
        talk, intake = self.call.talk, self.call.intake
        return CallEnded(
            self.call.call_sid,
            self.call.memory.ended_reason,
            command.needs_fallback,
            self.call.ms(now),
            dict(talk.usage),
            self._phone.dropped + self._playback.dropped + round(intake.dropped_ms / 20),
            tuple(replace(line, text=line.text.strip()) for line in talk.transcript.spoken()),
            self.call.heard_until_ms(now),
            talk.owes_reply,
            command.moves,
            command.destination,
            self.call.cost_usd,
            self.call.memo(),
            self.base_ms,
        )

    # ------------------------------------------------------------------ from outside

    def tick(self, now: float) -> None:
        """Let time pass; the handler's pulse calls this."""
        if now < self._calm_until and self._fast.is_open:
            return
        self._handle((), now)
        self._calm_until = now + CALM_S if self.call.is_calm else 0.0
        if now - self._sampled_at < WIRES_EVERY_S and not self.call.is_over:
            return
        self._sampled_at = now
        self._tell(self._listener.frame_delay, self._fast.in_s, self._fast.out_s)
        self._fast.wants_in = self._fast.wants_out = True
        self._phone.tick(now)
        for leg in self._legs:
            leg.tick(now)

    def move(self, within_s: float) -> None:
        """Let another worker take the call over at a good moment, at the latest then."""
        self._handle([ev.MoveAway(within_s)], self._clock())

    def hang_up(self, reason: str) -> None:
        """End the call now."""
        self._handle([ev.HangUp(reason)], self._clock())


_PERFORM: dict[type, Callable[[Bridge, Any, float], None]] = {
    do.OpenEngine: Bridge._open_engine,
    do.ConfigureSession: Bridge._configure,
    do.CommitSpeech: lambda bridge, command, now: bridge._write(COMMIT),
    do.Reply: lambda bridge, command, now: bridge._write(
        bridge._session.response_create(command.instructions)
    ),
    do.CancelReply: lambda bridge, command, now: bridge._write(
        bridge._session.response_cancel(command.response_id)
    ),
    do.Truncate: Bridge._truncate,
    do.TellLine: Bridge._tell_line,
    do.TellPlace: lambda bridge, command, now: bridge._listener.placed(bridge.call.call_sid, command),
    do.TellTurn: Bridge._tell_turn,
    do.TellEvent: Bridge._tell_event,
    do.TellFault: Bridge._tell_fault,
    do.TellEngine: Bridge._assess_engine,
    do.CloseEngine: Bridge._close_engine,
    do.CloseCarrier: Bridge._close_carrier,
    do.RunTool: Bridge._run_errand,
    do.TransferCaller: Bridge._run_errand,
    do.KeepGreeting: Bridge._run_errand,
    do.TellMessage: Bridge._tell_message,
}

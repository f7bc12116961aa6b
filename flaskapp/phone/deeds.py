"""What a bridge does of all that its call commands: one write to each leg, then what is no audio."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev
from flaskapp.phone.breaker import Breaker
from flaskapp.phone.digits import masked_line, masked_message
from flaskapp.phone.directives import Message
from flaskapp.phone.engines.connection import Engine
from flaskapp.phone.engines.leg import EngineLeg
from flaskapp.phone.engines.realtime import COMMIT, RealtimeSession, SessionSpec
from flaskapp.phone.errands import Errands
from flaskapp.phone.fast_path import FastPath
from flaskapp.phone.flow import Flow
from flaskapp.phone.listener import CallEnded, Listener
from flaskapp.phone.playback import Playback
from flaskapp.phone.tap import CARRIER, ENGINE, TELL_CLEAR, TELL_MARK, Tap
from flaskapp.phone.transcript import Line
from flaskapp.phone.wire import Wire

if TYPE_CHECKING:
    from flaskapp.phone.bridge import PhoneLeg

log = logging.getLogger(__name__)


class Deeds(Flow):
    """Half of a bridge: what is commanded is done; what happens is seen to by ``bridge.py``."""

    __slots__ = ("_leg", "_legs", "_told")

    on_transcript: Callable[[dict[str, Any]], None] | None
    _told: int
    _phone: PhoneLeg
    _playback: Playback
    _engine: Engine
    _spec: SessionSpec
    _breaker: Breaker | None
    _session: RealtimeSession
    _listener: Listener
    _is_admitted: bool
    _on_ending: Callable[[], None]
    _errands: Errands
    _leg: EngineLeg | None
    _legs: list[EngineLeg]
    _wire: Wire | None
    _fast: FastPath
    _tap: Tap
    _over: threading.Event

    def _tell(self, hear: Callable[..., None], *what: Any) -> None:
        """Whatever is not audio, done so that its failing - a listener's, mostly - does not end the call."""
        try:
            hear(*what)
        except Exception:  # anybody's
            log.exception("%s failed", hear, extra={"call_sid": self.call.call_sid})

    def _from_engine(self, events: Sequence[ev.Event], now: float, leg: EngineLeg) -> None:
        """A session's leg reports."""
        raise NotImplementedError

    def _handle(self, events: Sequence[ev.Event], now: float, leg: EngineLeg | None = None) -> None:
        """Hand a batch to the call."""
        raise NotImplementedError

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
                self._tap.gave(CARRIER, TELL_MARK % command.name.encode(), now)
            elif isinstance(command, do.ClearPlayback):
                sounds.clear()
                self._tap.gave(CARRIER, TELL_CLEAR, now)
            elif said := self._told_engine(command):
                to_engine += said
                for message in said:
                    self._tap.gave(ENGINE, message, now)
            else:
                rest.append(command)
        if to_engine and self._leg is not None:
            self._leg.send(to_engine, droppable=True)
        sounds.push()
        for command in rest:
            self._tell(_PERFORM[type(command)], self, command, now)

    def _told_engine(self, command: do.Command) -> list[bytes]:
        """What must reach the engine between two slices of the caller's audio, in its place."""
        if isinstance(command, do.Recite):
            return [self._session.recite(command.speaker, command.text)]
        if isinstance(command, do.ReciteTool):
            return self._session.recite_tool(**asdict(command))
        if isinstance(command, do.AnswerTool):
            return [self._session.tool_output(command.tool_call_id, command.output)]
        return []

    def _write(self, message: bytes) -> None:
        if self._leg is not None:
            self._leg.send([message])
            self._tap.gave(ENGINE, message, self._clock())

    def _open_engine(self, command: do.OpenEngine, now: float) -> None:
        self._legs = [leg for leg in self._legs if not leg.is_over]
        # Known before it can report anything: it dials as soon as it is started.
        audio_format, hear = self.call.memory.audio_format, None
        if self._wire is not None:
            hear = self._fast
            hear.uses(RealtimeSession(audio_format))
        told = (self._from_engine, self._listener, self._clock, audio_format, hear, self._tap)
        self._leg = EngineLeg(self._engine, self.call.call_sid, *told)
        self._legs.append(self._leg)
        self._leg.start()

    def _configure(self, command: do.ConfigureSession, now: float) -> None:
        self._write(self._session.session_update(self._spec, command.audio_format, command.minimal))

    def _truncate(self, command: do.Truncate, now: float) -> None:
        self._write(self._session.truncate(command.item_id, command.content_index, command.audio_end_ms))

    def _tell_line(self, command: do.TellLine, now: float) -> None:
        if self.hides_digits:
            command = masked_line(command)
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
            self._tell(self._leave, message)
        self._handle([event], self._clock())

    def _tell_message(self, command: do.TellMessage, now: float) -> None:
        self._leave(command.message)

    def _leave(self, message: Message) -> None:
        told = masked_message(message) if self.hides_digits else message
        self._listener.message(self.call.call_sid, told)

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

    def _shown(self, line: Line) -> Line:
        """As it is kept."""
        shown = replace(line, text=line.text.strip())
        return masked_line(shown) if self.hides_digits else shown

    def _ended(self, command: do.CloseCarrier, now: float) -> CallEnded:
        talk, intake = self.call.talk, self.call.intake
        return CallEnded(
            self.call.call_sid,
            self.call.memory.ended_reason,
            command.needs_fallback,
            self.call.ms(now),
            dict(talk.usage),
            self._phone.dropped + self._playback.dropped + round(intake.dropped_ms / 20),
            tuple(self._shown(line) for line in talk.transcript.spoken()),
            self.call.heard_until_ms(now),
            talk.owes_reply,
            command.moves,
            command.destination,
            self.call.cost_usd,
            self.call.memo(),
            self.base_ms,
        )


_PERFORM: dict[type, Callable[[Deeds, Any, float], None]] = {
    do.OpenEngine: Deeds._open_engine,
    do.ConfigureSession: Deeds._configure,
    do.CommitSpeech: lambda bridge, command, now: bridge._write(COMMIT),
    do.Reply: lambda bridge, command, now: bridge._write(
        bridge._session.response_create(command.instructions)
    ),
    do.CancelReply: lambda bridge, command, now: bridge._write(
        bridge._session.response_cancel(command.response_id)
    ),
    do.Truncate: Deeds._truncate,
    do.TellLine: Deeds._tell_line,
    do.TellPlace: lambda bridge, command, now: bridge._listener.placed(bridge.call.call_sid, command),
    do.TellTurn: Deeds._tell_turn,
    do.TellEvent: Deeds._tell_event,
    do.TellFault: Deeds._tell_fault,
    do.TellEngine: Deeds._assess_engine,
    do.CloseEngine: Deeds._close_engine,
    do.CloseCarrier: Deeds._close_carrier,
    do.RunTool: Deeds._run_errand,
    do.TransferCaller: Deeds._run_errand,
    do.KeepGreeting: Deeds._run_errand,
    do.TellMessage: Deeds._tell_message,
}

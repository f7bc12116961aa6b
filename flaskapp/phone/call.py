"""One call as a state machine: events and time in, commands out.

*waiting* for the carrier's start; *opening* the engine while early audio is
kept; *configuring* its session; *live*; *draining*: the caller is gone, his
last words may still be on their way from the engine; *ended*. What each state
does with each event is the table ``TRANSITIONS`` at the end of this file.
Nothing here reads a clock or a socket: time is an argument, and all that a
call knows can be stored (``snapshot``) and taken up again (``restore``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from flaskapp.phone import events as ev
from flaskapp.phone.agent import Agent
from flaskapp.phone.conversation import Conversation
from flaskapp.phone.intake import Intake

START_WITHIN_S = 5.0
READY_WITHIN_S = 8.0
MEDIA_WITHIN_S = 15.0
DRAIN_S = 3.0
DRAIN_AFTER_LOSS_S = 1.0
FRAMES_BEFORE_START = 50
STRIKES = 10
REPLY_ATTEMPTS = 2
ENGINE_FORMATS = {"audio/pcmu"}
BENIGN_ERRORS = {
    "response_cancel_not_active",
    "conversation_already_has_active_response",
    "input_audio_buffer_commit_empty",
}


class State(StrEnum):
    WAITING = "waiting"
    OPENING = "opening"
    CONFIGURING = "configuring"
    LIVE = "live"
    DRAINING = "draining"
    ENDED = "ended"


@dataclass(slots=True)
class Memory:
    """What the call itself remembers; times are seconds since it began."""

    state: State = State.WAITING
    deadline: float | None = START_WITHIN_S
    stream_id: str = ""
    audio_format: str = ""
    frames_before_start: int = 0
    strikes: dict[str, int] = field(default_factory=dict)
    tried_minimal: bool = False
    is_greeted: bool = False
    ended_reason: str = ""


class Call:
    """What happens to one caller, from the stream's start to the end.

    Attributes:
        talk: who said what, what was heard, what it cost.
        intake: how much caller audio came, and what had to be dropped.
    """

    def __init__(self, call_sid: str, agent: Agent, now: float) -> None:
        self.call_sid = call_sid
        self.agent = agent
        self.memory = Memory()
        self.talk = Conversation()
        self.intake = Intake()
        self._began = now
        self._handlers = _TABLE[State.WAITING]

    def receive(self, event: ev.Event, now: float) -> list[ev.Command]:
        """What follows from an event; one that is out of place is ignored."""
        handler = self._handlers.get(type(event))
        return handler(self, event, now - self._began) if handler else []

    def tick(self, now: float) -> list[ev.Command]:
        """What follows from time passing: ask several times a second."""
        at, memory = now - self._began, self.memory
        if memory.deadline is not None and at >= memory.deadline:
            memory.deadline = None
            return self._overdue(at)
        if memory.state in ON_THE_LINE and at - self.intake.last_at > MEDIA_WITHIN_S:
            return self._refuse_stream("carrier_silent", at, 1008, "no media")
        return self.talk.settle(at)

    def ms(self, now: float) -> int:
        """A moment as ms since the stream started."""
        return self.talk.ms(now - self._began)

    @property
    def is_over(self) -> bool:
        return self.memory.state is State.ENDED

    def snapshot(self, now: float) -> dict[str, Any]:
        """All of it but audio, as JSON can carry it."""
        return {
            "call_sid": self.call_sid,
            "at": now - self._began,
            "memory": asdict(self.memory),
            "talk": self.talk.to_dict(),
            "intake": self.intake.to_dict(),
        }

    @classmethod
    def restore(cls, data: dict[str, Any], agent: Agent, now: float) -> Call:
        """A call as it was when ``snapshot`` was taken, on another clock."""
        call = cls(data["call_sid"], agent, now - data["at"])
        call.memory = Memory(**{**data["memory"], "state": State(data["memory"]["state"])})
        call.talk = Conversation.from_dict(data["talk"])
        call.intake = Intake.from_dict(data["intake"])
        call.talk.offset_ms += data["intake"]["early_ms"]  # audio is not stored: the engine will not hear it
        call._handlers = _TABLE[call.memory.state]
        return call

    # ------------------------------------------------------------------ the stream

    def _started(self, event: ev.StreamStarted, at: float) -> list[ev.Command]:
        if event.call_sid != self.call_sid:
            return self._refuse_stream("wrong_call", at, 1008, "not this call's stream")
        self.memory.stream_id, self.memory.audio_format = event.stream_id, event.audio_format
        self.intake.starts(at)
        self.talk.began_at = at
        if event.audio_format not in ENGINE_FORMATS:
            return self._give_up("unsupported_format", at)
        self._enter(State.OPENING, at + READY_WITHIN_S)
        return [ev.OpenEngine()]

    def _started_again(self, event: ev.StreamStarted, at: float) -> list[ev.Command]:
        if event.stream_id == self.memory.stream_id and event.call_sid == self.call_sid:
            return []
        return self._refuse_stream("second_stream", at, 1008, "another stream began")

    def _not_admitted(self, event: ev.NotAdmitted, at: float) -> list[ev.Command]:
        return self._refuse_stream("not_admitted", at, 1008, "no valid ticket", event.reason)

    def _media_before_start(self, event: ev.CallerAudio, at: float) -> list[ev.Command]:
        self.memory.frames_before_start += 1
        if self.memory.frames_before_start > FRAMES_BEFORE_START:
            return self._refuse_stream("media_before_start", at, 1008, "media before start")
        return []

    def _early_audio(self, event: ev.CallerAudio, at: float) -> list[ev.Command]:
        if not self.intake.within_pace(event, at):
            return self._too_much(at)
        self.talk.offset_ms += self.intake.keep(event)
        return []

    def _live_audio(self, event: ev.CallerAudio, at: float) -> list[ev.Command]:
        if not self.intake.within_pace(event, at):
            return self._too_much(at)
        return self.talk.hear(event, at)

    def _too_much(self, at: float) -> list[ev.Command]:
        if self.intake.excess_begins(at):
            return [ev.TellFault("flood")]
        return self._refuse_stream("flood", at, 1008, "too much media") if self.intake.is_flood(at) else []

    def _digit(self, event: ev.Digit, at: float) -> list[ev.Command]:
        return [ev.TellEvent("dtmf")]

    def _malformed(self, event: ev.Malformed, at: float) -> list[ev.Command]:
        strikes = self.memory.strikes[event.leg] = self.memory.strikes.get(event.leg, 0) + 1
        if strikes < STRIKES:
            return [ev.TellFault(f"{event.leg}_{event.kind}")]
        if event.leg == "carrier":
            return self._refuse_stream("carrier_malformed", at, 1007, "unreadable messages", event.kind)
        return self._give_up("engine_malformed", at, event.kind)

    # ------------------------------------------------------------------ the session

    def _opened(self, event: ev.EngineOpened, at: float) -> list[ev.Command]:
        self._enter(State.CONFIGURING, at + READY_WITHIN_S)
        return [ev.ConfigureSession(self.memory.audio_format)]

    def _ready(self, event: ev.SessionReady, at: float) -> list[ev.Command]:
        if {event.input_format, event.output_format} != {self.memory.audio_format}:
            return self._give_up("engine_format", at, f"{event.input_format}, {event.output_format}")
        self._enter(State.LIVE, None)
        self.talk.agree(event)
        commands = [command for audio in self.intake.take() for command in self.talk.hear(audio, at)]
        if self.agent.greeting and not self.memory.is_greeted:
            commands.append(self.talk.ask(self.agent.greeting_instructions()))
        self.memory.is_greeted = True
        return commands

    def _refused(self, event: ev.EngineFault, at: float) -> list[ev.Command]:
        """The session as we asked for it was refused: once more, with only what a call needs."""
        if self.memory.tried_minimal:
            return self._give_up("engine_refused_session", at, event.code)
        self.memory.tried_minimal = True
        fault = ev.TellFault("engine_refused_session", f"{event.code} {event.param}".strip())
        return [fault, ev.ConfigureSession(self.memory.audio_format, minimal=True)]

    def _engine_fault(self, event: ev.EngineFault, at: float) -> list[ev.Command]:
        if event.code in BENIGN_ERRORS:
            return []
        return [ev.TellFault("engine_error", event.code or event.kind)]

    def _engine_lost(self, event: ev.EngineClosed, at: float) -> list[ev.Command]:
        return self._give_up(event.reason, at)

    def _reply_ended(self, event: ev.ReplyEnded, at: float) -> list[ev.Command]:
        commands = self.talk.reply_ended(event, at)
        if event.status != "failed":
            return commands
        if self.talk.failed_replies >= REPLY_ATTEMPTS:
            return [*commands, *self._give_up("reply_failed", at, event.error_code)]
        again = "" if self.talk.has_begun else self.agent.greeting_instructions()
        return [*commands, self.talk.ask(again)]

    # ------------------------------------------------------------------ endings

    def _stopped(self, event: ev.StreamStopped, at: float) -> list[ev.Command]:
        return self._drain("caller_hung_up", at, DRAIN_S)

    def _carrier_lost(self, event: ev.CarrierClosed, at: float) -> list[ev.Command]:
        return self._drain("carrier_lost", at, DRAIN_AFTER_LOSS_S)

    def _drain(self, reason: str, at: float, seconds: float) -> list[ev.Command]:
        """The caller is gone; what he said last may still be on its way."""
        self.memory.ended_reason = reason
        talk, commands = self.talk, self.talk.end(at)
        expects_words = talk.transcribes and (talk.is_speaking or talk.transcript.awaits_words())
        if self.memory.state is not State.LIVE or not expects_words:
            return [*commands, *self._end(reason, 1000, "call ended")]
        if talk.is_speaking:
            commands.append(ev.CommitSpeech())
        if talk.reply_id:
            commands.append(ev.CancelReply(talk.reply_id))
        self._enter(State.DRAINING, at + seconds)
        return commands

    def _last_words(self, event: ev.CallerWords | ev.CallerWordsLost, at: float) -> list[ev.Command]:
        if isinstance(event, ev.CallerWords):
            told = self.talk.caller_words(event, at)
        else:
            told = self.talk.caller_words_lost(event, at)
        return told if self.talk.transcript.awaits_words() else [*told, *self._over(event, at)]

    def _over(self, event: ev.Event, at: float) -> list[ev.Command]:
        return self._end("", 1000, "call ended")

    def _hang_up(self, event: ev.HangUp, at: float) -> list[ev.Command]:
        return [*self.talk.end(at), *self._end(event.reason, 1000, event.reason)]

    def _overdue(self, at: float) -> list[ev.Command]:
        if self.memory.state is State.WAITING:
            return self._refuse_stream("no_start", at, 1008, "no start")
        if self.memory.state is State.DRAINING:
            return self._end("", 1000, "call ended")
        return self._give_up("engine_slow", at)

    def _give_up(self, reason: str, at: float, detail: str = "") -> list[ev.Command]:
        """Live AI cannot serve: a normal close hands the caller to the document after the stream."""
        told = [ev.TellFault(reason, detail), *self.talk.end(at)]
        return [*told, *self._end(reason, 1000, "live service unavailable", needs_fallback=True)]

    def _refuse_stream(
        self, reason: str, at: float, code: int, why: str, detail: str = ""
    ) -> list[ev.Command]:
        """The carrier's side misbehaves: its stream is closed, the caller may still be served otherwise."""
        told = [ev.TellFault(reason, detail), *self.talk.end(at)]
        return [*told, *self._end(reason, code, why, needs_fallback=True)]

    def _end(self, reason: str, code: int, why: str, needs_fallback: bool = False) -> list[ev.Command]:
        self.memory.ended_reason = self.memory.ended_reason or reason
        is_gone = self.memory.state is State.DRAINING  # then nobody is left to be served otherwise
        self._enter(State.ENDED, None)
        told = self.talk.close_all()
        return [*told, ev.CloseEngine(), ev.CloseCarrier(code, why, needs_fallback and not is_gone)]

    def _enter(self, state: State, deadline: float | None) -> None:
        self.memory.state, self.memory.deadline = state, deadline
        self._handlers = _TABLE[state]


Handler = Callable[[Any, Any, float], list[ev.Command]]


def _talk(method: Handler) -> Handler:
    """A conversation's method as an entry of the table."""
    return lambda call, event, at: method(call.talk, event, at)


#: What each state does with each event. What is not named is ignored.
TRANSITIONS: dict[State, dict[type, Handler]] = {
    State.WAITING: {
        ev.StreamStarted: Call._started,
        ev.NotAdmitted: Call._not_admitted,
        ev.CallerAudio: Call._media_before_start,
        ev.StreamStopped: Call._stopped,
        ev.CarrierClosed: Call._carrier_lost,
    },
    State.OPENING: {
        ev.CallerAudio: Call._early_audio,
        ev.EngineOpened: Call._opened,
        ev.EngineClosed: Call._engine_lost,
    },
    State.CONFIGURING: {
        ev.CallerAudio: Call._early_audio,
        ev.SessionReady: Call._ready,
        ev.EngineFault: Call._refused,
        ev.EngineClosed: Call._engine_lost,
    },
    State.LIVE: {
        ev.CallerAudio: Call._live_audio,
        ev.SpeechStarted: _talk(Conversation.speech_started),
        ev.SpeechStopped: _talk(Conversation.speech_stopped),
        ev.SpeechCommitted: _talk(Conversation.committed),
        ev.CallerWords: _talk(Conversation.caller_words),
        ev.CallerWordsLost: _talk(Conversation.caller_words_lost),
        ev.ReplyStarted: _talk(Conversation.reply_started),
        ev.ReplyAudio: _talk(Conversation.reply_audio),
        ev.ReplyAudioEnded: _talk(Conversation.reply_audio_ended),
        ev.ReplyWords: _talk(Conversation.reply_words),
        ev.ToolCalled: _talk(Conversation.tool_called),
        ev.ReplyEnded: Call._reply_ended,
        ev.EngineFault: Call._engine_fault,
        ev.EngineClosed: Call._engine_lost,
    },
    State.DRAINING: {
        ev.SpeechStopped: _talk(Conversation.speech_stopped),
        ev.SpeechCommitted: _talk(Conversation.committed),
        ev.CallerWords: Call._last_words,
        ev.CallerWordsLost: Call._last_words,
        ev.ReplyEnded: _talk(Conversation.reply_ended),
        ev.EngineClosed: Call._over,
    },
    State.ENDED: {},
}

#: While the carrier's stream runs, whatever the engine does.
WHILE_ON_THE_LINE: dict[type, Handler] = {
    ev.StreamStarted: Call._started_again,
    ev.Digit: Call._digit,
    ev.MarkReached: _talk(Conversation.mark_reached),
    ev.StreamStopped: Call._stopped,
    ev.CarrierClosed: Call._carrier_lost,
}

#: Until the end.
UNTIL_ENDED: dict[type, Handler] = {ev.Malformed: Call._malformed, ev.HangUp: Call._hang_up}

ON_THE_LINE = {State.OPENING, State.CONFIGURING, State.LIVE}

_TABLE: dict[State, dict[type, Handler]] = {
    state: {
        **(UNTIL_ENDED if state is not State.ENDED else {}),
        **(WHILE_ON_THE_LINE if state in ON_THE_LINE else {}),
        **own,
    }
    for state, own in TRANSITIONS.items()
}

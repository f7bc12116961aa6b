"""One call as a state machine: events and time in, commands out.

*waiting* for the carrier's start; *opening* the engine while early audio is
kept; *configuring* its session; *live*; *resting* before a lost engine is
opened again; *lingering*: live AI is given up, the caller may finish what he is
saying; *draining*: the caller is gone, his last words may still be on their way
from the engine; *ended*. What each state does with each event is the table
``TRANSITIONS`` at the end of this file. Nothing here reads a clock or a socket:
time is an argument, and all that a call knows can be stored (``snapshot``) and
taken up again (``restore``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev
from flaskapp.phone.agent import Agent
from flaskapp.phone.conversation import Conversation
from flaskapp.phone.intake import RECENT_MS, Intake
from flaskapp.phone.playout import Clip
from flaskapp.phone.recovery import BENIGN_ERRORS, EXPIRED, GOING_AWAY, LINGER_S, STALLED, Recovery
from flaskapp.phone.resume import Lifeline
from flaskapp.phone.transcript import Line, Transcript

START_WITHIN_S = 5.0
MEDIA_WITHIN_S = 15.0
LEFT: dict[type, tuple[str, float]] = {  # why, and how many seconds his last words are waited for
    ev.StreamStopped: ("caller_hung_up", 3.0),
    ev.CarrierClosed: ("carrier_lost", 1.0),
}
FRAMES_BEFORE_START = 50
STRIKES = {"carrier": 10, "engine": 3}
REPLY_ATTEMPTS = 2
ENGINE_FORMATS = {"audio/pcmu"}

State = StrEnum("State", "WAITING OPENING CONFIGURING LIVE RESTING LINGERING DRAINING ENDED")


@dataclass(slots=True)
class Memory:
    """What the call itself remembers; times are seconds since it began."""

    state: State = State.WAITING
    deadline: float | None = START_WITHIN_S
    stream_id: str = ""
    audio_format: str = ""
    strikes: dict[str, int] = field(default_factory=dict)
    tried_minimal: bool = False
    given_up: str = ""  # why live AI is
    ended_reason: str = ""


class Call:
    """What happens to one caller, from the stream's start to the end.

    Args:
        past, base_ms: what was said on the call before this stream, and where in the call it begins.

    Attributes:
        talk: who said what, what was heard, what it cost.
        intake: how much caller audio came, and what had to be dropped.
        clip: keeps the caller company while there is no engine.
    """

    def __init__(
        self, call_sid: str, agent: Agent, now: float, past: Sequence[Line] = (), base_ms: int = 0
    ) -> None:
        self.call_sid, self.agent = call_sid, agent
        self.memory, self._began = Memory(), now
        self.talk = Conversation(transcript=Transcript(past=list(past)), base_ms=base_ms)
        self.talk.has_answered = self.talk.transcript.last_spoken is not None
        self.intake, self.recovery = Intake(), Recovery()
        self.clip: Clip | None = None
        self._take_up()

    def _take_up(self) -> None:
        self._lifeline = Lifeline(self.agent, self.talk, self.intake, self.recovery)
        self._handlers = _TABLE[self.memory.state]

    def receive(self, event: ev.Event, now: float) -> list[do.Command]:
        """What follows from an event; one that is out of place is ignored."""
        handler = self._handlers.get(type(event))
        return handler(self, event, now - self._began) if handler else []

    def tick(self, now: float) -> list[do.Command]:
        """What follows from time passing: ask several times a second."""
        at, memory = now - self._began, self.memory
        if memory.deadline is not None and at >= memory.deadline:
            memory.deadline = None
            return _OVERDUE[memory.state](self, at)
        if memory.state not in ON_THE_LINE:
            return self.talk.settle(at)
        if at - self.intake.last_at > MEDIA_WITHIN_S:
            return self._turn_away("carrier_silent", at, 1008, "no media")
        if memory.state is State.LINGERING:
            return [] if self._lifeline.hears_voice(at) else self._leave_off(at)
        self._lifeline.tidy(at)
        if self._lifeline.is_stalled(at):
            return self._lost(STALLED, at)
        return [*self.talk.settle(at), *self._lifeline.keep_company(self.clip, at)]

    def ms(self, now: float) -> int:
        """A moment as ms since the call's first second."""
        return self.talk.ms(now - self._began)

    def heard_until_ms(self, now: float) -> int:
        """All caller audio before this has reached a transcript, or was silence to the engine; as ``ms``."""
        return self.talk.base_ms + int(self._lifeline.unheard_from(now - self._began))

    @property
    def is_over(self) -> bool:
        return self.memory.state is State.ENDED

    def snapshot(self, now: float) -> dict[str, Any]:
        """All of it but audio, as JSON can carry it."""
        return {
            "call_sid": self.call_sid,
            "at": now - self._began,
            "memory": asdict(self.memory),
            "recovery": asdict(self.recovery),
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
        call.recovery = Recovery(**data["recovery"])
        call._take_up()
        return call

    # ------------------------------------------------------------------ the stream

    def _started(self, event: ev.StreamStarted, at: float) -> list[do.Command]:
        if event.call_sid != self.call_sid:
            return self._turn_away("wrong_call", at, 1008, "not this call's stream")
        self.memory.stream_id, self.memory.audio_format = event.stream_id, event.audio_format
        self.talk.began_at = at
        self.intake.starts(at)
        if event.audio_format not in ENGINE_FORMATS:
            return [do.TellFault("unsupported_format"), *self._hand_over("unsupported_format", at)]
        self.recovery.begins(at)
        return self._open(at)

    def _started_again(self, event: ev.StreamStarted, at: float) -> list[do.Command]:
        if event.stream_id == self.memory.stream_id and event.call_sid == self.call_sid:
            return []
        return self._turn_away("second_stream", at, 1008, "another stream began")

    def _not_admitted(self, event: ev.NotAdmitted, at: float) -> list[do.Command]:
        return self._turn_away("not_admitted", at, 1008, "no valid ticket", event.reason)

    def _media_before_start(self, event: ev.CallerAudio, at: float) -> list[do.Command]:
        early = self.memory.strikes["early"] = self.memory.strikes.get("early", 0) + 1
        if early <= FRAMES_BEFORE_START:
            return []
        return self._turn_away("media_before_start", at, 1008, "media before start")

    def _early_audio(self, event: ev.CallerAudio, at: float) -> list[do.Command]:
        if not self.intake.takes(event, at):
            return self._too_much(at)
        self.intake.hold()
        return []

    def _live_audio(self, event: ev.CallerAudio, at: float) -> list[do.Command]:
        if not self.intake.takes(event, at):
            return self._too_much(at)
        return self.talk.hear(event, at)

    def _too_much(self, at: float) -> list[do.Command]:
        if self.intake.excess_begins(at):
            return [do.TellFault("flood")]
        return self._turn_away("flood", at, 1008, "too much media") if self.intake.is_flood(at) else []

    def _malformed(self, event: ev.Malformed, at: float) -> list[do.Command]:
        strikes = self.memory.strikes[event.leg] = self.memory.strikes.get(event.leg, 0) + 1
        if strikes < STRIKES[event.leg] or (event.leg == "engine" and self.memory.state not in IN_SESSION):
            return [do.TellFault(f"{event.leg}_{event.kind}")]
        if event.leg == "carrier":
            return self._turn_away("carrier_malformed", at, 1007, "unreadable messages", event.kind)
        return self._lost("engine_malformed", at, detail=event.kind)

    # ------------------------------------------------------------------ the session

    def _open(self, at: float) -> list[do.Command]:
        self.memory.strikes["engine"], self.memory.tried_minimal = 0, False
        self._enter(State.OPENING, self.recovery.opening(at))
        return [do.OpenEngine()]

    def _opened(self, event: ev.EngineOpened, at: float) -> list[do.Command]:
        self._enter(State.CONFIGURING, self.recovery.opened(at))
        return [do.ConfigureSession(self.memory.audio_format)]

    def _ready(self, event: ev.SessionReady, at: float) -> list[do.Command]:
        if {event.input_format, event.output_format} != {self.memory.audio_format}:
            return self._give_up("engine_format", at, f"{event.input_format}, {event.output_format}")
        self._enter(State.LIVE, None)
        return self._lifeline.join(event, at)

    def _refused(self, event: ev.EngineFault, at: float) -> list[do.Command]:
        """The session as we asked for it was refused: once more, with only what a call needs."""
        if self.memory.tried_minimal:
            return self._give_up("engine_refused_session", at, event.code)
        self.memory.tried_minimal = True
        again = do.ConfigureSession(self.memory.audio_format, minimal=True)
        return [do.TellFault("engine_refused_session", f"{event.code} {event.param}".strip()), again]

    def _engine_fault(self, event: ev.EngineFault, at: float) -> list[do.Command]:
        if event.code in BENIGN_ERRORS:
            return []
        if event.code == EXPIRED:
            return self._lost(EXPIRED, at)
        return [do.TellFault("engine_error", event.code or event.kind)]

    def _engine_lost(self, event: ev.EngineClosed, at: float) -> list[do.Command]:
        reason = EXPIRED if event.code == GOING_AWAY else event.reason
        return self._lost(reason, at, event.status or event.code, event.retry_after_s)

    def _lost(
        self, reason: str, at: float, status: int = 0, retry_after_s: float | None = None, detail: str = ""
    ) -> list[do.Command]:
        """The caller is without the engine: open it again if that may help, else hand him over."""
        if self.memory.state is State.DRAINING:
            return self._over()
        told = [do.TellFault(reason, detail), *self._lifeline.part(at, reason, status)]
        again_at = self.recovery.lost(at, reason, status, retry_after_s)
        if again_at is None:
            return [*told, *self._hand_over(reason, at)]
        told.append(do.CloseEngine())
        if again_at <= at:
            return [*told, *self._open(at)]
        self._enter(State.RESTING, again_at)
        return told

    def _reply_ended(self, event: ev.ReplyEnded, at: float) -> list[do.Command]:
        commands = self.talk.reply_ended(event, at)
        if event.status != "failed":
            return commands
        if self.talk.failed_replies >= REPLY_ATTEMPTS:
            return [*commands, *self._give_up("reply_failed", at, event.error_code)]
        return [*commands, self._lifeline.ask_again(at)]

    # ------------------------------------------------------------------ endings

    def _left(self, event: ev.StreamStopped | ev.CarrierClosed, at: float) -> list[do.Command]:
        """The caller is gone; what he said last may still be on its way."""
        self.memory.ended_reason, seconds = LEFT[type(event)]
        talk, commands = self.talk, self.talk.end(at)
        expects_words = talk.transcribes and (talk.is_speaking or talk.transcript.awaits_words())
        if self.memory.state is not State.LIVE or not expects_words:
            return [*commands, *self._over()]
        if talk.is_speaking:
            commands.append(do.CommitSpeech())
        if talk.reply_id:
            commands.append(do.CancelReply(talk.reply_id))
        self._enter(State.DRAINING, at + seconds)
        return commands

    def _last_words(self, event: ev.CallerWords | ev.CallerWordsLost, at: float) -> list[do.Command]:
        told = TRANSITIONS[State.LIVE][type(event)](self, event, at)
        return told if self.talk.transcript.awaits_words() else [*told, *self._over()]

    def _over(self, event: ev.Event | None = None, at: float = 0.0) -> list[do.Command]:
        return self._end("", 1000, "call ended")

    def _give_up(self, reason: str, at: float, detail: str = "") -> list[do.Command]:
        """Live AI cannot serve, and no other session would."""
        parted = self._lifeline.part(at, reason)
        return [do.TellFault(reason, detail), *parted, *self._hand_over(reason, at)]

    def _hand_over(self, reason: str, at: float) -> list[do.Command]:
        """The document after the stream serves the caller, but what he is saying he may finish first."""
        self.memory.given_up = reason
        if not self._lifeline.hears_voice(at):
            return [*self.talk.end(at), *self._leave_off(at)]
        silenced = [do.ClearPlayback()] if self.talk.playout.is_playing(at) else []
        self.intake.gap(self.intake.received_ms - RECENT_MS)
        self._enter(State.LINGERING, at + LINGER_S)
        return [*silenced, *self.talk.end(at), do.CloseEngine()]

    def _leave_off(self, at: float) -> list[do.Command]:
        return self._end(self.memory.given_up, 1000, "no live service", needs_fallback=True)

    def _turn_away(self, reason: str, at: float, code: int, why: str, detail: str = "") -> list[do.Command]:
        """The carrier's side misbehaves: its stream is closed, the caller may still be served otherwise."""
        told = [do.TellFault(reason, detail), *self.talk.end(at)]
        return [*told, *self._end(reason, code, why, needs_fallback=True)]

    def _end(self, reason: str, code: int, why: str, needs_fallback: bool = False) -> list[do.Command]:
        self.memory.ended_reason = self.memory.ended_reason or reason
        needs_fallback = needs_fallback and self.memory.state is not State.DRAINING  # nobody is left
        self._enter(State.ENDED, None)
        told = self.talk.close_all(others_write=self.intake.flow is not None)  # a keeper has his audio
        return [*told, do.CloseEngine(), do.CloseCarrier(code, why, needs_fallback)]

    def _enter(self, state: State, deadline: float | None) -> None:
        self.memory.state, self.memory.deadline = state, deadline
        self._handlers = _TABLE[state]


Handler = Callable[[Any, Any, float], list[do.Command]]


def _talk(method: Handler) -> Handler:
    """A conversation's method as an entry of the table."""
    return lambda call, event, at: method(call.talk, event, at)


#: What each state does with each event. What is not named is ignored.
TRANSITIONS: dict[State, dict[type, Handler]] = {
    State.WAITING: {
        ev.StreamStarted: Call._started,
        ev.NotAdmitted: Call._not_admitted,
        ev.CallerAudio: Call._media_before_start,
        ev.StreamStopped: Call._left,
        ev.CarrierClosed: Call._left,
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
        ev.ReplyStarted: lambda call, event, at: call._lifeline.reply_started(event, at),
        ev.ReplyAudio: _talk(Conversation.reply_audio),
        ev.ReplyAudioEnded: _talk(Conversation.reply_audio_ended),
        ev.ReplyWords: _talk(Conversation.reply_words),
        ev.ToolCalled: _talk(Conversation.tool_called),
        ev.ReplyEnded: Call._reply_ended,
        ev.EngineFault: Call._engine_fault,
        ev.EngineClosed: Call._engine_lost,
    },
    State.RESTING: {ev.CallerAudio: Call._early_audio},
    State.LINGERING: {ev.CallerAudio: Call._early_audio},
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
    ev.Digit: lambda call, event, at: [do.TellEvent("dtmf")],
    ev.MarkReached: _talk(Conversation.mark_reached),
    ev.StreamStopped: Call._left,
    ev.CarrierClosed: Call._left,
}

#: Until the end.
UNTIL_ENDED: dict[type, Handler] = {
    ev.Malformed: Call._malformed,
    ev.HangUp: lambda call, event, at: [*call.talk.end(at), *call._end(event.reason, 1000, event.reason)],
}

IN_SESSION = {State.CONFIGURING, State.LIVE, State.DRAINING}
ON_THE_LINE = set(State) - {State.WAITING, State.DRAINING, State.ENDED}

#: What it means that a state's time is up.
_OVERDUE: dict[State, Callable[[Call, float], list[do.Command]]] = {
    **dict.fromkeys(State, lambda call, at: call._lost("engine_slow", at)),
    State.WAITING: lambda call, at: call._turn_away("no_start", at, 1008, "no start"),
    State.RESTING: Call._open,
    State.LINGERING: Call._leave_off,
}

_TABLE: dict[State, dict[type, Handler]] = {
    state: {
        **(UNTIL_ENDED if state is not State.ENDED else {}),
        **(WHILE_ON_THE_LINE if state in ON_THE_LINE else {}),
        **own,
    }
    for state, own in TRANSITIONS.items()
}

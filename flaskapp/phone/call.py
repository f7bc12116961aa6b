"""One call as a state machine: events and time in, commands out.

What the states mean, and the ways out of them, is in ``exits.py``; what each
state does with each event is the table ``TRANSITIONS`` at the end of this file.
Nothing here reads a clock or a socket: time is an argument.
"""

from __future__ import annotations

from collections.abc import Callable

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev
from flaskapp.phone import keypad
from flaskapp.phone.agent import Agent
from flaskapp.phone.attention import Price, free
from flaskapp.phone.audio import BYTES_PER_MS
from flaskapp.phone.conversation import Conversation
from flaskapp.phone.endings import Endings, Limits
from flaskapp.phone.exits import IN_SESSION, ON_THE_LINE, STANDING, Handler, State
from flaskapp.phone.greeting import Greeting
from flaskapp.phone.intake import Intake
from flaskapp.phone.passed_on import MEDIA_WITHIN_S, PassedOn
from flaskapp.phone.past import NOTHING, Past
from flaskapp.phone.playout import Clip, Sounds
from flaskapp.phone.recovery import (
    ALREADY_REPLYING,
    BENIGN_ERRORS,
    EXPIRED,
    GOING_AWAY,
    STALLED,
    Recovery,
)
from flaskapp.phone.resume import Lifeline
from flaskapp.phone.tool_calls import ToolCalls
from flaskapp.phone.transcript import Transcript

FRAMES_BEFORE_START = 50
STRIKES = {"carrier": 10, "engine": 3}
REPLY_ATTEMPTS = 2
LAST_MOMENT, LAST_MOMENT_S = 0.1, 30.0  # and so long before its end at any moment
ENGINE_FORMATS = frozenset(BYTES_PER_MS)


class Call(PassedOn):
    """What happens to one caller, from the stream's start to the end.

    Args:
        past: what was said and done on the call before this stream.
        limits: what it may take.
        price: what so much usage costs, in USD.
        greeting: the agent's greeting as the engine spoke it before.

    Attributes:
        talk: who said what, what was heard, what it cost.
        intake: how much caller audio came, and what had to be dropped.
        endings: what brings the call to its end.
        clip: keeps the caller company while there is no engine.
        sounds: gives what is played in the stream's format, once that is known.
    """

    def __init__(
        self,
        call_sid: str,
        agent: Agent,
        now: float,
        past: Past = NOTHING,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        price: Price = free,
        greeting: Clip | None = None,
    ) -> None:
        self.call_sid, self.agent, self.began = call_sid, agent, now
        self._limits, self._price, self._cost_before_usd = limits, price, past.cost_usd
        transcript = Transcript(past=list(past.lines), first_position=past.position)
        talk = Conversation(transcript=transcript, base_ms=past.base_ms)
        talk.has_answered = talk.transcript.last_spoken is not None
        talk.greeting = Greeting(agent.greeting, None if talk.has_answered else greeting)
        self.tools = ToolCalls(past=ToolCalls.recalled(past.memo.get("tools", ())))
        self.keypad = keypad.Keypad()
        self.clip: Clip | None = None
        self.sounds: Callable[[str], Sounds] | None = None
        intake, recovery = Intake(), Recovery()
        if past.unheard:
            intake.before(past.unheard)
        lifeline = Lifeline(agent, talk, intake, recovery, self.tools, past.note)
        super().__init__(talk, intake, recovery, lifeline, Endings(talk, limits, past.broke_off))

    def receive(self, event: ev.Event, now: float) -> list[do.Command]:
        """What follows from an event; one that is out of place is ignored."""
        handler = self._handlers.get(type(event))
        return handler(self, event, now - self.began) if handler else []

    def tick(self, now: float) -> list[do.Command]:
        """What follows from time passing: ask several times a second."""
        at, memory = now - self.began, self.memory
        if memory.deadline is not None and at >= memory.deadline:
            memory.deadline = None
            return _OVERDUE[memory.state](self, at)
        if memory.state not in ON_THE_LINE:
            return self.talk.settle(at)
        if at - self.intake.last_at > MEDIA_WITHIN_S:
            return self._turn_away("carrier_silent", at, 1008, "no media")
        if memory.state is State.LINGERING:
            may_stay = memory.moves_by is None or at < memory.moves_by
            return [] if may_stay and self._lifeline.hears_voice(at) else self._leave_off(at)
        self._lifeline.tidy(at)
        if self._lifeline.is_stalled(at):
            return self._lost(STALLED, at)
        told = [*self.talk.settle(at), *self._lifeline.keep_company(self.clip, at)]
        if memory.moves_by is not None and self._may_move(at, memory.moves_by):
            return [*told, *self._move(at)]
        if memory.state not in STANDING:
            return told
        told += self._attend_to_time(at)
        return [*told, *self._renew(at)] if self._wants_renewal(at) else told

    def ms(self, now: float) -> int:
        """A moment as ms since the call's first second."""
        return self.talk.ms(now - self.began)

    def heard_until_ms(self, now: float) -> int:
        """All caller audio before this has reached a transcript, or was silence to the engine; as ``ms``."""
        return self.talk.base_ms + int(self._lifeline.unheard_from(now - self.began))

    @property
    def is_over(self) -> bool:
        return self.memory.state is State.ENDED

    # ------------------------------------------------------------------ the stream

    def _started(self, event: ev.StreamStarted, at: float) -> list[do.Command]:
        if event.call_sid != self.call_sid:
            return self._turn_away("wrong_call", at, 1008, "not this call's stream")
        self.memory.stream_id, self.memory.audio_format = event.stream_id, event.audio_format
        self.talk.began_at = at
        if event.audio_format not in ENGINE_FORMATS:
            self.intake.starts(at)
            return [do.TellFault("unsupported_format"), *self._hand_over("unsupported_format", at)]
        self.intake.starts(at, event.audio_format)
        self._have_sounds(event.audio_format)
        self.recovery.begins(at, self.intake.kept_from_ms)
        return [*self.talk.greet(at), *self._open(at)]

    def _have_sounds(self, audio_format: str) -> None:
        if self.sounds is None or self.talk.listens:
            return
        sounds = self.sounds(audio_format)
        self.clip = sounds.hold
        if not self.talk.has_answered:
            self.talk.greeting.clip = sounds.greeting

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
        if event.code == ALREADY_REPLYING:
            self.talk.refused()
            self.endings.refused()
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
        told: list[do.Command] = [do.TellFault(reason, detail), *self._lifeline.part(at, reason, status)]
        if self.endings.closing is not None:  # its last words are not worth another session
            return [*told, *self._hand_over(reason, at)]
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
        if self.endings.closing is not None:
            self.endings.refused()
        if self.talk.has_asked or self.endings.closing is not None:
            return commands  # another one is on its way, or its last words will be asked for again
        return [*commands, self._lifeline.ask_again(at)]

    def _wants_renewal(self, at: float) -> bool:
        """Whether the session is old, and this the moment for another: a pause, as long as there is time."""
        limit_s, since = self._limits.session_s, self.recovery.live_at
        if not limit_s or since is None or self.memory.state is not State.LIVE or self.endings.closing:
            return False
        age_s = at - since
        if age_s >= limit_s - min(LAST_MOMENT_S, limit_s * LAST_MOMENT):
            return True
        return at >= self._renewed_from and self._is_pause(at)

    def _renew(self, at: float) -> list[do.Command]:
        """Another session in the place of one that the engine would end soon."""
        told = [do.TellEvent("session_renewed"), *self._lifeline.part(at, EXPIRED)]
        self.recovery.lost(at, EXPIRED)
        return [*told, do.CloseEngine(), *self._open(at)]


def _talk(method: Handler) -> Handler:
    """A conversation's method as an entry of the table."""
    return lambda call, event, at: method(call.talk, event, at)


#: What each state does with each event. What is not named is ignored.
TRANSITIONS: dict[State, dict[type, Handler]] = {
    State.WAITING: {
        ev.StreamStarted: Call._started,
        ev.NotAdmitted: Call._not_admitted,
        ev.CallerAudio: Call._media_before_start,
        ev.MoveAway: Call._moves,
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
        ev.SpeechStarted: Call._speech_started,
        ev.SpeechStopped: Call._speech_stopped,
        ev.SpeechCommitted: _talk(Conversation.committed),
        ev.CallerWords: _talk(Conversation.caller_words),
        ev.CallerWordsLost: _talk(Conversation.caller_words_lost),
        ev.ReplyStarted: lambda call, event, at: call._lifeline.reply_started(event, at),
        ev.ReplyAudio: _talk(Conversation.reply_audio),
        ev.ReplyAudioEnded: _talk(Conversation.reply_audio_ended),
        ev.ReplyWords: _talk(Conversation.reply_words),
        ev.ToolCalled: Call._tool_called,
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
        ev.ToolAnswered: Call._tool_answered,
        ev.EngineClosed: Call._over,
    },
    State.ENDED: {},
}

#: While the carrier's stream runs, whatever the engine does.
WHILE_ON_THE_LINE: dict[type, Handler] = {
    ev.StreamStarted: Call._started_again,
    ev.Digit: Call._pressed,
    ev.Typed: Call._typed,
    ev.ToolAnswered: Call._tool_answered,
    ev.TransferFailed: Call._transfer_failed,
    ev.MoveAway: Call._moves,
    ev.MarkReached: _talk(Conversation.mark_reached),
    ev.StreamStopped: Call._left,
    ev.CarrierClosed: Call._left,
}

#: Until the end.
UNTIL_ENDED: dict[type, Handler] = {
    ev.Malformed: Call._malformed,
    ev.HangUp: Call._hung_up,
}

#: What it means that a state's time is up.
_OVERDUE: dict[State, Callable[[Call, float], list[do.Command]]] = {
    **dict.fromkeys(State, lambda call, at: call._lost("engine_slow", at)),
    State.WAITING: lambda call, at: call._turn_away("no_start", at, 1008, "no start"),
    State.RESTING: Call._open,
    State.LINGERING: Call._leave_off,
}

#: While the agent says its last words: the same as live, but the caller does not interrupt.
TRANSITIONS[State.CLOSING] = {
    event: handler
    for event, handler in TRANSITIONS[State.LIVE].items()
    if event not in (ev.SpeechStarted, ev.SpeechStopped, ev.SpeechCommitted)
} | {ev.CallerAudio: Call._early_audio}

Call.table = {
    state: {
        **(UNTIL_ENDED if state is not State.ENDED else {}),
        **(WHILE_ON_THE_LINE if state in ON_THE_LINE else {}),
        **own,
    }
    for state, own in TRANSITIONS.items()
}

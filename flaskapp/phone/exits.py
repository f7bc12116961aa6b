"""The state of a call's leg, and every way out of it.

*waiting* for the carrier's start; *opening* the engine while early audio is
kept; *configuring* its session; *live*; *closing*: the agent says its last
words, and nobody interrupts it; *resting* before a lost engine is opened again;
*lingering*: live AI is given up, the caller may finish what he is saying;
*draining*: the caller is gone, his last words may still be on their way from
the engine; *ended*.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev
from flaskapp.phone.conversation import Conversation
from flaskapp.phone.endings import Endings
from flaskapp.phone.intake import RECENT_MS, Intake
from flaskapp.phone.recovery import LINGER_S, Recovery
from flaskapp.phone.resume import Lifeline

START_WITHIN_S = 5.0
LEFT: dict[type, tuple[str, float]] = {  # why, and how many seconds his last words are waited for
    ev.StreamStopped: ("caller_hung_up", 3.0),
    ev.CarrierClosed: ("carrier_lost", 1.0),
}
TRANSFERRED, MOVED = "transferred", "moved"

State = StrEnum("State", "WAITING OPENING CONFIGURING LIVE CLOSING RESTING LINGERING DRAINING ENDED")
IN_SESSION = {State.CONFIGURING, State.LIVE, State.CLOSING, State.DRAINING}
STANDING = {State.LIVE, State.CLOSING}
ON_THE_LINE = set(State) - {State.WAITING, State.DRAINING, State.ENDED}

Handler = Callable[[Any, Any, float], list[do.Command]]


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
    moves_by: float | None = None  # another worker takes over, at the latest then


class Exits:
    """One leg's, of which ``Call`` makes a whole call."""

    #: What each state does with each event.
    table: ClassVar[Mapping[State, Mapping[type, Handler]]] = {}

    def __init__(
        self, talk: Conversation, intake: Intake, recovery: Recovery, lifeline: Lifeline, endings: Endings
    ) -> None:
        self.memory, self.talk, self.intake, self.recovery = Memory(), talk, intake, recovery
        self.endings, self._lifeline = endings, lifeline
        self._handlers, self._is_live = self.table[State.WAITING], False

    def _enter(self, state: State, deadline: float | None) -> None:
        self.memory.state, self.memory.deadline = state, deadline
        self._handlers, self._is_live = self.table[state], state is State.LIVE

    # ------------------------------------------------------------------ the caller goes

    def _left(self, event: ev.StreamStopped | ev.CarrierClosed, at: float) -> list[do.Command]:
        """The caller is gone, or is joined to somebody; what he said last may still be on its way."""
        self.memory.ended_reason, seconds = LEFT[type(event)]
        if self._is_dialling:
            self.memory.ended_reason = TRANSFERRED
        talk, commands = self.talk, self.talk.end(at)
        expects_words = talk.transcribes and (talk.is_speaking or talk.transcript.awaits_words())
        if self.memory.state not in STANDING or not expects_words:
            return [*commands, *self._over()]
        if talk.is_speaking:
            commands.append(do.CommitSpeech())
        if talk.reply_id:
            commands.append(do.CancelReply(talk.reply_id))
        self._enter(State.DRAINING, at + seconds)
        return commands

    def _last_words(self, event: ev.CallerWords | ev.CallerWordsLost, at: float) -> list[do.Command]:
        told = self.table[State.LIVE][type(event)](self, event, at)
        return told if self.talk.transcript.awaits_words() else [*told, *self._over()]

    def _over(self, event: ev.Event | None = None, at: float = 0.0) -> list[do.Command]:
        return self._end("", 1000, "call ended")

    # ------------------------------------------------------------------ live AI is given up

    def _give_up(self, reason: str, at: float, detail: str = "") -> list[do.Command]:
        """Live AI cannot serve, and no other session would."""
        parted = self._lifeline.part(at, reason)
        return [do.TellFault(reason, detail), *parted, *self._hand_over(reason, at)]

    def _hand_over(self, reason: str, at: float) -> list[do.Command]:
        """The document after the stream serves the caller, but what he is saying he may finish first."""
        self.memory.given_up = reason
        closing = self.endings.closing
        if closing is not None and closing.transfer is not None:
            return self._close_to(closing.transfer.destination, at)
        if closing is not None:  # where it was no wish of the caller's, somebody else says the last words
            cut = self.talk.end(at)
            return [*cut, *self._end(closing.reason, 1000, "goodbye", needs_fallback=not closing.yields)]
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

    # ------------------------------------------------------------------ we end it

    @property
    def _is_dialling(self) -> bool:
        closing = self.endings.closing
        return closing is not None and closing.is_dialling

    def _close(self, at: float) -> list[do.Command]:
        """The last words were heard."""
        closing = self.endings.closing
        if closing is None:
            return []
        if closing.transfer is None:
            return [*self.talk.end(at), *self._end(closing.reason, 1000, "goodbye")]
        if closing.is_dialling:
            return self._close_to(closing.transfer.destination, at)
        self.endings.dials(at)
        return [do.TransferCaller(closing.transfer.destination, closing.transfer.number)]

    def _transfer_failed(self, event: ev.TransferFailed, at: float) -> list[do.Command]:
        """The carrier did not take our word for it: the document after the stream says it again."""
        closing = self.endings.closing
        if closing is None or closing.transfer is None:
            return []
        told = [do.TellFault("transfer_refused", event.reason)] if event.reason else []
        return [*told, *self._close_to(closing.transfer.destination, at)]

    def _close_to(self, destination: str, at: float) -> list[do.Command]:
        return [*self.talk.end(at), *self._end("transferring", 1000, "transfer", destination=destination)]

    def _move(self, at: float) -> list[do.Command]:
        """Another worker takes the call up where it is, unless it was about to leave the agent anyway."""
        closing = self.endings.closing
        if closing is not None and closing.transfer is not None:
            return self._close_to(closing.transfer.destination, at)
        if closing is not None and closing.yields:  # another worker would not know of the goodbye
            return [*self.talk.end(at), *self._end(closing.reason, 1000, "goodbye")]
        return [*self.talk.end(at), *self._end(MOVED, 1000, "moving", moves=True)]

    def _hung_up(self, event: ev.HangUp, at: float) -> list[do.Command]:
        self.endings.closing = None
        return [*self.talk.end(at), *self._end(event.reason, 1000, event.reason)]

    def _end(
        self,
        reason: str,
        code: int,
        why: str,
        needs_fallback: bool = False,
        moves: bool = False,
        destination: str = "",
    ) -> list[do.Command]:
        self.memory.ended_reason = self.memory.ended_reason or reason
        needs_fallback = needs_fallback and self.memory.state is not State.DRAINING  # nobody is left
        self._enter(State.ENDED, None)
        told = self.talk.close_all(others_write=self.intake.flow is not None)  # a keeper has his audio
        if self._is_dialling and self.endings.closing and self.endings.closing.transfer:
            destination, needs_fallback, moves = self.endings.closing.transfer.destination, False, False
        return [*told, do.CloseEngine(), do.CloseCarrier(code, why, needs_fallback, moves, destination)]

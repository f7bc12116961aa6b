"""What goes on in a call beside its two voices: functions, keys, the time, its cost, another worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev
from flaskapp.phone import keypad
from flaskapp.phone.directives import EndCall, Message, TransferTo
from flaskapp.phone.exits import STANDING, Exits, State
from flaskapp.phone.tool_calls import ToolCalls

LONG_PAUSE_S = 2.0  # in a shorter one the caller is about to speak
Price = Callable[[Mapping[str, float]], float]


def free(usage: Mapping[str, float]) -> float:
    """What a call costs where nobody has said any prices, in USD."""
    return 0.0


class Attention(Exits):
    """One leg's, of which ``Call`` makes a whole call."""

    tools: ToolCalls
    keypad: keypad.Keypad
    _price: Price
    _cost_before_usd: float
    _leg_cost_usd = 0.0
    _priced = 0

    @property
    def cost_usd(self) -> float:
        """Of the whole call so far."""
        return self._cost_before_usd + self.leg_cost_usd

    @property
    def leg_cost_usd(self) -> float:
        """Of this stream so far; asked ten times a second, worked out when something was used."""
        if self._priced != self.talk.usages:
            self._priced, self._leg_cost_usd = self.talk.usages, self._price(self.talk.usage)
        return self._leg_cost_usd

    def memo(self) -> dict[str, Any]:
        """What another worker must know beside the transcript, as JSON carries it."""
        tools = self.tools.remembered()
        return {"tools": tools} if tools else {}

    def _attend_to_time(self, at: float) -> list[do.Command]:
        """What a session that stands is told because of the time; it may be the call's end."""
        told = self._keys_told(at) if self.memory.state is State.LIVE else []
        is_ending = self.endings.closing is not None
        if not is_ending and (limit := self.endings.over_limit(at, self.cost_usd)):
            self.endings.begin(limit)
            self._last_sentence(at)
        if self.memory.state is State.CLOSING:
            self.talk.is_due = False  # nothing but its last words is asked for
        is_waiting = self.tools.running_since is not None
        told += [*self.talk.ask_if_due(at), *self.endings.watch(at, is_waiting)]
        return [*told, *self._close(at)] if self.endings.is_due(at, is_waiting) else told

    def _is_pause(self, at: float) -> bool:
        """Whether nobody says or awaits anything."""
        return self.talk.is_idle(at) and self.tools.running_since is None and not self.keypad.has_any

    def _tool_called(self, event: ev.ToolCalled, at: float) -> list[do.Command]:
        had_words = self.talk.tool_called()
        return self.tools.called(event, self.talk.transcript.next_position, at, had_words)

    def _tool_answered(self, event: ev.ToolAnswered, at: float) -> list[do.Command]:
        """A function is done; what it asks of the call comes after what the agent says to it."""
        use = self.tools.answered(event)
        if use is None:
            return []
        told = [self.tools.tell(use)] if self.memory.state in STANDING else []
        took = {"name": use.name, "took_ms": max(round((at - use.since) * 1000), 0)}
        told.append(do.TellEvent("tool_answered", {**took, "failed": event.is_error}))
        if event.is_error:
            told.append(do.TellFault("tool_failed", use.name))
        self.talk.quiet_from = at
        match event.directive:
            case EndCall(reason=reason):
                if not self.talk.is_speaking:  # else he has something to say yet
                    self.endings.goodbye(reason, use.had_words, at)
                return told
            case TransferTo() as to:
                self.endings.transfer(to, use.had_words, at)
                self._last_sentence(at)
                return told
            case Message() as message:
                told.append(do.TellMessage(message))
        if self.memory.state is not State.LIVE:
            return told  # a session that follows is told of it, and asked; in its last words nobody is
        self.talk.is_due = self.tools.running_since is None
        if self.talk.is_due and self.talk.reply_id:
            self.talk.owed.waits(at)  # for the end of the response that asked
        return [*told, *self.talk.ask_if_due(at)]

    def _last_sentence(self, at: float) -> None:
        """Nobody interrupts what the agent says now; what the caller says meanwhile is understood later."""
        if self.memory.state is State.LIVE:
            self.recovery.unheard_ms = self._lifeline.unheard_from(at)
            self.talk.is_speaking = False
            self._enter(State.CLOSING, None)

    def _pressed(self, event: ev.Digit, at: float) -> list[do.Command]:
        """A key: the agent listens, as to a word."""
        self.keypad.pressed(event.digit, at)
        self.endings.caller_speaks()
        return self.talk.interrupt(at) if self.memory.state is State.LIVE else []

    def _typed(self, event: ev.Typed, at: float) -> list[do.Command]:
        """A line instead of words; it waits for a session that stands."""
        self.keypad.types(event.text)
        self.endings.caller_speaks()
        return self.talk.interrupt(at) if self.memory.state is State.LIVE else []

    def _keys_told(self, at: float) -> list[do.Command]:
        told = [each for text in self.keypad.take_typed() for each in self.talk.typed(text, at)]
        keys = self.keypad.take(at)
        return [*told, *(self.talk.keys_pressed(keys, keypad.told(keys), at) if keys else [])]

    def _speech_started(self, event: ev.SpeechStarted, at: float) -> list[do.Command]:
        self.endings.caller_speaks()
        return self.talk.speech_started(event, at)

    # ------------------------------------------------------------------ another worker

    def _moves(self, event: ev.MoveAway, at: float) -> list[do.Command]:
        self.memory.moves_by = at + event.within_s
        return []

    def _may_move(self, at: float, by: float) -> bool:
        """Whether this is a moment at which a caller hardly notices that another worker takes over."""
        if at >= by:
            return True
        if self.memory.state in STANDING:
            is_long = at - self.talk.quiet_since() >= LONG_PAUSE_S
            return is_long and self._is_pause(at) and self.endings.closing is None
        return not self.talk.playout.is_playing(at)

    def _speech_stopped(self, event: ev.SpeechStopped, at: float) -> list[do.Command]:
        """The caller has said his say: the moment at which he waits anyway, and says nothing that is lost."""
        told = self.talk.speech_stopped(event, at)
        is_free = self.endings.closing is None and self.tools.running_since is None
        if self.memory.moves_by is None or not is_free or self.talk.playout.is_playing(at):
            return told
        return [*told, *self._move(at)]

"""When a call ends by itself, and how politely: a farewell, silence, its limits, a transfer.

A *closing* is an ending that waits for its last words to be heard. Times are
seconds since the stream's leg began, except where they are the call's own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from flaskapp.phone import commands as do
from flaskapp.phone.conversation import Conversation
from flaskapp.phone.directives import TransferTo
from flaskapp.phone.farewell import is_goodbye
from flaskapp.phone.transcript import AGENT, CALLER

SILENT_AFTER_GOODBYE_S = 3.0
SILENT_AFTER_BREAK_S = 1.5
LAST_WORDS_S = 15.0  # so long it may stay silent before the last words of a closing are given up
ALL_WORDS_S = 120.0  # and so long all that is still to be said may take
CARRIER_TRANSFERS_S = 6.0

MISSED = (
    "The line was interrupted for a moment, and what the caller said last may have been lost. Say so in one "
    "short sentence, and ask them to say it again. Say nothing else."
)
STILL_THERE = "Ask the caller in one short sentence whether they are still there. Say nothing else."
SILENCE_GOODBYE = (
    "The caller does not say anything any more. Say in one short sentence that you are ending the call now, "
    "and goodbye. Say nothing else."
)
GOODBYE = "Say goodbye to the caller in one short sentence. Say nothing else."
TIME_IS_UP = (
    "The time for this call is up. Tell the caller so in one short, friendly sentence, and say goodbye. "
    "Say nothing else."
)
NO_MORE_MONEY = (
    "This call has to end now because it has reached its limit. Tell the caller so in one short, friendly "
    "sentence without giving any amount, and say goodbye. Say nothing else."
)
CONNECTING = "Tell the caller in one short sentence that you are connecting them now. Say nothing else."


@dataclass(frozen=True)
class Limits:
    """What one call may take; zero is no limit.

    Attributes:
        session_s: so long an engine lets one session last; zero: for ever.
        silence_s: so long nobody says anything: the caller is asked whether he is there, then the call ends.
    """

    call_s: float = 1800.0
    cost_usd: float = 0.0
    session_s: float = 3600.0
    silence_s: float = 10.0


@dataclass(slots=True)
class Closing:
    """An ending under way.

    Attributes:
        by: at the latest then; while the agent is heard that is put off, until ``latest``.
        instructions: what the agent shall still say; empty: nothing more.
        is_asked: it was asked to.
        yields: a caller who speaks up is listened to, and the call goes on.
        transfer: the caller is joined to somebody instead of being hung up on.
        is_dialling: the carrier was asked to.
    """

    reason: str
    by: float
    instructions: str = ""
    is_asked: bool = False
    yields: bool = True
    transfer: TransferTo | None = None
    is_dialling: bool = False
    latest: float | None = None


class Endings:
    """Watches one leg of a call for reasons to end it.

    Args:
        broke_off: what the caller said just before this leg may be lost.

    Attributes:
        closing: the ending that is under way.
        has_prompted: the caller was asked whether he is there, and has not said anything since.
    """

    def __init__(self, talk: Conversation, limits: Limits, broke_off: bool = False) -> None:
        self._talk, self._limits, self._may_have_missed = talk, limits, broke_off
        self.closing: Closing | None = None
        self.has_prompted = False
        self._judged = -1
        self._is_farewell = False

    def over_limit(self, at: float, cost_usd: float) -> Closing | None:
        """The limit that the call has reached."""
        limits = self._limits
        reason, words = "", ""
        if limits.call_s and self._talk.ms(at) >= limits.call_s * 1000:
            reason, words = "max_duration", TIME_IS_UP
        elif limits.cost_usd and cost_usd >= limits.cost_usd:
            reason, words = "max_cost", NO_MORE_MONEY
        by = at + LAST_WORDS_S
        return Closing(reason, by, "" if self._talk.listens else words, yields=False) if reason else None

    def goodbye(self, reason: str, had_words: bool, at: float) -> None:
        """The agent ends the call; ``had_words``: it has said its goodbye already."""
        self._begin(Closing(reason, at + LAST_WORDS_S, "" if had_words else GOODBYE))

    def transfer(self, to: TransferTo, had_words: bool, at: float) -> None:
        """The agent hands the caller over."""
        words = "" if had_words else CONNECTING
        self._begin(Closing("transferred", at + LAST_WORDS_S, words, yields=False, transfer=to))

    def begin(self, closing: Closing) -> None:
        """An ending that no other one holds up."""
        closing.latest = closing.by - LAST_WORDS_S + ALL_WORDS_S
        self.closing = closing

    def _begin(self, closing: Closing) -> None:
        """An ending, unless one is under way; a transfer comes before a goodbye of the same breath."""
        known = self.closing
        if known is None or (closing.transfer is not None and known.transfer is None and known.yields):
            self.begin(closing)

    def dials(self, at: float) -> None:
        """The carrier was asked to join the caller to somebody."""
        if self.closing is not None:
            self.closing.is_dialling, self.closing.by = True, at + CARRIER_TRANSFERS_S

    def refused(self) -> None:
        """The last words were not asked for after all."""
        if self.closing is not None:
            self.closing.is_asked = False
        self.has_prompted = False

    def caller_speaks(self) -> None:
        """He is there, and has something to say."""
        self.has_prompted = False
        if self.closing is not None and self.closing.yields:
            self.closing = None

    def watch(self, at: float, waits_for_tool: bool) -> list[do.Command]:
        """What the agent shall say because of the time, in a session that stands."""
        talk, closing = self._talk, self.closing
        if talk.listens or not talk.is_idle(at):
            return []
        if closing is not None:
            if not closing.instructions or closing.is_asked:
                return []
            closing.is_asked = True
            return [talk.ask(closing.instructions, at)]
        if self._may_have_missed and talk.has_begun_here:
            self._may_have_missed = False
        quiet_s = 0.0 if waits_for_tool else at - talk.quiet_since()
        if self._both_said_goodbye():
            self._begin(Closing("goodbye", at + LAST_WORDS_S))
        elif self._may_have_missed and quiet_s >= SILENT_AFTER_BREAK_S:
            self._may_have_missed = False
            return [talk.ask(MISSED, at)]
        elif 0 < self._patience_s <= quiet_s:
            return self._silent(at)
        return []

    def due_from(self, at: float) -> float:
        """The first moment at which time alone may bring an ending, or a question, if nothing happens."""
        talk, limits = self._talk, self._limits
        due_at = talk.began_at + limits.call_s - talk.base_ms / 1000 if limits.call_s else math.inf
        if talk.listens or not talk.is_idle(at):
            return due_at
        if self._may_have_missed:
            return at
        patience_s = self._patience_s
        return min(due_at, talk.quiet_since() + patience_s) if patience_s > 0 else due_at

    @property
    def _patience_s(self) -> float:
        silence_s = self._limits.silence_s
        return min(silence_s, SILENT_AFTER_GOODBYE_S) if self._is_farewell else silence_s

    def _silent(self, at: float) -> list[do.Command]:
        if self._is_farewell:
            self._begin(Closing("goodbye", at + LAST_WORDS_S))
            return []
        if self.has_prompted:
            self._begin(Closing("caller_silent", at + LAST_WORDS_S, SILENCE_GOODBYE))
            return self.watch(at, waits_for_tool=False)
        self.has_prompted = True
        return [self._talk.ask(STILL_THERE, at), do.TellEvent("silence")]

    def _both_said_goodbye(self) -> bool:
        """Whether the caller took his leave and the agent answered in kind; judged once for each line.

        Without a tool, or with a model that does not use it, nobody else would end the call.
        """
        spoken = self._talk.transcript.spoken()
        last = max(spoken, key=lambda line: line.position, default=None)
        if last is None or last.speaker != AGENT or last.interrupted:
            self._is_farewell = False
            return False
        callers = [line for line in spoken if line.speaker == CALLER and line.position < last.position]
        # His words may come after the answer to them.
        mark = last.position * 2 + bool(callers and callers[-1].is_final)
        if mark == self._judged:
            return False
        self._judged, self._is_farewell = mark, is_goodbye(last.text)
        return self._is_farewell and bool(callers) and is_goodbye(callers[-1].text)

    def is_due(self, at: float, waits_for_tool: bool) -> bool:
        """Whether the last words were heard, or have been waited for long enough."""
        closing = self.closing
        if closing is None:
            return False
        playout = self._talk.playout
        if not closing.is_dialling and at < playout.replies_end_at() + playout.lag:
            closing.by = min(at + LAST_WORDS_S, at if closing.latest is None else closing.latest)
        if at >= closing.by:
            return True
        is_said = not closing.instructions or closing.is_asked
        return is_said and not (closing.is_dialling or waits_for_tool) and self._talk.is_idle(at)

"""What a new session must be given so that a conversation goes on where it was.

A session remembers nothing of the one before: it is told the words that were
heard, as text, and is given the caller's audio that no session has put into
words yet. What it makes of that audio goes to the lines that were begun for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev
from flaskapp.phone.agent import Agent
from flaskapp.phone.conversation import Conversation
from flaskapp.phone.intake import PENDING_MS, RECENT_MS, Intake
from flaskapp.phone.playout import CLIP, Clip
from flaskapp.phone.recovery import EXPIRED, IDLE_S, NO_AUDIO_S, QUIET_MS, UNHEARD_FOR_S, Recovery
from flaskapp.phone.tool_calls import ToolCalls, Use
from flaskapp.phone.transcript import CALLER, Line

RECITED_LINES = 400  # what half an hour brings
RECITED_BYTES = 32 << 10  # some eight thousand tokens, of thirty-two thousand at least
GO_ON = (
    "The connection was interrupted for a moment. Do not greet again and do not mention it: answer what the "
    "caller said last, or finish what you were saying."
)


def recited(past: Sequence[Line], own: Sequence[Line], uses: Sequence[Use] = ()) -> list[do.Command]:
    """The conversation so far as the session is told it: the latest of it, in order.

    Lines of the caller that are still being put into words are left out: their audio follows. Functions
    that were used stand where they were.
    """
    places: list[tuple[int, int, do.Command]] = []
    room = RECITED_BYTES
    for line in (*reversed(own), *reversed(past)):
        text = line.text.strip()
        if not text or (line.speaker == CALLER and not line.is_final):
            continue
        room -= len(text.encode())
        if room < 0 or len(places) == RECITED_LINES:
            break
        places.append((line.position, 1, do.Recite(line.speaker, text)))
    first = min((position for position, _, _ in places), default=0)
    places += [(use.position, 0, use.recited()) for use in uses if use.position >= first]
    return [command for _, _, command in sorted(places, key=lambda place: place[:2])]


def go_on(agent: Agent) -> str:
    """What makes an engine continue; a response's instructions replace the session's, so both are said."""
    return f"{agent.told()}\n\n{GO_ON}"


class Lifeline:
    """Holds a conversation together while sessions come and go."""

    def __init__(
        self,
        agent: Agent,
        talk: Conversation,
        intake: Intake,
        recovery: Recovery,
        tools: ToolCalls,
        note: str = "",
    ) -> None:
        self.agent, self.talk, self.intake, self.recovery = agent, talk, intake, recovery
        self.tools, self.note = tools, note

    def join(self, ready: ev.SessionReady, at: float) -> list[do.Command]:
        """A session stands: all that it is given, and what it is asked for."""
        talk, intake = self.talk, self.intake
        is_again = self.recovery.joined(at)
        self.tools.session += 1
        told = recited(talk.transcript.past, talk.transcript.spoken(), self.tools.done())
        if self.note:
            told.append(do.Recite("note", self.note))
            self.note, talk.is_due = "", True
        talk.joins(ready, intake.kept_from_ms, at)
        told += [command for audio in intake.slices() for command in talk.hear(audio, at)]
        reopened = [do.TellEngine(is_again=True)] if is_again else []
        return [*told, *self._first_words(at), *reopened]

    def _first_words(self, at: float) -> list[do.Command]:
        """The greeting that nobody heard, or the reply that is owed."""
        talk, intake, waiting = self.talk, self.intake, self.talk.awaited.utterances
        if talk.listens:
            return []
        if waiting:  # the audio that it was given makes it answer, wanted or not
            talk.is_unwanted = not talk.has_unanswered
            if talk.has_unanswered and waiting[-1].end_ms is not None:
                talk.owed.waits(at)
            return []
        if talk.transcript.last_spoken is None and not talk.is_due:
            return self._greeting(at)
        if talk.offset_ms < 0 and intake.has_voice(-talk.offset_ms):
            return []  # what he said before this stream makes it answer by itself
        if self.tools.running_since is not None:
            return []  # it would ask for the function again; it is asked when the answer is there
        return [talk.ask(go_on(self.agent), at)] if talk.owes_reply or talk.is_due else []

    def _greeting(self, at: float) -> list[do.Command]:
        greeting = self.agent.greeting_instructions()
        if not greeting:
            return []
        self.talk.greeting.asked()
        return [self.talk.ask(greeting, at)]

    def hears_voice(self, at: float) -> bool:
        """Whether the caller is speaking, as far as the line can tell without an engine."""
        return at - self.intake.last_at < NO_AUDIO_S and self.intake.has_voice(QUIET_MS)

    def ask_again(self, at: float) -> do.Command:
        """A reply failed: another one, or the greeting while nobody has said anything."""
        greeting = "" if self.talk.has_begun else self.agent.greeting_instructions()
        if greeting:
            self.talk.greeting.asked()
        return self.talk.ask(greeting, at)

    def part(self, at: float, reason: str, status: int = 0) -> list[do.Command]:
        """The engine is gone: what a live session did not put into words is the next one's to hear."""
        recovery, was_live = self.recovery, self.recovery.live_at is not None
        told: list[do.Command] = []
        if reason != EXPIRED or not was_live:  # that an old one ends is no failure
            told.append(do.TellEngine(reason, status, recovery.is_again))
        if not was_live:
            return told
        recovery.unheard_ms = self.unheard_from(at, margin_ms=RECENT_MS)
        recovery.has_held = self.is_stalled(at)  # then he has heard the clip already
        self.intake.gap(recovery.unheard_ms)
        return [*told, *self.talk.lose(at)]

    def unheard_from(self, at: float, margin_ms: float = 0.0) -> float:
        """From where on, in ms of the stream's audio, no session has put into words what was said.

        Args:
            margin_ms: in which somebody may have begun to speak without the engine having said so.
        """
        talk, recovery = self.talk, self.recovery
        if recovery.unheard_ms is not None:
            return recovery.unheard_ms
        if (waiting := talk.awaited.first) is not None:
            return waiting.start_ms
        known_ms = max(talk.offset_ms, talk.awaited.worded_ms)
        return known_ms if recovery.is_young(at) else max(self.intake.received_ms - margin_ms, known_ms)

    def tidy(self, at: float) -> None:
        """As time passes: of the audio that a session has, keep only what another may need."""
        is_pending = self.talk.awaited.utterances or self.recovery.is_young(at)
        self.intake.tidy()
        if at - self.intake.last_at > IDLE_S:
            self.recovery.idle_at = at
        if self._is_live:
            self.intake.trim(PENDING_MS if is_pending else RECENT_MS)

    @property
    def _is_live(self) -> bool:
        return self.recovery.since is None

    @property
    def _paused_until(self) -> float:
        """An engine that was given nothing need not have gone on with its reply; an answer it owes."""
        return self.recovery.idle_at if self._is_live and self.talk.owed.since is None else 0.0

    def _waited_s(self, at: float) -> float:
        since = self.talk.waits_since if self._is_live else None
        return 0.0 if since is None else at - max(since, self._paused_until) - self.talk.playout.lag

    def is_stalled(self, at: float) -> bool:
        """Whether a live engine lets the caller wait too long."""
        patience_s, heard_at = self.recovery.patience_s, at - self.talk.playout.lag
        is_ignored = self._is_live and self.talk.owed.is_ignored(heard_at, patience_s)
        return is_ignored or self._waited_s(at) >= patience_s

    def reply_started(self, event: ev.ReplyStarted, at: float) -> list[do.Command]:
        """That a session was agreed on says little: one that begins to reply serves."""
        proof = [do.TellEngine(serves=True)] if self.recovery.replies() else []
        return [*self.talk.reply_started(event, at), *proof]

    def keep_company(self, clip: Clip | None, at: float) -> list[do.Command]:
        """A caller who waits in silence hears that he is not forgotten."""
        playout = self.talk.playout
        if clip is None or not self._is_kept_waiting(at):
            return []
        self.recovery.has_held = True
        playout.sent(CLIP, 0, clip.duration_ms, at, clip.payload)
        return [do.Play(clip.payload), do.TellEvent("hold")]

    def _is_kept_waiting(self, at: float) -> bool:
        """Whether he has heard nothing for as long as one should."""
        talk, recovery = self.talk, self.recovery
        if self._is_live and talk.waits_since is None and self.tools.running_since is None:
            return False
        is_our_turn = talk.has_asked or not talk.has_begun
        if talk.playout.is_unused and is_our_turn and at - talk.began_at >= UNHEARD_FOR_S:
            return True
        played_until = talk.playout.ends_at + talk.playout.lag
        quiet_since = max(played_until, talk.owed.spoke_until, talk.began_at, self._paused_until)
        return recovery.wants_clip(at, quiet_since)

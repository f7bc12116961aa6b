"""A conversation as it stands: turns, what was heard of them, what is owed, what it cost.

What happens to it is in ``conversation.py``. Times (``at``) are seconds since
the call began.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from flaskapp.phone import commands as do
from flaskapp.phone.greeting import Greeting
from flaskapp.phone.playout import Heard, Playout
from flaskapp.phone.recovery import Owed
from flaskapp.phone.transcript import AGENT, CALLER, Awaited, Line, Transcript


@dataclass(slots=True)
class Talk:
    """Everything that is known of one leg's conversation."""

    playout: Playout = field(default_factory=Playout)
    transcript: Transcript = field(default_factory=Transcript)
    awaited: Awaited = field(default_factory=Awaited)
    base_ms: int = 0  # where this stream begins in the call
    began_at: float = 0.0  # when the stream started
    given_ms: float = 0.0  # caller audio the engine was given: its session's clock
    given_at: float = 0.0  # when it was given the last of it
    offset_ms: float = 0.0  # where the engine's clock starts in the stream
    listens: bool = False  # nobody hears what the agent would say: it says nothing
    interrupts_itself: bool = True
    transcribes: bool = True
    silence_ms: int = 0  # what the engine waits before it takes the caller to have stopped
    is_speaking: bool = False
    has_asked: bool = False  # a reply was asked for by us, not by voice activity
    stopped_at: float | None = None  # when the engine was given the caller's last word
    stops: dict[str, float] = field(default_factory=dict)  # the same, of his lines that wait for their words
    # behind the first audio of a reply: its name, the reply's item, when it returns if no line delays it
    first_mark: tuple[str, str, float] = ("", "", 0.0)
    owed: Owed = field(default_factory=Owed)
    reply_id: str = ""  # the response that is being made
    is_sounding: bool = False  # it has begun to speak
    worded_reply: str = ""  # the last response that said something before it called a function
    is_unwanted: bool = False  # the next reply answers what was answered before the session was lost
    was_cut_off: bool = False  # the session was lost in mid-reply
    session_from: int = 0  # the first position of this session's own lines
    item_id: str | None = None  # the item whose audio went out last
    silenced: list[str] = field(default_factory=list)  # responses that must not be played any more
    settling: list[str] = field(default_factory=list)  # items complete at the engine, perhaps still playing
    failed_replies: int = 0
    has_answered: bool = False
    is_due: bool = False  # the engine was given something that no voice activity makes it answer to
    was_due: bool = False  # that is what it was asked for last
    quiet_from: float = 0.0  # the last sign of life of anybody but the agent's voice
    greeting: Greeting = field(default_factory=Greeting)
    usage: dict[str, Any] = field(default_factory=dict)
    usages: int = 0  # how often something was added to it

    @property
    def _is_replying(self) -> bool:
        """Whether a reply is being made that the caller is to hear."""
        return self.reply_id != "" and self.reply_id not in self.silenced

    @property
    def _audio_ms(self) -> float:
        """How far the engine has heard, in ms of the stream's audio."""
        return self.offset_ms + self.given_ms

    @property
    def has_begun_here(self) -> bool:
        """Whether anybody has said anything on this leg."""
        return bool(self.transcript.lines)

    @property
    def has_begun(self) -> bool:
        """Whether anybody has said anything yet."""
        return self.has_answered or any(line.speaker == CALLER for line in self.transcript.lines.values())

    def refused(self) -> None:
        """The engine was replying when it was asked for a reply."""
        self.is_due = self.is_due or self.was_due  # what it was given is no part of the reply that it makes
        self.has_asked = self.was_due = False
        self.owed.nothing()

    @property
    def _is_at_work(self) -> bool:
        """Whether the engine makes a reply, or is about to."""
        return self.reply_id != "" or self.has_asked or self.owed.since is not None

    def is_idle(self, at: float) -> bool:
        """Whether nobody speaks, and nobody is about to as far as one can know."""
        return not (self._is_at_work or self.is_due or self.is_speaking or self.playout.is_playing(at))

    def quiet_since(self) -> float:
        """When the last word was heard; asked while nobody speaks."""
        return max(self.quiet_from, self.playout.ends_at + self.playout.lag)

    @property
    def has_unanswered(self) -> bool:
        """Whether an utterance that has no words yet still wants its answer."""
        waiting = self.awaited.utterances
        return bool(waiting) and (self.was_cut_off or not self.transcript.is_answered(waiting[-1].line_id))

    @property
    def owes_reply(self) -> bool:
        """Whether the caller waits for an answer, or for the rest of one."""
        last = self.transcript.last_spoken
        is_our_turn = last is not None and (last.speaker == CALLER or last.interrupted)
        return self.was_cut_off or self.has_unanswered or is_our_turn

    @property
    def waits_since(self) -> float | None:
        """Since when the caller hears nothing though the engine owes him something; None: it does not."""
        if self.owed.since is not None:
            return self.owed.since
        if self.is_sounding and self._is_replying:
            return self.playout.replies_end_at()
        return None

    def _unfinished(self) -> list[Line]:
        """The agent's lines that may still grow."""
        agents = (line for line in self.transcript.spoken() if line.speaker == AGENT and not line.is_final)
        return [line for line in agents if line.item_id not in self.settling]

    def _is_known(self, one: Heard) -> bool:
        """Whether this session said it: one that was lost has taken its items with it."""
        line = self.transcript.lines.get(one.item_id)
        return line is None or line.position >= self.session_from

    def ms(self, at: float) -> int:
        """A moment as ms since the call's first second."""
        return self.base_ms + max(round((at - self.began_at) * 1000), 0)

    def _stream_ms(self, audio_ms: float) -> int:
        """A moment on the clock of the stream's audio as ms since the call's first second."""
        return self.base_ms + round(audio_ms)

    def _add_usage(self, usage: dict[str, Any], prefix: str = "") -> None:
        for name, value in usage.items():
            self.usage[prefix + name] = self.usage.get(prefix + name, 0) + value
        self.usages += 1


def tell(line: Line) -> do.TellLine:
    """A line as the rim is told of it."""
    return do.TellLine(**{**asdict(line), "text": line.text.strip()})

"""Who says what on a live call, and what of it is heard.

The engine's half of the state machine in ``call.py``: the caller speaks and
stops, the agent answers, the caller speaks over the agent; a session is lost
and another goes on. Times (``at``) are seconds since the call began.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev
from flaskapp.phone.playout import Heard, Playout
from flaskapp.phone.recovery import Owed
from flaskapp.phone.transcript import AGENT, CALLER, Awaited, Line, Transcript, heard_part

SILENCED_KEPT = 8
#: To a session that did not say it itself, and was told all of it.
HEARD_ONLY = 'The caller has just interrupted you. Of what you said last he heard only this much: "{}"'


@dataclass(slots=True)
class Conversation:
    """Turns, what was heard of them, and what they cost."""

    playout: Playout = field(default_factory=Playout)
    transcript: Transcript = field(default_factory=Transcript)
    awaited: Awaited = field(default_factory=Awaited)
    base_ms: int = 0  # where this stream begins in the call
    began_at: float = 0.0  # when the stream started
    given_ms: float = 0.0  # caller audio the engine was given: its session's clock
    given_at: float = 0.0  # when it was given the last of it
    offset_ms: float = 0.0  # where the engine's clock starts in the stream
    interrupts_itself: bool = True
    transcribes: bool = True
    silence_ms: int = 0  # what the engine waits before it takes the caller to have stopped
    is_speaking: bool = False
    has_asked: bool = False  # a reply was asked for by us, not by voice activity
    stopped_at: float | None = None  # when the engine was given the caller's last word
    owed: Owed = field(default_factory=Owed)
    reply_id: str = ""  # the response that is being made
    is_sounding: bool = False  # it has begun to speak
    is_unwanted: bool = False  # the next reply answers what was answered before the session was lost
    was_cut_off: bool = False  # the session was lost in mid-reply
    session_from: int = 0  # the first position of this session's own lines
    item_id: str | None = None  # the item whose audio went out last
    silenced: list[str] = field(default_factory=list)  # responses that must not be played any more
    settling: list[str] = field(default_factory=list)  # items complete at the engine, perhaps still playing
    failed_replies: int = 0
    has_answered: bool = False
    usage: dict[str, Any] = field(default_factory=dict)

    def joins(self, ready: ev.SessionReady, from_ms: float) -> None:
        """A session stands; its clock begins where the audio does that it is given first."""
        self.interrupts_itself, self.silence_ms = ready.interrupts_itself, ready.silence_ms
        self.transcribes = ready.transcribes
        self.given_ms, self.offset_ms = 0.0, from_ms
        self.session_from = self.transcript.next_position

    def lose(self, at: float) -> list[do.Command]:
        """The session is gone: what it was saying is cut off, unless the caller has all of it on the line."""
        told: list[do.Command] = []
        if self._is_replying and not (self.is_sounding and self.item_id in self.settling):
            told, self.was_cut_off = self._cut_off(at), True
        self.was_cut_off = self.was_cut_off or self.has_asked
        for line_id in self.awaited.lost(self._audio_ms):
            told += self._give_up(line_id)
        self.is_speaking = self.has_asked = self.is_sounding = self.is_unwanted = False
        self.reply_id, self.item_id, self.silenced = "", None, []
        self.stopped_at = None
        self.owed.nothing()
        return told

    def _cut_off(self, at: float) -> list[do.Command]:
        sounded = self.playout.items()
        told: list[do.Command] = []
        if self.playout.is_playing(at):
            told = [do.ClearPlayback(), *self.cut_short(self.playout.clear(at), at)]
        return told + self._break_off(sounded)

    @property
    def _is_replying(self) -> bool:
        """Whether a reply is being made that the caller is to hear."""
        return self.reply_id != "" and self.reply_id not in self.silenced

    @property
    def _audio_ms(self) -> float:
        """How far the engine has heard, in ms of the stream's audio."""
        return self.offset_ms + self.given_ms

    # ------------------------------------------------------------------ the caller

    def hear(self, event: ev.CallerAudio, at: float) -> list[do.Command]:
        self.given_ms += event.duration_ms
        self.given_at = at
        return [do.Hear(event.payload)]

    def speech_started(self, event: ev.SpeechStarted, at: float) -> list[do.Command]:
        self.is_speaking, self.stopped_at = True, None
        self.owed.speaks()
        commands = self._interrupt(at)
        start_ms = event.audio_start_ms + self.offset_ms
        if start_ms >= self.awaited.lost_ms:
            self.is_unwanted = self.was_cut_off = False
            for line_id in self.awaited.passed_by(start_ms):
                commands += self._give_up(line_id)
        self._callers_line(event.item_id, at, start_ms)
        return commands

    def _callers_line(self, item_id: str, at: float, start_ms: float | None = None) -> Line:
        """The line that takes an item's words: one that a lost session began, or its own."""
        known = self.transcript.lines.get(self.awaited.line_id(item_id))
        if known is not None and (known.is_final or known.item_id != item_id):
            return known
        line_id = self.awaited.begins(item_id, self._audio_ms if start_ms is None else start_ms)
        begins_ms = self.ms(at) if start_ms is None else self._stream_ms(start_ms)
        line = self.transcript.line(line_id, CALLER, begins_ms)
        if line_id != item_id:
            line.text = ""  # it is put into words from the beginning
        return line

    def _give_up(self, line_id: str) -> list[do.Command]:
        """The session is gone that knew the words of this line."""
        return [*self._close(self.transcript.lines[line_id]), do.TellFault("transcription_failed", "lost")]

    def _interrupt(self, at: float) -> list[do.Command]:
        """The caller speaks over the agent: silence it, and tell the engine what was heard."""
        commands: list[do.Command] = []
        sounded = self.playout.items()
        if self.playout.is_playing(at):
            cut = self.playout.clear(at)
            commands.append(do.ClearPlayback())
            known = (one for one in cut if self._is_known(one))
            commands += [do.Truncate(one.item_id, one.content_index, one.heard_ms) for one in known]
            commands += self.cut_short(cut, at)
            others = [self.transcript.lines[one.item_id].text for one in cut if not self._is_known(one)]
            commands += [do.Recite("note", HEARD_ONLY.format(text)) for text in others]
            commands.append(do.TellEvent("barge_in", {"heard_ms": [one.heard_ms for one in cut]}))
        if self.reply_id:
            self._silence(self.reply_id)
            if not self.interrupts_itself:
                commands.append(do.CancelReply(self.reply_id))
            commands += self._break_off(sounded)
        return commands

    def _is_known(self, one: Heard) -> bool:
        """Whether this session said it: one that was lost has taken its items with it."""
        line = self.transcript.lines.get(one.item_id)
        return line is None or line.position >= self.session_from

    def _break_off(self, sounded: set[str]) -> list[do.Command]:
        """Lines of which no more will come; words whose audio never came were not heard."""
        unfinished = self._unfinished()
        for line in unfinished:
            line.text = line.text if line.item_id in sounded else ""
            line.interrupted = line.is_final = True
        return [tell(line) for line in unfinished]

    def _unfinished(self) -> list[Line]:
        """The agent's lines that may still grow."""
        agents = (line for line in self.transcript.spoken() if line.speaker == AGENT and not line.is_final)
        return [line for line in agents if line.item_id not in self.settling]

    @property
    def has_begun(self) -> bool:
        """Whether anybody has said anything yet."""
        return self.has_answered or any(line.speaker == CALLER for line in self.transcript.lines.values())

    def _silence(self, reply_id: str) -> None:
        if reply_id not in self.silenced:
            self.silenced = [*self.silenced[1 - SILENCED_KEPT :], reply_id]

    def cut_short(self, cut: list[Heard], at: float) -> list[do.Command]:
        """The agent's lines keep only what was heard of them."""
        told: list[do.Command] = []
        for one in cut:
            line = self.transcript.line(one.item_id, AGENT, self.ms(at))
            line.text = heard_part(line.text, one.heard_ms, one.received_ms)
            line.end_ms = line.start_ms + one.heard_ms
            line.interrupted = line.is_final = True
            told.append(tell(line))
        self.settling = [item for item in self.settling if not self.transcript.lines[item].is_final]
        return told

    def speech_stopped(self, event: ev.SpeechStopped, at: float) -> list[do.Command]:
        self.is_speaking = False
        end_ms = event.audio_end_ms - self.silence_ms
        self.stopped_at = self.given_at - max(self.given_ms - end_ms, 0.0) / 1000
        self.owed.turn(at, self.stopped_at)
        line = self._callers_line(event.item_id, at)
        line.end_ms = max(self._stream_ms(end_ms + self.offset_ms), line.start_ms)
        swallowed = self.awaited.ends(line.item_id, event.audio_end_ms + self.offset_ms)
        return [command for line_id in swallowed for command in self._take_back(line_id)]

    def _take_back(self, line_id: str) -> list[do.Command]:
        """The words of this line will come with another's."""
        line = self.transcript.lines[line_id]
        had_words, line.text, line.is_final = line.text != "", "", True
        return [tell(line)] if had_words else []

    def committed(self, event: ev.SpeechCommitted, at: float) -> list[do.Command]:
        self.is_speaking = False
        self._callers_line(event.item_id, at)
        return []

    def caller_words(self, event: ev.CallerWords, at: float) -> list[do.Command]:
        line = self._callers_line(event.item_id, at)
        if line.is_final:
            return []
        line.text = event.text.strip() if event.is_final else line.text + event.text
        line.is_final = event.is_final
        if event.is_final:
            self.awaited.worded(line.item_id)
        self._add_usage(event.usage, "transcription_")
        return [tell(line)] if line.text else []

    def caller_words_lost(self, event: ev.CallerWordsLost, at: float) -> list[do.Command]:
        line = self._callers_line(event.item_id, at)
        self.awaited.worded(line.item_id)
        return [*self._close(line), do.TellFault("transcription_failed", event.reason)]

    # ------------------------------------------------------------------ the agent

    def ask(self, instructions: str, at: float) -> do.Command:
        """Ask for a reply that no voice activity brings about: a greeting, a second try."""
        self.has_asked = True
        self.owed.turn(at)
        return do.Reply(instructions)

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

    def reply_started(self, event: ev.ReplyStarted, at: float) -> list[do.Command]:
        self.reply_id, asked, self.has_asked = event.response_id, self.has_asked, False
        unwanted, self.is_unwanted, self.is_sounding = self.is_unwanted and not asked, False, False
        if not unwanted and not (asked and self.is_speaking):
            self.owed.lives(at)
            return []
        # We asked before the caller began to speak: no voice activity detection will cancel this one.
        # Or he has had this answer from the session before.
        self.owed.nothing()
        self._silence(self.reply_id)
        return [do.CancelReply(self.reply_id)]

    def reply_audio(self, event: ev.ReplyAudio, at: float) -> list[do.Command]:
        if event.response_id in self.silenced:
            return []
        play = do.Play(event.payload)
        if event.item_id == self.item_id:
            self.playout.sent(event.item_id, event.content_index, event.duration_ms, at)
            return [play]
        told = self._first_audio(event.item_id, at)
        self.playout.sent(event.item_id, event.content_index, event.duration_ms, at)
        # An early mark tells how far the line lags behind our clock.
        return [told, play, do.SetMark(self.playout.mark())]

    def _first_audio(self, item_id: str, at: float) -> do.Command:
        line = self.transcript.line(item_id, AGENT, self.ms(at))
        line.start_ms = line.end_ms = self.ms(at + self.playout.remaining_s(at))
        if self.stopped_at is not None:
            line.engine_ms = max(round((at - self.stopped_at) * 1000), 0)
        told = do.TellTurn(item_id, line.engine_ms, not self.has_answered)
        self.item_id, self.stopped_at, self.has_answered = item_id, None, True
        self.is_sounding, self.was_cut_off = True, False
        self.owed.nothing()
        return told

    def reply_audio_ended(self, event: ev.ReplyAudioEnded, at: float) -> list[do.Command]:
        if event.response_id in self.silenced or not self.playout.is_playing(at):
            return []
        self._stretch(event.item_id, at)
        return [do.SetMark(self.playout.mark())]

    def reply_words(self, event: ev.ReplyWords, at: float) -> list[do.Command]:
        line = self.transcript.line(event.item_id, AGENT, self.ms(at))
        if line.is_final or event.response_id in self.silenced:
            return []
        line.text = event.text.strip() if event.is_final else line.text + event.text
        self._stretch(event.item_id, at)
        if event.is_final and event.item_id not in self.settling:
            self.settling.append(event.item_id)
        return [tell(line)] if line.text else []

    def _stretch(self, item_id: str, at: float) -> None:
        """The line lasts as long as its audio does."""
        line = self.transcript.lines.get(item_id)
        if line is not None and not line.is_final:
            line.end_ms = max(line.end_ms, self.ms(at + self.playout.remaining_s(at)))

    def reply_ended(self, event: ev.ReplyEnded, at: float) -> list[do.Command]:
        if self.reply_id == event.response_id:
            self.reply_id, self.is_sounding = "", False
            self.owed.nothing()
        self._add_usage(event.usage)
        sounded = self.playout.items()
        self.settling += [line.item_id for line in self._unfinished() if line.item_id in sounded]
        told = self._break_off(sounded)
        if event.status != "failed":
            self.failed_replies = 0
            return told
        self.failed_replies += 1
        return [*told, do.TellFault("reply_failed", event.error_code)]

    def tool_called(self, event: ev.ToolCalled, at: float) -> list[do.Command]:
        self.is_sounding = False
        self.owed.nothing()  # its answer is not the engine's to give
        return [do.TellEvent("tool_called", {"name": event.name})]

    # ------------------------------------------------------------------ the line

    def mark_reached(self, event: ev.MarkReached, at: float) -> list[do.Command]:
        self.playout.mark_reached(event.name, at)
        return self.settle(at)

    def settle(self, at: float) -> list[do.Command]:
        """The agent's lines become final when they have been heard to the end."""
        if not self.settling or self.reply_id:
            return []
        done = []
        for item in self.settling:
            heard = self.playout.heard(item, at)
            if heard.heard_ms >= heard.received_ms:
                done.append(self.transcript.lines[item])
        self.settling = [item for item in self.settling if self.transcript.lines[item] not in done]
        return [command for line in done for command in self._close(line)]

    def end(self, at: float) -> list[do.Command]:
        """The caller hears nothing from now on: no line stays open."""
        sounded = self.playout.items()
        told = self.cut_short(self.playout.clear(at), at) + self._break_off(sounded)
        agents = [line for line in self.transcript.spoken() if line.speaker == AGENT]
        return told + [command for line in agents for command in self._close(line)]

    def close_all(self, others_write: bool) -> list[do.Command]:
        """No words will come any more.

        Args:
            others_write: what the caller said since the oldest of his open lines began.
        """
        left = self.awaited.open_lines() if others_write else []
        withdrawn = [command for line_id in left for command in self._take_back(line_id)]
        return withdrawn + [command for line in self.transcript.spoken() for command in self._close(line)]

    def _close(self, line: Line) -> list[do.Command]:
        if line.is_final:
            return []
        line.is_final = True
        return [tell(line)] if line.text else []

    # ------------------------------------------------------------------ small things

    def ms(self, at: float) -> int:
        """A moment as ms since the call's first second."""
        return self.base_ms + max(round((at - self.began_at) * 1000), 0)

    def _stream_ms(self, audio_ms: float) -> int:
        """A moment on the clock of the stream's audio as ms since the call's first second."""
        return self.base_ms + round(audio_ms)

    def _add_usage(self, usage: dict[str, Any], prefix: str = "") -> None:
        for name, value in usage.items():
            self.usage[prefix + name] = self.usage.get(prefix + name, 0) + value

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Conversation:
        own = {
            "playout": Playout.from_dict(data["playout"]),
            "transcript": Transcript.from_dict(data["transcript"]),
            "awaited": Awaited.from_dict(data["awaited"]),
            "owed": Owed(**data["owed"]),
        }
        return cls(**{**data, **own})


def tell(line: Line) -> do.TellLine:
    """A line as the rim is told of it."""
    return do.TellLine(**{**asdict(line), "text": line.text.strip()})

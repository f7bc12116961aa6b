"""Who says what on a live call, and what of it is heard.

The engine's half of the state machine in ``call.py``: the caller speaks and
stops, the agent answers, the caller speaks over the agent. Times (``at``) are
seconds since the call began.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from flaskapp.phone import events as ev
from flaskapp.phone.playout import Heard, Playout
from flaskapp.phone.transcript import AGENT, CALLER, Line, Transcript, heard_part

SILENCED_KEPT = 8


@dataclass(slots=True)
class Conversation:
    """Turns, what was heard of them, and what they cost."""

    playout: Playout = field(default_factory=Playout)
    transcript: Transcript = field(default_factory=Transcript)
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
    reply_id: str = ""  # the response that is being made
    item_id: str | None = None  # the item whose audio went out last
    silenced: list[str] = field(default_factory=list)  # responses that must not be played any more
    settling: list[str] = field(default_factory=list)  # items complete at the engine, perhaps still playing
    failed_replies: int = 0
    has_answered: bool = False
    usage: dict[str, Any] = field(default_factory=dict)

    def agree(self, ready: ev.SessionReady) -> None:
        """What the engine said of the session."""
        self.interrupts_itself, self.silence_ms = ready.interrupts_itself, ready.silence_ms
        self.transcribes = ready.transcribes

    # ------------------------------------------------------------------ the caller

    def hear(self, event: ev.CallerAudio, at: float) -> list[ev.Command]:
        self.given_ms += event.duration_ms
        self.given_at = at
        return [ev.Hear(event.payload)]

    def speech_started(self, event: ev.SpeechStarted, at: float) -> list[ev.Command]:
        self.is_speaking, self.stopped_at = True, None
        commands = self._interrupt(at)
        self.transcript.line(event.item_id, CALLER, self._stream_ms(event.audio_start_ms))
        return commands

    def _interrupt(self, at: float) -> list[ev.Command]:
        """The caller speaks over the agent: silence it, and tell the engine what was heard."""
        commands: list[ev.Command] = []
        sounded = self.playout.items()
        if self.playout.is_playing(at):
            cut = self.playout.clear(at)
            commands.append(ev.ClearPlayback())
            commands += [ev.Truncate(one.item_id, one.content_index, one.heard_ms) for one in cut]
            commands += self.cut_short(cut, at)
            commands.append(ev.TellEvent("barge_in", {"heard_ms": [one.heard_ms for one in cut]}))
        if self.reply_id:
            self._silence(self.reply_id)
            if not self.interrupts_itself:
                commands.append(ev.CancelReply(self.reply_id))
            commands += self._break_off(sounded)
        return commands

    def _break_off(self, sounded: set[str]) -> list[ev.Command]:
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

    def cut_short(self, cut: list[Heard], at: float) -> list[ev.Command]:
        """The agent's lines keep only what was heard of them."""
        told: list[ev.Command] = []
        for one in cut:
            line = self.transcript.line(one.item_id, AGENT, self.ms(at))
            line.text = heard_part(line.text, one.heard_ms, one.received_ms)
            line.end_ms = line.start_ms + one.heard_ms
            line.interrupted = line.is_final = True
            told.append(tell(line))
        self.settling = [item for item in self.settling if not self.transcript.lines[item].is_final]
        return told

    def speech_stopped(self, event: ev.SpeechStopped, at: float) -> list[ev.Command]:
        self.is_speaking = False
        end_ms = event.audio_end_ms - self.silence_ms
        self.stopped_at = self.given_at - max(self.given_ms - end_ms, 0.0) / 1000
        line = self.transcript.line(event.item_id, CALLER)
        line.end_ms = max(self._stream_ms(end_ms), line.start_ms)
        return []

    def committed(self, event: ev.SpeechCommitted, at: float) -> list[ev.Command]:
        self.is_speaking = False
        self.transcript.line(event.item_id, CALLER, self.ms(at))
        return []

    def caller_words(self, event: ev.CallerWords, at: float) -> list[ev.Command]:
        line = self.transcript.line(event.item_id, CALLER, self.ms(at))
        if line.is_final:
            return []
        line.text = event.text.strip() if event.is_final else line.text + event.text
        line.is_final = event.is_final
        self._add_usage(event.usage, "transcription_")
        return [tell(line)] if line.text else []

    def caller_words_lost(self, event: ev.CallerWordsLost, at: float) -> list[ev.Command]:
        told = self._close(self.transcript.line(event.item_id, CALLER, self.ms(at)))
        return [*told, ev.TellFault("transcription_failed", event.reason)]

    # ------------------------------------------------------------------ the agent

    def ask(self, instructions: str) -> ev.Command:
        """Ask for a reply that no voice activity brings about: a greeting, a second try."""
        self.has_asked = True
        return ev.Reply(instructions)

    def reply_started(self, event: ev.ReplyStarted, at: float) -> list[ev.Command]:
        self.reply_id, asked, self.has_asked = event.response_id, self.has_asked, False
        if not (asked and self.is_speaking):
            return []
        # We asked before the caller began to speak: no voice activity detection will cancel this one.
        self._silence(self.reply_id)
        return [ev.CancelReply(self.reply_id)]

    def reply_audio(self, event: ev.ReplyAudio, at: float) -> list[ev.Command]:
        if event.response_id in self.silenced:
            return []
        play = ev.Play(event.payload)
        if event.item_id == self.item_id:
            self.playout.sent(event.item_id, event.content_index, event.duration_ms, at)
            return [play]
        told = self._first_audio(event.item_id, at)
        self.playout.sent(event.item_id, event.content_index, event.duration_ms, at)
        # An early mark tells how far the line lags behind our clock.
        return [told, play, ev.SetMark(self.playout.mark())]

    def _first_audio(self, item_id: str, at: float) -> ev.Command:
        line = self.transcript.line(item_id, AGENT, self.ms(at))
        line.start_ms = line.end_ms = self.ms(at + self.playout.remaining_s(at))
        if self.stopped_at is not None:
            line.engine_ms = max(round((at - self.stopped_at) * 1000), 0)
        told = ev.TellTurn(item_id, line.engine_ms, not self.has_answered)
        self.item_id, self.stopped_at, self.has_answered = item_id, None, True
        return told

    def reply_audio_ended(self, event: ev.ReplyAudioEnded, at: float) -> list[ev.Command]:
        if event.response_id in self.silenced or not self.playout.is_playing(at):
            return []
        self._stretch(event.item_id, at)
        return [ev.SetMark(self.playout.mark())]

    def reply_words(self, event: ev.ReplyWords, at: float) -> list[ev.Command]:
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

    def reply_ended(self, event: ev.ReplyEnded, at: float) -> list[ev.Command]:
        if self.reply_id == event.response_id:
            self.reply_id = ""
        self._add_usage(event.usage)
        sounded = self.playout.items()
        self.settling += [line.item_id for line in self._unfinished() if line.item_id in sounded]
        told = self._break_off(sounded)
        if event.status != "failed":
            self.failed_replies = 0
            return told
        self.failed_replies += 1
        return [*told, ev.TellFault("reply_failed", event.error_code)]

    def tool_called(self, event: ev.ToolCalled, at: float) -> list[ev.Command]:
        return [ev.TellEvent("tool_called", {"name": event.name})]

    # ------------------------------------------------------------------ the line

    def mark_reached(self, event: ev.MarkReached, at: float) -> list[ev.Command]:
        self.playout.mark_reached(event.name, at)
        return self.settle(at)

    def settle(self, at: float) -> list[ev.Command]:
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

    def end(self, at: float) -> list[ev.Command]:
        """The caller hears nothing from now on: no line stays open."""
        sounded = self.playout.items()
        told = self.cut_short(self.playout.clear(at), at) + self._break_off(sounded)
        agents = [line for line in self.transcript.spoken() if line.speaker == AGENT]
        return told + [command for line in agents for command in self._close(line)]

    def close_all(self) -> list[ev.Command]:
        """No words will come any more."""
        return [command for line in self.transcript.spoken() for command in self._close(line)]

    def _close(self, line: Line) -> list[ev.Command]:
        if line.is_final:
            return []
        line.is_final = True
        return [tell(line)] if line.text else []

    # ------------------------------------------------------------------ small things

    def ms(self, at: float) -> int:
        """A moment as ms since the stream started."""
        return max(round((at - self.began_at) * 1000), 0)

    def _stream_ms(self, session_ms: float) -> int:
        """A moment on the engine's clock as ms since the stream started."""
        return round(session_ms + self.offset_ms)

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
        }
        return cls(**{**data, **own})


def tell(line: Line) -> ev.TellLine:
    """A line as the rim is told of it."""
    return ev.TellLine(**{**asdict(line), "text": line.text.strip()})

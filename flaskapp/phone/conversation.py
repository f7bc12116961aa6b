"""Who says what on a live call, and what of it is heard.

The engine's half of the state machine in ``call.py``: the caller speaks and
stops, the agent answers, the caller speaks over the agent; a session is lost
and another goes on. Times (``at``) are seconds since the call began.
"""

from __future__ import annotations

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev
from flaskapp.phone.greeting import ITEM as GREETING
from flaskapp.phone.playout import Heard
from flaskapp.phone.talk import Talk, tell
from flaskapp.phone.transcript import AGENT, CALLER, Line, heard_part

SILENCED_KEPT = 8
#: To a session that did not say it itself, and was told all of it.
HEARD_ONLY = 'The caller has just interrupted you. Of what you said last he heard only this much: "{}"'


class Conversation(Talk):
    """What becomes of it with each thing that happens."""

    __slots__ = ()

    def joins(self, ready: ev.SessionReady, from_ms: float, at: float) -> None:
        """A session stands; its clock begins where the audio does that it is given first."""
        self.interrupts_itself, self.silence_ms = ready.interrupts_itself, ready.silence_ms
        self.transcribes = ready.transcribes
        self.given_ms, self.offset_ms = 0.0, from_ms
        self.quiet_from = self.quiet_from or at
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

    # ------------------------------------------------------------------ the caller

    def hear(self, event: ev.CallerAudio, at: float) -> list[do.Command]:
        self.given_ms += event.duration_ms
        self.given_at = at
        return [do.Hear(event.payload)]

    def speech_started(self, event: ev.SpeechStarted, at: float) -> list[do.Command]:
        self.is_speaking, self.stopped_at, self.quiet_from = True, None, at
        self.owed.speaks()
        commands = self._interrupt(at)
        start_ms = event.audio_start_ms + self.offset_ms
        if start_ms >= self.awaited.lost_ms:
            self.is_unwanted = self.was_cut_off = False
            for line_id in self.awaited.passed_by(start_ms):
                commands += self._give_up(line_id)
        return [*commands, *self._placed(event.item_id, at, start_ms)]

    def _placed(self, item_id: str, at: float, start_ms: float | None = None) -> list[do.Command]:
        """An item of the caller's has its place among the lines, however late its words arrive."""
        before = len(self.transcript.lines)
        line = self._callers_line(item_id, at, start_ms)
        is_new = len(self.transcript.lines) > before
        return [do.TellPlace(line.item_id, line.position, CALLER)] if is_new else []

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

    def _break_off(self, sounded: set[str]) -> list[do.Command]:
        """Lines of which no more will come; words whose audio never came were not heard."""
        unfinished = self._unfinished()
        for line in unfinished:
            if line.item_id not in sounded:
                line.generated, line.text = line.text, ""
            line.interrupted = line.is_final = True
        return [tell(line) for line in unfinished]

    def _silence(self, reply_id: str) -> None:
        if reply_id not in self.silenced:
            self.silenced = [*self.silenced[1 - SILENCED_KEPT :], reply_id]

    def cut_short(self, cut: list[Heard], at: float) -> list[do.Command]:
        """The agent's lines keep only what was heard of them."""
        told: list[do.Command] = []
        for one in cut:
            line = self.transcript.line(one.item_id, AGENT, self.ms(at))
            line.generated = line.generated or line.text
            line.text = heard_part(line.text, one.heard_ms, one.received_ms)
            line.end_ms = line.start_ms + one.heard_ms
            line.interrupted = line.is_final = True
            told.append(tell(line))
        self.settling = [item for item in self.settling if not self.transcript.lines[item].is_final]
        return told

    def speech_stopped(self, event: ev.SpeechStopped, at: float) -> list[do.Command]:
        self.is_speaking, self.quiet_from = False, at
        end_ms = event.audio_end_ms - self.silence_ms
        self.stopped_at = self.given_at - max(self.given_ms - end_ms, 0.0) / 1000
        if not self.listens:
            self.owed.turn(at, self.stopped_at)
        line = self._callers_line(event.item_id, at)
        line.end_ms = max(self._stream_ms(end_ms + self.offset_ms), line.start_ms)
        line.noticed_ms, self.stops[line.item_id] = _ms_between(self.stopped_at, at), self.stopped_at
        swallowed = self.awaited.ends(line.item_id, event.audio_end_ms + self.offset_ms)
        return [command for line_id in swallowed for command in self._take_back(line_id)]

    def _take_back(self, line_id: str) -> list[do.Command]:
        """The words of this line will come with another's."""
        line = self.transcript.lines[line_id]
        had_words, line.text, line.is_final = line.text != "", "", True
        return [tell(line)] if had_words else _told(line)

    def committed(self, event: ev.SpeechCommitted, at: float) -> list[do.Command]:
        self.is_speaking = False
        return self._placed(event.item_id, at)

    def caller_words(self, event: ev.CallerWords, at: float) -> list[do.Command]:
        line = self._callers_line(event.item_id, at)
        if line.is_final:
            return []
        line.text = event.text.strip() if event.is_final else line.text + event.text
        line.is_final = event.is_final
        if event.is_final:
            self.awaited.worded(line.item_id)
            stopped_at = self.stops.pop(line.item_id, None)
            line.words_ms = None if stopped_at is None else _ms_between(stopped_at, at)
        self._add_usage(event.usage, "transcription_")
        return _told(line)

    def caller_words_lost(self, event: ev.CallerWordsLost, at: float) -> list[do.Command]:
        line = self._callers_line(event.item_id, at)
        self.awaited.worded(line.item_id)
        self.stops.pop(line.item_id, None)
        return [*self._close(line), do.TellFault("transcription_failed", event.reason)]

    # ------------------------------------------------------------------ the agent

    def ask(self, instructions: str, at: float) -> do.Command:
        """Ask for a reply that no voice activity brings about: a greeting, a second try."""
        self.has_asked, self.was_due, self.is_due = True, self.is_due, False
        self.owed.turn(at)
        return do.Reply(instructions)

    def ask_if_due(self, at: float) -> list[do.Command]:
        """Ask for the reply to what the engine was given, unless one comes anyway."""
        if not self.is_due or self._is_at_work or self.is_speaking or self.listens:
            return []
        return [self.ask("", at)]

    def greet(self, at: float) -> list[do.Command]:
        """Play the greeting as the engine spoke it for somebody else; a session is told of it as said."""
        clip = self.greeting.clip
        if clip is None:
            return []
        line = self.transcript.line(GREETING, AGENT, self.ms(at))
        line.text, line.end_ms = self.greeting.text, line.start_ms + round(clip.duration_ms)
        first, self.has_answered = not self.has_answered, True
        self.playout.sent(GREETING, 0, clip.duration_ms, at, clip.payload)
        self.settling.append(GREETING)
        sound: list[do.Command] = [do.Play(clip.payload), do.SetMark(self.playout.mark(), is_last=True)]
        return [*sound, tell(line), do.TellTurn(GREETING, None, first)]

    def keys_pressed(self, keys: str, text: str, at: float) -> list[do.Command]:
        """The caller has pressed these keys: a line like any other, and the engine's turn."""
        return self._unspoken("keys", text, do.TellEvent("dtmf", {"keys": len(keys)}), at)

    def typed(self, text: str, at: float) -> list[do.Command]:
        """The caller has written this: a line like any other, and the engine's turn."""
        return self._unspoken("typed", text, do.TellEvent("typed", {"characters": len(text)}), at)

    def _unspoken(self, kind: str, text: str, event: do.TellEvent, at: float) -> list[do.Command]:
        line = self.transcript.line(f"{kind}-{self.transcript.next_position}", CALLER, self.ms(at))
        line.text, line.is_final, self.is_due, self.quiet_from = text, True, True, at
        return [tell(line), event, do.Recite(CALLER, text)]

    def interrupt(self, at: float) -> list[do.Command]:
        """The caller wants to be attended to without speaking: the agent falls silent."""
        active = self.reply_id if self.reply_id and self.reply_id not in self.silenced else ""
        told = self._interrupt(at)
        if active and self.interrupts_itself:  # of a key the engine knows nothing
            told.append(do.CancelReply(active))
        return told

    def reply_started(self, event: ev.ReplyStarted, at: float) -> list[do.Command]:
        self.reply_id, asked, self.has_asked = event.response_id, self.has_asked, False
        unwanted, self.is_unwanted, self.is_sounding = self.is_unwanted and not asked, False, False
        self.is_due = False
        self.greeting.started(event.response_id)
        if not (unwanted or self.listens) and not (asked and self.is_speaking):
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
        if self.greeting.reply_id:
            self.greeting.takes(event.payload)
        if event.item_id == self.item_id:
            self.playout.sent(event.item_id, event.content_index, event.duration_ms, at, event.payload)
            return [play]
        told = self._first_audio(event.item_id, at)
        self.playout.sent(event.item_id, event.content_index, event.duration_ms, at, event.payload)
        # An early mark tells how far the line lags behind our clock.
        mark = self.playout.mark()
        self.first_mark = (mark, event.item_id, at + event.duration_ms / 1000)
        return [told, play, do.SetMark(mark)]

    def _first_audio(self, item_id: str, at: float) -> do.Command:
        line = self.transcript.line(item_id, AGENT, self.ms(at))
        line.start_ms = line.end_ms = self.ms(at + self.playout.remaining_s(at))
        if self.stopped_at is not None:
            line.engine_ms = _ms_between(self.stopped_at, at)
        told = do.TellTurn(item_id, line.engine_ms, not self.has_answered)
        self.item_id, self.stopped_at, self.has_answered = item_id, None, True
        self.is_sounding, self.was_cut_off = True, False
        self.owed.nothing()
        return told

    def reply_audio_ended(self, event: ev.ReplyAudioEnded, at: float) -> list[do.Command]:
        if event.response_id in self.silenced or not self.playout.is_playing(at):
            return []
        self._stretch(event.item_id, at)
        return [do.SetMark(self.playout.mark(), is_last=True)]

    def reply_words(self, event: ev.ReplyWords, at: float) -> list[do.Command]:
        line = self.transcript.line(event.item_id, AGENT, self.ms(at))
        if line.is_final or event.response_id in self.silenced:
            return []
        line.text = event.text.strip() if event.is_final else line.text + event.text
        line.is_said = event.is_final
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
        self.quiet_from = at
        self._add_usage(event.usage)
        sounded = self.playout.items()
        self.settling += [line.item_id for line in self._unfinished() if line.item_id in sounded]
        is_whole = event.status == "completed" and event.response_id not in self.silenced
        line = self.transcript.lines.get(self.item_id or "")
        told = self.greeting.ended(event.response_id, is_whole, line.text if line else "")
        told += self._break_off(sounded)
        if event.status != "failed":
            self.failed_replies = 0
            return told
        self.failed_replies += 1
        return [*told, do.TellFault("reply_failed", event.error_code)]

    def tool_called(self) -> bool:
        """The engine waits for a function: what it owes is not its to give. Whether it has said something."""
        if self.is_sounding:
            self.worded_reply = self.reply_id
        had_words, self.is_sounding = self.worded_reply == self.reply_id != "", False
        self.owed.nothing()
        return had_words

    # ------------------------------------------------------------------ the line

    def mark_reached(self, event: ev.MarkReached, at: float) -> list[do.Command]:
        name, item, since = self.first_mark
        is_due = event.name in self.playout.marks  # else it returned because of a clear
        self.playout.mark_reached(event.name, at)
        if is_due and name == event.name and item in self.transcript.lines:
            self.transcript.lines[item].heard_ms = _ms_between(since, at)
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
        return _told(line)


def _ms_between(earlier: float, later: float) -> int:
    return max(round((later - earlier) * 1000), 0)


def _told(line: Line) -> list[do.Command]:
    """A line that has words; of a caller's that will never have any, that its place is free."""
    if line.text:
        return [tell(line)]
    is_over = line.is_final and line.speaker == CALLER
    return [do.TellPlace(line.item_id, line.position, CALLER, is_over=True)] if is_over else []

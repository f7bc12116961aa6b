"""One recorded turn: fetched, understood, answered, and kept; a job does it, any number of times, once.

A turn is claimed by the web (``recorded.py``, ``leftovers.py``) and worked on
here, in a background worker or in the web worker's own pool. Whoever holds the
turn's lease works; the first outcome stays; the history is written from that
outcome, as often as it takes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from flaskapp.phone import errors
from flaskapp.phone.agent import Agents
from flaskapp.phone.audio import TELEPHONE_RATE_HZ, Wav, mulaw_to_pcm16
from flaskapp.phone.engines.turns import Answer, TurnEngine
from flaskapp.phone.farewell import is_goodbye
from flaskapp.phone.fetch import Fetched, Recording, RecordingHost
from flaskapp.phone.next_step import WAIT_S
from flaskapp.phone.transcript import AGENT, CALLER, Line
from flaskapp.store.audio import AudioBuffer
from flaskapp.store.history import CLOSED_RECORDINGS, Entry, History, RecordingChanged, TurnSaved
from flaskapp.store.live import LiveStore
from flaskapp.store.turns import Outcome, Turn, TurnBook

log = logging.getLogger(__name__)

READY_AFTER_S = (0.5, 1.0, 2.0, 4.0)  # asked again so soon for a recording that is not there yet
READY_WITHIN_S = 900.0
NOT_READY_PAUSE_S = 15.0
MISTAKEN_FOR_S = 1.0  # so long a host may answer with something else than a recording
AI_BACK_AFTER_S = (5.0, 10.0, 20.0, 40.0, 60.0)
AI_BACK_WITHIN_S = 86_400.0
WITHIN_S = 14.0
UNHURRIED_S = 60.0

#: What a fetch's failure is called in the history. What may pass is tried again, the rest is final.
FINAL = {
    errors.BlockedUrl: "blocked_url",
    errors.TooLarge: "too_large",
    errors.NotAudio: "not_audio",
    errors.FetchRefused: "failed",
}
#: Outcomes that the caller was told of while the words are still to be understood.
OPEN = {"unavailable", "waiting"}


class RecordedTurns:
    """Works on recorded turns, wherever a job is carried out.

    Args:
        ai: understands and answers; None where no engine is configured.
        speaks: make a sound file of every answer (``REPLY_VOICE=play``).
        deletes: have the carrier's copy deleted once the words are kept.
    """

    def __init__(
        self,
        book: TurnBook,
        live: LiveStore,
        audio: AudioBuffer,
        history: History,
        host: RecordingHost,
        ai: TurnEngine | None,
        agents: Agents,
        *,
        speaks: bool = False,
        deletes: bool = False,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._book, self._live, self._audio, self._history = book, live, audio, history
        self._host, self._ai, self._agents = host, ai, agents
        self._speaks, self._deletes = speaks, deletes
        self._sleep, self._now = sleep, now

    def perform(self, call_sid: str, key: str) -> None:
        """Do what is left to do for one turn; nothing if somebody else is at it."""
        with self._book.holding(call_sid, key) as is_ours:
            turn = self._book.find(call_sid, key) if is_ours else None
            if turn is None:
                return
            told = self._book.outcome(call_sid, key)
            if told is None or told.kind in OPEN:
                self._work(turn, told)
            else:
                self._keep(turn, told)

    def _work(self, turn: Turn, told: Outcome | None) -> None:
        sid = turn.call_sid
        if told is None and (status := self._known_end(turn)):
            self._book.finish(sid, turn.key, Outcome(status))
            self._book.close(sid, turn.key)
            return
        log.info("Processing streamed audio for call %s", sid, extra={"call_sid": sid})
        try:
            outcome = self._understood(turn, turn.wants_reply and told is None and self._is_waited_for(turn))
        except (errors.NotReady, errors.Unreachable) as error:
            self._later(turn, told, "waiting", error, READY_WITHIN_S)
            return
        except errors.EngineError as error:
            self._later(turn, told, "unavailable", error, AI_BACK_WITHIN_S)
            return
        if told is None and not self._book.finish(sid, turn.key, outcome):
            outcome = self._book.outcome(sid, turn.key) or outcome
        self._keep(turn, outcome)
        log.info("Real-time audio processing completed for call %s", sid, extra={"call_sid": sid})

    def _known_end(self, turn: Turn) -> str:
        """What the history says became of it: Redis may have forgotten, and webhooks may come again."""
        try:
            row = self._history.recording(turn.key)
        except SQLAlchemyError as error:  # somebody may be waiting for an answer
            log.warning("The history is away: %s", type(error).__name__, extra={"call_sid": turn.call_sid})
            return ""
        return str(row["status"]) if row and row["status"] in CLOSED_RECORDINGS else ""

    def _is_waited_for(self, turn: Turn) -> bool:
        """Whether the caller still waits for an answer, as far as a clock can tell."""
        return self._now() - turn.claimed_at < WAIT_S

    def _understood(self, turn: Turn, wants_reply: bool) -> Outcome:
        """What was said and what is answered.

        Raises:
            NotReady, Unreachable: the recording cannot be had yet.
            EngineError: AI is away.
        """
        agent = self._agents.for_number(turn.called)
        past = self._said_before(turn)
        if turn.source == "words":
            answer = self._ai_or_raise().reply(past[-1].text if past else "", past[:-1], agent, WITHIN_S)
            return Outcome("answered", "", answer.response, usage=dict(answer.usage))
        try:
            sound, flaw = self._sound(turn)
        except tuple(FINAL) as error:
            return Outcome(FINAL[type(error)], detail=str(error)[:200])
        if sound is None or not sound.has_speech:
            return Outcome("silent", detail=flaw)
        # An answer that comes late finds nobody; words alone may take as long as they took to say.
        within_s = WITHIN_S if wants_reply else max(UNHURRIED_S, sound.duration_ms / 1000)
        answer = self._ai_or_raise().answer(sound, past, agent, wants_reply=wants_reply, within_s=within_s)
        if not answer.transcript and not answer.response:
            return Outcome("silent", detail=flaw)
        spoken = wants_reply and self._spoken(turn, answer, agent)
        return Outcome(
            "answered" if wants_reply else "understood",
            answer.transcript,
            answer.response if wants_reply else "",
            flaw,
            is_goodbye(answer.transcript),
            bool(spoken),
            dict(answer.usage),
        )

    def _ai_or_raise(self) -> TurnEngine:
        if self._ai is None:
            raise errors.EngineUnreachable("no AI engine is configured")
        return self._ai

    def _sound(self, turn: Turn) -> tuple[Wav | None, str]:
        """The caller's voice, and what is wrong with it."""
        if turn.refused:
            raise errors.BlockedUrl(turn.refused)
        if turn.source == "recording":
            fetched = self._fetch(Recording(turn.account_sid, turn.key))
            return fetched.sound, "truncated" if fetched.is_truncated else ""
        chunks = self._audio.read(turn.call_sid, turn.from_ms, turn.to_ms or None)
        mulaw = b"".join(chunk.mulaw for chunk in chunks)
        return (Wav(mulaw_to_pcm16(mulaw), TELEPHONE_RATE_HZ) if mulaw else None), ""

    def _fetch(self, recording: Recording) -> Fetched:
        """The recording, asked for again while it may still come about; a page in its place may pass, too."""
        for pause_s in READY_AFTER_S:
            try:
                return self._host.fetch(recording)
            except errors.NotAudio:
                if pause_s > MISTAKEN_FOR_S:
                    raise
            except errors.NotReady as error:
                if (error.retry_after_s or 0.0) > READY_AFTER_S[-1]:
                    raise
                pause_s = max(error.retry_after_s or 0.0, pause_s)
            self._sleep(pause_s)
        return self._host.fetch(recording)

    def _said_before(self, turn: Turn) -> list[Line]:
        """The conversation up to this turn."""
        known = self._live.lines(turn.call_sid)
        return [
            Line(line["item_id"], line["position"], line["speaker"], line["text"])
            for line in known
            if line["text"] and line["position"] < turn.position
        ]

    def _spoken(self, turn: Turn, answer: Answer, agent: Any) -> bool:
        """Whether a sound file of the answer was made; without one the carrier reads it out."""
        if not self._speaks or self._ai is None or not answer.response:
            return False
        try:
            self._book.put_speech(turn.call_sid, turn.key, self._ai.speak(answer.response, agent))
        except errors.EngineError as error:
            log.warning("No speech was made: %s", error, extra={"call_sid": turn.call_sid})
            return False
        return True

    # ------------------------------------------------------------------ what becomes of it

    def _later(self, turn: Turn, told: Outcome | None, kind: str, error: Exception, within_s: float) -> None:
        """Not now: the caller is told, the words stay where they are, and the turn stays open."""
        sid, waited_s = turn.call_sid, self._now() - turn.claimed_at
        log.warning("Recorded turn: %s: %s", kind, error, extra={"call_sid": sid})
        if waited_s > within_s:
            final = Outcome("failed", detail=f"{kind}: {error}"[:200])
            self._keep(turn, final)
            return
        pauses = AI_BACK_AFTER_S if kind == "unavailable" else (NOT_READY_PAUSE_S,)
        attempts = self._book.attempt(sid, turn.key)
        pause_s = pauses[min(attempts, len(pauses)) - 1]
        if told is None and kind == "unavailable":
            self._book.finish(sid, turn.key, Outcome(kind, detail=str(error)[:200]))
        self._note(
            turn, {"status": "waiting", "attempts": attempts, "error": f"{kind}: {error}"[:200]}, pause_s
        )
        self._book.postpone(sid, turn.key, pause_s)

    def _note(self, turn: Turn, fields: dict[str, Any], pause_s: float) -> None:
        """A line in the history on the way; if it cannot be written now, the last one will be."""
        due = datetime.now(UTC) + timedelta(seconds=pause_s)
        try:
            self._history.write([self._changed(turn, **fields, next_try_at=due)])
        except Exception as error:  # any database's: the turn itself stays open and is tried again
            log.warning("The history is away: %s", type(error).__name__, extra={"call_sid": turn.call_sid})

    def _keep(self, turn: Turn, outcome: Outcome) -> None:
        """Write the outcome to the history, tell the call's next legs, and close the turn.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database is away; the turn stays open.
        """
        sid, lines = turn.call_sid, self._lines(turn, outcome)
        mode = "unheard" if turn.source == "buffer" and not turn.wants_reply else "recorded"
        entries: list[Entry] = [
            TurnSaved(sid, line.item_id, line.position, line.speaker, line.text, line.start_ms, line.end_ms,
                      mode, False, True)
            for line in lines
        ]  # fmt: skip
        self._history.write(
            [*entries, self._changed(turn, status=outcome.kind, error=outcome.detail or None)]
        )
        if self._live.recall(sid) and not self._live.is_forgotten(
            sid
        ):  # once a call is over and forgotten, nobody asks for its lines any more
            self._live.keep_lines(sid, [{**asdict(line), "mode": mode} for line in lines])
        if turn.source == "buffer":
            self._audio.cut(sid, turn.to_ms)
        elif self._deletes and outcome.kind in ("answered", "understood", "silent"):
            self._delete(turn)
        self._book.close(sid, turn.key)

    def _changed(self, turn: Turn, **fields: Any) -> RecordingChanged:
        about = {"source": turn.source, "duration_ms": turn.duration_ms or None}
        return RecordingChanged(turn.call_sid, turn.key, {**about, **fields})

    def _lines(self, turn: Turn, outcome: Outcome) -> list[Line]:
        end_ms = turn.at_ms + turn.duration_ms
        lines = []
        if outcome.transcript:
            lines.append(Line(turn.key, turn.position, CALLER, outcome.transcript, turn.at_ms, end_ms, True))
        if outcome.response:
            item = f"{turn.key}-reply"
            lines.append(Line(item, turn.position + 1, AGENT, outcome.response, end_ms, end_ms, True))
        return lines

    def _delete(self, turn: Turn) -> None:
        try:
            self._host.delete(Recording(turn.account_sid, turn.key))
        except errors.FetchError as error:
            log.warning("The carrier keeps its copy: %s", error, extra={"call_sid": turn.call_sid})

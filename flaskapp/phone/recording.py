"""One recorded turn: fetched, understood, answered, and kept; a job does it, any number of times, once.

A turn is claimed by the web (``recorded.py``, ``leftovers.py``) and worked on
here, in a background worker or in the web worker's own pool. Whoever holds the
turn's lease works; the first outcome stays; the history is written from that
outcome, as often as it takes.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from flaskapp.phone import errors
from flaskapp.phone.agent import Agent, Agents
from flaskapp.phone.audio import TELEPHONE_RATE_HZ, Wav, mulaw_to_pcm16
from flaskapp.phone.cost import FREE, Prices
from flaskapp.phone.digits import masked, masked_line, masked_message
from flaskapp.phone.directives import Message
from flaskapp.phone.engines.turns import Answer, TurnEngine
from flaskapp.phone.farewell import is_goodbye
from flaskapp.phone.fetch import Fetched, Recording, RecordingHost
from flaskapp.phone.next_step import WAIT_S
from flaskapp.phone.transcript import Line
from flaskapp.phone.troubles import AI_BACK_WITHIN_S, TROUBLES, UNDELETED
from flaskapp.phone.turn_lines import keep_sound, lines_of
from flaskapp.phone.turn_tools import TurnTools, as_json, from_json
from flaskapp.store import keys
from flaskapp.store.audio import AudioBuffer
from flaskapp.store.call_audio import CallAudio
from flaskapp.store.feed import Feed
from flaskapp.store.history import CLOSED_RECORDINGS, CallChanged, Entry, History, RecordingChanged, TurnSaved
from flaskapp.store.live import LiveStore
from flaskapp.store.turns import Outcome, Turn, TurnBook

log = logging.getLogger(__name__)

READY_AFTER_S = (0.5, 1.0, 2.0, 4.0)  # asked again so soon for a recording that is not there yet
MISTAKEN_FOR_S = 1.0  # so long a host may answer with something else than a recording
WITHIN_S = 14.0
UNHURRIED_S = 60.0
TOLD_WITHIN_S = 1.0
HEARD_WITHIN_S = 10.0  # from one question for an answer to the next is never as long

#: These words are kept: the carrier's copy may go.
UNDERSTOOD = {"answered", "understood", "silent"}

#: What a fetch's failure is called in the history. What may pass is tried again, the rest is final.
FINAL = {
    errors.BlockedUrl: "blocked_url",
    errors.TooLarge: "too_large",
    errors.NotAudio: "not_audio",
}


#: Outcomes of a call of which nobody knew yet that it left a message.
WITHOUT_MESSAGE = {"answered", "nothing_said"}


class RecordedTurns:
    """Works on recorded turns, wherever a job is carried out.

    Args:
        ai: understands and answers; None where no engine is configured.
        speaks: make a sound file of every answer (``REPLY_VOICE=play``).
        deletes: have the carrier's copy deleted once the words are kept.
        prices: what the engine's counts cost.
        tools: what the agents may use; None: nothing.
        feed: who reads along is told of the lines; None: nobody does.
        hides_digits: mask numbers in all that is kept.
        sounds: keeps what is said in recordings, too; None: nobody does.
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
        prices: Prices = FREE,
        tools: TurnTools | None = None,
        feed: Feed | None = None,
        hides_digits: bool = False,
        sounds: CallAudio | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._book, self._live, self._audio, self._history = book, live, audio, history
        self._host, self._ai, self._agents = host, ai, agents
        self._speaks, self._deletes = speaks, deletes
        self._prices, self._tools, self._feed = prices, tools, feed or Feed()
        self._sounds = sounds
        self._hides_digits, self._sleep, self._now = hides_digits, sleep, now

    def perform(self, call_sid: str, key: str) -> None:
        """Do what is left to do for one turn; nothing if somebody else is at it."""
        with self._book.holding(call_sid, key) as is_ours:
            turn = self._book.find(call_sid, key) if is_ours else None
            if turn is None:
                return
            told = self._book.outcome(call_sid, key)
            if told is None or told.is_open:
                self._work(turn, told)
            else:
                self._keep(turn, told)

    def _work(self, turn: Turn, told: Outcome | None) -> None:
        sid = turn.call_sid
        if status := self._known_end(turn):
            self._book.finish(sid, turn.key, Outcome(status))
            self._put_away(turn, status)
            return
        log.info("Processing streamed audio for call %s", sid, extra={"call_sid": sid})
        try:
            outcome = self._understood(turn, turn.wants_reply and told is None and self._is_waited_for(turn))
        except tuple(kind for kind, _ in TROUBLES) as error:
            self._later(turn, told, error)
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
            NotReady, Unreachable, FetchRefused: the recording cannot be had yet.
            EngineError: AI is away.
        """
        agent = self._agents.for_number(turn.called)
        past = self._said_before(turn)
        with_tools = self._tools_for(turn, agent) if wants_reply else {}
        if turn.source == "words":
            words = past[-1].text if past else ""
            answer = self._ai_or_raise().reply(words, past[:-1], agent, WITHIN_S, **with_tools)
            return Outcome("answered", "", answer.response, **_beside(answer))
        try:
            sound, flaw = self._sound(turn)
        except tuple(FINAL) as error:
            return Outcome(FINAL[type(error)], detail=str(error)[:200])
        if sound is None or not sound.has_speech:
            return Outcome("silent", detail=flaw)
        if self._sounds is not None and turn.source == "recording":  # what was live is kept already
            keep_sound(self._sounds, turn, sound)
        # An answer that comes late finds nobody; words alone may take as long as they took to say.
        within_s = WITHIN_S if wants_reply else max(UNHURRIED_S, sound.duration_ms / 1000)
        answer = self._ai_or_raise().answer(
            sound, past, agent, wants_reply=wants_reply, within_s=within_s, **with_tools
        )
        if not (answer.transcript or answer.response or answer.directives):
            return Outcome("silent", detail=flaw)
        spoken = wants_reply and self._spoken(turn, answer, agent)
        return Outcome(
            "answered" if wants_reply else "understood",
            masked(answer.transcript) if self._hides_digits else answer.transcript,
            answer.response if wants_reply else "",
            flaw,
            is_goodbye(answer.transcript),
            bool(spoken),
            **_beside(answer),
        )

    def _tools_for(self, turn: Turn, agent: Agent) -> dict[str, Any]:
        """What an engine is given to use tools with; nothing where there are none."""
        schemas = self._tools.schemas(agent) if self._tools else ()
        return {"tools": schemas, "use": self._tools.use(turn, agent)} if self._tools and schemas else {}

    def _ai_or_raise(self) -> TurnEngine:
        if self._ai is None:
            raise errors.EngineUnreachable("no AI engine is configured")
        return self._ai

    def _sound(self, turn: Turn) -> tuple[Wav | None, str]:
        """The caller's voice, and what is wrong with it."""
        if turn.refused:
            raise errors.BlockedUrl(turn.refused)
        if turn.source == "recording":
            fetched = self._fetch(self._recording(turn))
            return fetched.sound, "truncated" if fetched.is_truncated else ""
        chunks = self._audio.read(turn.call_sid, turn.from_ms, turn.to_ms or None)
        mulaw = b"".join(chunk.mulaw for chunk in chunks)
        return (Wav(mulaw_to_pcm16(mulaw), TELEPHONE_RATE_HZ) if mulaw else None), ""

    def _recording(self, turn: Turn) -> Recording:
        """Which one to ask for: ours, where nobody noted whose it is."""
        return Recording(turn.account_sid or self._host.account_sid, turn.key)

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

    def _spoken(self, turn: Turn, answer: Answer, agent: Agent) -> bool:
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

    def _later(self, turn: Turn, told: Outcome | None, error: Exception) -> None:
        """Not now: the caller is told, the words stay where they are, and the turn stays open."""
        sid, key = turn.call_sid, turn.key
        trouble = next(each for kind, each in TROUBLES if isinstance(error, kind))
        said = f"{trouble.name}: {error}"[:200]
        log.warning("Recorded turn: %s", said, extra={"call_sid": sid})
        lasts_s = self._book.trouble_lasts(sid, key, trouble.name)
        if lasts_s > trouble.within_s or self._now() - turn.claimed_at > AI_BACK_WITHIN_S:
            final = Outcome("failed", detail=said)
            self._book.finish(sid, key, final)
            self._keep(turn, final)
            return
        attempts = self._book.attempt(sid, key)
        pause_s = trouble.pause_s(attempts)
        if told is None and trouble.told:
            self._book.finish(sid, key, Outcome(trouble.told, detail=said, is_open=True))
        if turn.source == "buffer":
            self._audio.keep(sid, keys.TURN_KEPT_S)
        self._note(turn, {"status": "waiting", "attempts": attempts, "error": said}, pause_s)
        self._book.postpone(sid, key, pause_s, is_rest=True)

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
        sid, known = turn.call_sid, self._live.recall(turn.call_sid)
        is_on = bool(known) and not self._live.is_forgotten(sid)
        lines = lines_of(turn, outcome, self._is_heard(turn, known))
        if self._hides_digits:
            lines = [masked_line(line) for line in lines]
        mode = "unheard" if turn.source == "buffer" and not turn.wants_reply else "recorded"
        entries: list[Entry] = [
            TurnSaved(sid, line.item_id, line.position, line.speaker, line.text, line.start_ms, line.end_ms,
                      mode, line.interrupted, True)
            for line in lines
        ]  # fmt: skip
        entries += [*self._message(turn, outcome, known), *self._usage(turn, outcome, is_on)]
        self._history.write(
            [*entries, self._changed(turn, status=outcome.kind, error=outcome.detail or None)]
        )
        if is_on:  # once a call is over and forgotten, nobody asks for its lines any more
            said = [{**asdict(line), "mode": mode} for line in lines if not line.interrupted]
            self._live.keep_lines(sid, said)
        if known:
            self._tell_readers(sid, lines)
        self._put_away(turn, outcome.kind)

    def _tell_readers(self, call_sid: str, lines: list[Line]) -> None:
        """While the turn is open: a call's readers are told of its end when none is."""
        told = [line for line in lines if not line.interrupted]
        for line in told:
            self._feed.line(call_sid, line.item_id, line.position, line.speaker, line.text, True)
        if told:
            self._feed.written(call_sid, TOLD_WITHIN_S)

    def _is_heard(self, turn: Turn, known: dict[str, str]) -> bool:
        """Whether the answer was handed out, or will be: the caller is still asking for it."""
        settled_at, asked_at = self._book.times(turn.call_sid, turn.key)
        if not settled_at or asked_at >= settled_at:
            return bool(settled_at)
        quiet_s = settled_at - max(asked_at, turn.claimed_at)
        is_patient = quiet_s < HEARD_WITHIN_S and settled_at < turn.claimed_at + WAIT_S
        return is_patient and not known.get("is_over")

    def _usage(self, turn: Turn, outcome: Outcome, is_on: bool) -> list[Entry]:
        """What the turn cost, added to its call's costs; once, however often it is kept."""
        sid = turn.call_sid
        if not outcome.usage or self._known_end(turn):
            return []
        cost_usd = self._prices.cost_usd(outcome.usage)
        if is_on:
            self._live.add_usage(sid, outcome.usage, turn.key)
            spent_usd = self._book.spend(sid, turn.key, cost_usd)
            return [_costs(sid, self._live.usage(sid), spent_usd)]
        row = self._history.call(sid) or {}
        total = dict(row.get("usage") or {})
        for name, amount in outcome.usage.items():
            total[name] = total.get(name, 0) + amount
        return [_costs(sid, total, (row.get("cost_usd") or 0.0) + cost_usd)]

    def _message(self, turn: Turn, outcome: Outcome, known: dict[str, str]) -> list[Entry]:
        """What was left for somebody: by a tool, or after the tone; the first message of a call stays."""
        left = next((each for each in from_json(outcome.directives) if isinstance(each, Message)), None)
        if left is None and turn.is_message and outcome.transcript and not self._has_message(turn, known):
            left = Message(outcome.transcript)
        if left is None:
            return []
        told = asdict(masked_message(left) if self._hides_digits else left)
        if known:
            self._live.remember(turn.call_sid, message=json.dumps(told))
        row = self._history.call(turn.call_sid) or {}
        late = {"outcome": "message"} if row.get("outcome") in WITHOUT_MESSAGE else {}
        return [CallChanged(turn.call_sid, {"message": told, **late})]

    def _has_message(self, turn: Turn, known: dict[str, str]) -> bool:
        return bool(known.get("message") or (self._history.call(turn.call_sid) or {}).get("message"))

    def _put_away(self, turn: Turn, status: str) -> None:
        """The history has it: drop the sound, here or at the carrier's, and close the turn."""
        sid, key = turn.call_sid, turn.key
        if turn.source == "buffer":
            self._audio.cut(sid, turn.to_ms)
        is_wanted_gone = self._deletes and turn.source == "recording" and status in UNDERSTOOD
        if is_wanted_gone and not self._is_deleted(turn):
            pause_s = UNDELETED.pause_s(self._book.attempt(sid, key))
            self._book.postpone(sid, key, pause_s, is_rest=True)
            return
        self._book.close(sid, key)

    def _changed(self, turn: Turn, **fields: Any) -> RecordingChanged:
        about = {
            "source": turn.source,
            "account_sid": turn.account_sid or None,
            "position": turn.position,
            "at_ms": turn.at_ms,
            "duration_ms": turn.duration_ms or None,
        }
        return RecordingChanged(turn.call_sid, turn.key, {**about, **fields})

    def _is_deleted(self, turn: Turn) -> bool:
        """Whether the carrier's copy is gone, or will never be."""
        try:
            self._host.delete(self._recording(turn))
        except errors.FetchError as error:
            log.warning("The carrier keeps its copy: %s", error, extra={"call_sid": turn.call_sid})
            lasts_s = self._book.trouble_lasts(turn.call_sid, turn.key, UNDELETED.name)
            return isinstance(error, errors.BlockedUrl) or lasts_s > UNDELETED.within_s
        return True


def _beside(answer: Answer) -> dict[str, Any]:
    """What an outcome keeps of an answer beside the words."""
    return {"usage": dict(answer.usage), "directives": as_json(answer.directives)}


def _costs(call_sid: str, usage: dict[str, float], cost_usd: float) -> CallChanged:
    return CallChanged(call_sid, {"usage": usage, **({"cost_usd": cost_usd} if cost_usd else {})})

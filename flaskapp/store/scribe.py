"""Carries what happens on calls to history and metrics, off the audio's path.

A bridge tells; the scribe takes note and returns. Its own thread (a greenlet
under gevent) writes what was noted every fraction of a second in one
transaction, a growing line once however often it grew. A database that is
away delays nothing but the notes, which are kept and written when it is back.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from redis.exceptions import RedisError

from flaskapp.metrics import Metrics
from flaskapp.phone.commands import TellLine, TellPlace, TellTurn
from flaskapp.phone.directives import Message
from flaskapp.phone.events import StreamStarted
from flaskapp.phone.giving_way import pause
from flaskapp.phone.listener import CallEnded, Listener
from flaskapp.phone.transcript import AGENT, Line
from flaskapp.store.ends import Ends
from flaskapp.store.feed import Feed
from flaskapp.store.history import (
    CallChanged,
    Entry,
    EventHappened,
    History,
    OpenLinesWithdrawn,
    TurnSaved,
)
from flaskapp.store.live import LiveStore, leg_key
from flaskapp.store.speaking import Speaking

log = logging.getLogger(__name__)

WRITE_EVERY_S = 0.2
RETRY_AFTER_S = 1.0
ENTRIES_KEPT = 50_000
ENTRIES_AT_ONCE = 500
#: One transaction: between its ends no frame passes. What was written is written again without harm.
ENTRIES_IN_A_ROW = 10
#: Reasons of a leg's end after which the call may go on: its stream broke; somebody else was dialled.
BROKE, TRANSFERRED, REPLACED = "carrier_lost", "transferred", "replaced"
GONE = "caller_hung_up"
TWILIO = "twilio"


class Scribe(Listener):
    """Takes note of every call of this worker.

    Args:
        engine, model: what serves the calls, for their history.
        feed: whoever reads along is told of every line at once.
    """

    def __init__(
        self,
        history: History,
        metrics: Metrics,
        live: LiveStore,
        engine: str,
        model: str,
        feed: Feed | None = None,
    ) -> None:
        self._history, self._metrics, self._live = history, metrics, live
        self._engine, self._model, self._feed = engine, model, feed or Feed()
        self._ends, self._speaking = Ends(live.redis), Speaking(live.redis)
        self._notes: deque[tuple[Entry, str]] = deque(
            maxlen=ENTRIES_KEPT
        )  # each with its mark among the ends
        self._bridge_ms: dict[tuple[str, str], int] = {}
        self._legs: dict[
            str, list[tuple[str, str]]
        ] = {}  # a call -> its legs here: mark, carrier; oldest first
        self._guard = threading.Lock()
        self._writer: threading.Thread | None = None
        self._written = threading.Event()
        self._written.set()
        #: Has what the live engine did not understand taken care of: the key of the turn that does it, or "".
        self.left_over: Callable[[CallEnded], str] = lambda ended: ""
        #: Keeps what the legs' protocols say: see ``Listener.traced``.
        self.keeps_trace: Callable[[str, int, str, bool, bytes], None] = lambda *told: None
        #: Is told that a call's stream was let in.
        self.came_in: Callable[[str], None] = lambda call_sid: None
        #: Is told that a call is over for good; possibly more than once.
        self.over: Callable[[str], None] = lambda call_sid: None

    # ------------------------------------------------------------------ what is told

    def note(self, *entries: Entry) -> None:
        """Have something written soon; what is about a call's end is so even if this worker is killed."""
        for entry in entries:
            self._tell_readers(entry)
        marks = self._ends.keep(entries)
        self._notes.extend(zip(entries, marks, strict=True))
        self._written.clear()
        with self._guard:
            if self._writer is None:
                self._writer = threading.Thread(target=self._write_all, name="scribe", daemon=True)
                self._writer.start()

    def _tell_readers(self, entry: Entry) -> None:
        """Lines, and what becomes of those that a dead worker left open, at once."""
        if isinstance(entry, TurnSaved):
            line = (entry.item, entry.position, entry.speaker, entry.text, entry.is_final)
            self._feed.line(entry.call_sid, *line)
        elif isinstance(entry, OpenLinesWithdrawn):
            self._feed.withdrawn(entry.call_sid, entry.kept)

    def call_started(self, call_sid: str, started: StreamStarted) -> None:
        mark = secrets.token_hex(4)
        self._legs.setdefault(call_sid, []).append((mark, started.carrier))
        self._metrics.active_calls.labels(started.carrier).inc()
        known = self._live.recall(call_sid)
        mode = "both" if known.get("was_recorded") else "live"
        self._live.keep_on(call_sid, known)
        fresh = {"needs_fallback": "0", "pending_turn": "", "streams": "0"}
        self._live.remember(call_sid, state="live", leg=mark, **fresh)
        if "forgotten" in known:
            self._feed.begins_again(call_sid)
        fields = {"mode": mode, "status": "in-progress", "engine": self._engine, "model": self._model}
        self.note(CallChanged(call_sid, {"carrier": started.carrier, **fields}))
        self.came_in(call_sid)

    def engine_opened(self, call_sid: str) -> None:
        self._metrics.engine_sessions.inc()
        self._metrics.websockets.labels("engine").inc()

    def engine_closed(self, call_sid: str) -> None:
        self._metrics.engine_sessions.dec()
        self._metrics.websockets.labels("engine").dec()

    def reconnected(self, call_sid: str, result: str) -> None:
        self._metrics.engine_reconnects.labels(result).inc()

    def placed(self, call_sid: str, place: TellPlace) -> None:
        self._feed.placed(call_sid, place.item_id, place.position, place.speaker, place.is_over)
        if not place.is_over:
            self._speaking.begins(call_sid, place.speaker)

    def line(self, call_sid: str, line: TellLine) -> None:
        if line.is_final:
            self._speaking.ends(call_sid, line.speaker)
        if line.is_said:  # whoever reads along does not wait until it was heard to its end
            self._feed.line(call_sid, line.item_id, line.position, line.speaker, line.text, True)
        key = (call_sid, line.item_id)
        bridge_ms = self._bridge_ms.pop(key, None) if line.is_final else self._bridge_ms.get(key)
        self.note(
            TurnSaved(
                call_sid,
                line.item_id,
                line.position,
                line.speaker,
                line.text,
                line.start_ms,
                line.end_ms,
                "live",
                line.interrupted,
                line.is_final,
                line.engine_ms,
                bridge_ms,
                line.heard_ms,
                line.noticed_ms,
                line.words_ms,
                line.generated,
            )
        )

    def recorded(self, call_sid: str, lines: Sequence[Line]) -> None:
        """Lines that were handed in as audio, not heard live."""
        self.note(
            *(
                TurnSaved(call_sid, line.item_id, line.position, line.speaker, line.text, line.start_ms,
                          line.end_ms, "recorded", line.interrupted, line.is_final)
                for line in lines
            )
        )  # fmt: skip

    def turn(self, call_sid: str, turn: TellTurn, bridge_s: float, first_sound_s: float | None) -> None:
        self._bridge_ms[call_sid, turn.item_id] = round(bridge_s * 1000)
        self._speaking.begins(call_sid, AGENT)
        if turn.engine_ms is not None:
            self._metrics.turn_latency.observe(turn.engine_ms / 1000 + bridge_s)
        if first_sound_s is not None:
            self._metrics.first_sound.observe(first_sound_s)

    def happened(self, call_sid: str, at_ms: int, kind: str, detail: dict[str, Any]) -> None:
        self.note(EventHappened(call_sid, at_ms, kind, detail))

    def fault(self, call_sid: str, at_ms: int, kind: str, detail: str) -> None:
        self._metrics.faults.labels(kind).inc()
        log.warning("%s %s", kind, detail, extra={"call_sid": call_sid})
        if call_sid in self._legs:  # a stream that was not let in leaves nothing in the call's history
            self.note(EventHappened(call_sid, at_ms, kind, {"fault": True, "detail": detail}))

    def traced(self, call_sid: str, at_ms: int, leg: str, is_out: bool, message: bytes) -> None:
        self.keeps_trace(call_sid, at_ms, leg, is_out, message)

    def frame_delay(self, in_s: float, out_s: float) -> None:
        self._metrics.frame_delay.observe(in_s)
        self._metrics.frame_delay.observe(out_s)

    def message(self, call_sid: str, message: Message) -> None:
        told = asdict(message)
        self._live.remember(call_sid, message=json.dumps(told))
        self.note(CallChanged(call_sid, {"message": told}))

    def call_ended(self, ended: CallEnded) -> None:
        sid = ended.call_sid
        log.info("Processing streamed audio for call %s", sid, extra={"call_sid": sid})
        self._expect(sid, somebody=True)  # to begin with: this worker may not live to say more
        self._speaking.ends(sid)
        mark, carrier = self._left(sid)
        self._keep(ended)
        self._live.add_usage(sid, ended.usage, leg_key(ended.base_ms))
        if ended.reason == REPLACED or self._live.recall(sid).get("leg", mark) != mark:
            log.info("Another stream has taken the call over", extra={"call_sid": sid})
        else:
            self._count(ended, carrier)
            self._hand_on(ended)
        log.info("Real-time audio processing completed for call %s", sid, extra={"call_sid": sid})

    def _left(self, call_sid: str) -> tuple[str, str]:
        """The call's leg that ends now: one that another took the call over from ends first."""
        legs = self._legs.get(call_sid, [])
        mark, carrier = legs.pop(0) if legs else (None, TWILIO)
        if not legs:
            self._legs.pop(call_sid, None)
        if mark is not None:
            self._metrics.active_calls.labels(carrier).dec()
        return mark or "", carrier

    def _count(self, ended: CallEnded, carrier: str) -> None:
        """What is over is counted: a call, or a leg of one that live AI could not serve."""
        if ended.needs_fallback:
            self._metrics.fallbacks.labels(ended.reason).inc()
        elif not ended.moves:
            self._metrics.calls.labels(carrier, "live", ended.reason).inc()
        if ended.dropped_frames:
            self._metrics.dropped_frames.labels("carrier").inc(ended.dropped_frames)

    def _keep(self, ended: CallEnded) -> None:
        """The leg's lines, where the call's next leg finds them."""
        sid, live = ended.call_sid, self._live
        live.keep_lines(sid, [{**asdict(line), "mode": "live"} for line in ended.lines])
        live.at_least_position(sid, max((line.position + 1 for line in ended.lines), default=0))

    def _hand_on(self, ended: CallEnded) -> None:
        """What the call's next leg must know, and what is left to be understood; the carrier asks at once."""
        sid, live = ended.call_sid, self._live
        live.remember(sid, heard_until_ms=str(ended.heard_until_ms))
        pending = self.left_over(ended)
        known = live.recall(sid)
        is_over = bool(known.get("is_over"))
        asks_next = known.get("carrier", TWILIO) == TWILIO  # others may have nobody who asks what follows
        state = "ended" if is_over else _state(ended)
        # First of all: once Redis says that the call has ended, nobody else asks how.
        fields = {**_ending(ended, is_over), "usage": live.usage(sid) or ended.usage}
        if "ended_at" in fields and not asks_next and not ended.needs_fallback:
            fields["status"] = "completed"  # nobody else tells
        self.note(CallChanged(sid, fields))
        live.remember(
            sid,
            state=state,
            reason=ended.reason,
            needs_fallback=str(int(ended.needs_fallback)),
            pending_turn=pending,
            destination=ended.destination,
            **_to_remember(ended),
        )
        if is_over or (state == "ended" and not ended.needs_fallback):
            live.forget_soon(sid)
            self.over(sid)
            return
        if ended.needs_fallback:
            live.count(sid, "falls")
            live.remember(sid, fell_at_ms=str(live.elapsed_ms(sid)))
        self._expect(sid, somebody=not asks_next or not (ended.needs_fallback or ended.reason == TRANSFERRED))

    def _expect(self, call_sid: str, *, somebody: bool) -> None:
        """Whether the sweeper shall close the call's books, should nobody take it up."""
        try:
            if somebody:
                self._live.touch(call_sid, time.time())
            else:
                self._live.let_go(call_sid)
        except RedisError as error:
            log.warning("Redis is away: %s", error, extra={"call_sid": call_sid})

    # ------------------------------------------------------------------ what is written

    def settle(self, within_s: float) -> bool:
        """Wait until everything noted so far is written; whether it was in time."""
        return self._written.wait(within_s)

    def _write_all(self) -> None:
        while True:
            time.sleep(WRITE_EVERY_S)
            batch = [self._notes.popleft() for _ in range(min(len(self._notes), ENTRIES_AT_ONCE))]
            if batch and not self._write(batch):
                self._notes.extendleft(reversed(batch))
                time.sleep(RETRY_AFTER_S)
            with self._guard:
                if not self._notes:
                    self._written.set()
                    self._writer = None
                    return

    def _write(self, batch: list[tuple[Entry, str]]) -> bool:
        """Whether these need no other try."""
        from sqlalchemy import exc

        try:
            entries = _latest([entry for entry, _ in batch])
            for at in range(0, len(entries), ENTRIES_IN_A_ROW):
                self._history.write(entries[at : at + ENTRIES_IN_A_ROW])
                pause()
        except (exc.OperationalError, exc.InterfaceError, exc.TimeoutError) as error:
            waiting = len(batch) + len(self._notes)
            log.error("The database is away, %d notes wait: %s", waiting, type(error).__name__)
            self._metrics.faults.labels("database").inc()
            return False
        except (exc.SQLAlchemyError, ValueError) as error:  # one of them no database will ever take
            if len(batch) > 1:
                return all([self._write([each]) for each in batch])
            log.error("A note cannot be written: %s", type(error).__name__)
        self._ends.written(mark for _, mark in batch)
        return True


def _state(ended: CallEnded) -> str:
    """What has become of the call, as whoever is asked what next reads it."""
    if ended.needs_fallback:
        return "ended"
    if ended.moves or ended.reason == BROKE:
        return "moving"
    return "transferring" if ended.destination or ended.reason == TRANSFERRED else "ended"


def _ending(ended: CallEnded, is_over: bool) -> dict[str, Any]:
    """What the history is told of a leg's end; one that another leg follows is none of the call's.

    Args:
        is_over: the carrier has said already that the caller is gone, so nothing follows.
    """
    fields: dict[str, Any] = {"duration_ms": ended.duration_ms, "usage": ended.usage}
    if ended.cost_usd:
        fields["cost_usd"] = ended.cost_usd
    state = _state(ended)
    if state == "ended" or is_over:
        reason = GONE if state == "moving" else ended.reason
        fields |= {"ended_reason": reason, "ended_at": datetime.now(UTC)}
    return fields


def _to_remember(ended: CallEnded) -> dict[str, str]:
    """For the call's next leg: what it must know, what the call has cost."""
    told = {"memo": json.dumps(ended.memo)} if ended.memo else {}
    return {**told, **({"cost_usd": repr(ended.cost_usd), "leg_cost": "0"} if ended.cost_usd else {})}


def _latest(batch: list[Entry]) -> list[Entry]:
    """Of a line that grew several times only how it stands now."""
    last = {(e.call_sid, e.item): at for at, e in enumerate(batch) if isinstance(e, TurnSaved)}
    return [e for at, e in enumerate(batch) if not isinstance(e, TurnSaved) or last[e.call_sid, e.item] == at]

"""Looks, every second, for what somebody left undone: one process does it for all.

Turns whose worker is gone are submitted again; recordings that only the history
still knows are claimed anew (Redis lost its memory, or AI was away for hours);
calls whose worker gave no sign of life for a while are told to be abandoned;
what is due about calls that are over is submitted. How a call ended, where
whoever knew it did not live to write it, is written.
"""

from __future__ import annotations

import logging
import math
import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from flaskapp.phone.leftovers import is_left_to_its_flow
from flaskapp.store import keys
from flaskapp.store.database import in_short
from flaskapp.store.history import History, RecordingChanged
from flaskapp.store.jobs import Jobs
from flaskapp.store.live import LiveStore
from flaskapp.store.restore import IN_HANDS, OTHERS_WRITE_WITHIN_S, Restorer
from flaskapp.store.turns import Turn, TurnBook

log = logging.getLogger(__name__)

EVERY_S = 1.0
TURNS_AT_ONCE = 100
DELIVERIES_AT_ONCE = 100
#: A lease of four seconds, a round, and two questions in vain: in somebody's hands again within ten seconds.
TRIED_AGAIN_AFTER_S = 2.0
ASKED_IN_VAIN = 2
ASKED_KEPT = 1000
HISTORY_EVERY_S = 30.0
#: The web notes a claim in the history a moment after it is in Redis, or before.
SETTLED_AFTER_S = 30.0
REMOVES_EVERY_S = 3600.0
SILENT_S = 15.0
#: Who sees a call's end says so within this time; should Redis have forgotten the call, nobody does.
UNTOLD_FOR_S = (60.0, 7200.0)
#: Whoever sweeps goes on sweeping; when it is gone, another process takes over this much later.
OURS_FOR_MS = 2000


class Waiting(NamedTuple):
    """What of Redis' there may be to look after."""

    turns: bool = True
    calls: bool = True
    ends: bool = True


EVERYTHING = Waiting()


class Sweeper:
    """Finds what is left undone and has it done.

    Args:
        on_abandoned: told of a call that was live when its worker was last heard of, or rings for a
            minute and more; it may be told twice.
        on_over: told of a call that is over, where nobody else has said so.
        removes_old: calls are kept for so long only: once an hour those that are older are looked for.
    """

    def __init__(
        self,
        book: TurnBook,
        jobs: Jobs,
        live: LiveStore,
        history: History,
        on_abandoned: Callable[[str], None] = lambda call_sid: None,
        on_over: Callable[[str], None] = lambda call_sid: None,
        *,
        removes_old: bool = False,
    ) -> None:
        self._book, self._jobs, self._live, self._history = book, jobs, live, history
        self._on_abandoned, self._on_over = on_abandoned, on_over
        self._restorer = Restorer(live, history, on_over)
        self._name = secrets.token_hex(8)
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._history_due = 0.0
        self._is_ours = False
        self._removal_due = 0.0 if removes_old else math.inf
        self._trouble = ""
        self._asked: dict[tuple[str, ...], tuple[int, float]] = {}

    def start(self) -> None:
        """Sweep every second from now on, whenever no other process does."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._sweep_for_ever, name="sweeper", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """No more rounds; one that is under way is not waited for."""
        self._stopped.set()

    def take_turn(self, now: float) -> None:
        """One round, if it is this process that sweeps; it raises what ``sweep`` does."""
        if (waiting := self._look(now)) is not None:
            self.sweep(now, waiting)

    def sweep(self, now: float, waiting: Waiting = EVERYTHING) -> None:
        """One round. ``now``: seconds since 1970.

        Args:
            waiting: what of it is to be looked after.

        Raises:
            redis.exceptions.RedisError: Redis is away.
            sqlalchemy.exc.SQLAlchemyError: the database is away; Redis' part is done.
        """
        for call_sid, key in self._book.due(now, TURNS_AT_ONCE) if waiting.turns else ():
            self._book.postpone(call_sid, key, TRIED_AGAIN_AFTER_S)
            self._submit(now, ("turn", call_sid, key), "turn", call_sid, key)
        for call_sid in self._live.untouched_since(now - SILENT_S) if waiting.calls else ():
            self._look_after(call_sid, now)
        if waiting.ends:
            self._restorer.restore(now)
        if now >= self._history_due:
            self._history_due = now + HISTORY_EVERY_S
            self._read_history(now)
        if now >= self._removal_due:
            self._removal_due = now + REMOVES_EVERY_S
            self._jobs.run_here("purge")  # nobody else may be there to do it
        for call_sid, due_at in self._history.deliveries.due(_utc(now), DELIVERIES_AT_ONCE):
            mark = ("deliver", call_sid, due_at.isoformat())
            if now - self._asked.get(mark, (0, 0.0))[1] >= TRIED_AGAIN_AFTER_S:
                self._submit(now, mark, "deliver", call_sid)

    def _submit(self, now: float, mark: tuple[str, ...], *job: str) -> None:
        """Have a job done by a worker; here, where nobody takes it."""
        self._jobs.submit(*job)
        if self._is_asked_in_vain(mark, now):
            self._jobs.run_here(*job)

    def _is_asked_in_vain(self, mark: tuple[str, ...], now: float) -> bool:
        """Whether the job with this mark was submitted several times in a row, and nothing came of it.

        There may be no background worker at all, or none that keeps up.
        """
        times, last = self._asked.pop(mark, (0, 0.0))
        times = times + 1 if now - last < 2 * TRIED_AGAIN_AFTER_S else 1
        self._asked[mark] = (times, now)
        if len(self._asked) > ASKED_KEPT:
            del self._asked[next(iter(self._asked))]
        return times > ASKED_IN_VAIN

    def _look_after(self, call_sid: str, now: float) -> None:
        """A worker that is killed says no good-bye: nobody follows this call any more."""
        known = self._live.recall(call_sid)
        if known.get("state") in IN_HANDS or is_left_to_its_flow(known):
            log.warning("Nobody follows this call any more", extra={"call_sid": call_sid})
            try:
                self._on_abandoned(call_sid)
            except Exception as error:  # one call's trouble is not the others'; it is told again later
                log.error("%s", in_short(error), extra={"call_sid": call_sid})
                self._live.touch(call_sid, now)
                return
        self._live.let_go(call_sid)

    def _read_history(self, now: float) -> None:
        least, most = UNTOLD_FOR_S
        for call_sid in self._history.untold(_utc(now - most), _utc(now - least)):
            self._on_over(call_sid)
        for call_sid in self._history.ringing(_utc(now - most), _utc(now - least)):
            # Redis itself is asked: of a call that another worker has, our own memory may be old.
            if self._live.redis.hget(keys.call(call_sid), "state") == "ringing":
                self._on_abandoned(call_sid)  # who knows how long a stream may take
        for row in self._history.open_recordings(_utc(now), TURNS_AT_ONCE):
            call_sid, key = row["call_sid"], row["recording_sid"]
            if now - row["created_at"].timestamp() < SETTLED_AFTER_S or self._book.find(call_sid, key):
                continue
            if row["source"] not in (None, "recording"):
                gone = {"status": "failed", "error": "Redis has forgotten it"}
                self._history.write([RecordingChanged(call_sid, key, gone)])
            elif self._book.claim(self._turn(row)):
                log.info("A recording is taken up again", extra={"call_sid": call_sid})
                self._jobs.submit("turn", call_sid, key)

    def _turn(self, row: dict[str, Any]) -> Turn:
        """What the history knows of a turn: enough to understand it; nobody waits for an answer."""
        position = row["position"]
        if position is None:
            said = [turn["position"] for turn in self._history.turns(row["call_sid"])]
            position = max(said, default=-1) + 1
        return Turn(
            row["call_sid"],
            row["recording_sid"],
            "recording",
            account_sid=row["account_sid"] or "",
            position=position,
            at_ms=row["at_ms"] or 0,
            duration_ms=row["duration_ms"] or 0,
            wants_reply=False,
            called=row["called"] or "",
            claimed_at=row["created_at"].timestamp(),
        )

    # ------------------------------------------------------------------ again and again

    def _sweep_for_ever(self) -> None:
        self._jobs.prepare()
        while not self._stopped.wait(EVERY_S):
            trouble = ""
            try:
                self.take_turn(time.time())
            except (RedisError, SQLAlchemyError) as error:
                trouble = type(error).__name__
            except Exception as error:  # what is left undone today must not stay so for ever
                trouble = in_short(error)
            if trouble and trouble != self._trouble:
                log.warning("What is left undone cannot be looked after: %s", trouble)
            self._trouble = trouble

    def _look(self, now: float) -> Waiting | None:
        """What there is, in one question: nearly always nothing. None if another process sweeps."""
        with self._live.redis.pipeline(transaction=False) as pipe:
            pipe.set(keys.SWEEPING, self._name, nx=True, px=OURS_FOR_MS)
            pipe.get(keys.SWEEPING)
            pipe.zcount(keys.OPEN_TURNS, "-inf", now)
            pipe.zcount(keys.LIVE_CALLS, "-inf", f"({now - SILENT_S}")
            pipe.zcount(keys.ENDED_CALLS, "-inf", now - OTHERS_WRITE_WITHIN_S)
            if self._is_ours:  # or was a moment ago: then another's time is prolonged, once
                pipe.pexpire(keys.SWEEPING, OURS_FOR_MS)
            _, name, turns, calls, marks, *_ = pipe.execute()
        self._is_ours = name == self._name
        return Waiting(bool(turns), bool(calls), bool(marks)) if self._is_ours else None


def _utc(now: float) -> datetime:
    return datetime.fromtimestamp(now, UTC)

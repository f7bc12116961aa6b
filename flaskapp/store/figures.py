"""How calls go: of one call, its latencies and interruptions; of a day, its calls and how they went.

A turn's latency is what its caller waited for: from his last word to the agent's
first audio leaving here. What the line adds is told beside it, where the carrier
says when that was played.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Any

from flask import Flask
from sqlalchemy import Engine, and_, func, select
from sqlalchemy.engine import Connection

from flaskapp.phone.reasons import FAILURES
from flaskapp.phone.transcript import AGENT, CALLER
from flaskapp.store.database import LONG
from flaskapp.store.tables import Call, Turn, db

#: Of so many turns, the latest: a busy day has more, and they tell no more than these.
TURNS_READ = 2000
MOST_OPEN = 100
#: An engine hears somebody speak up a little later than he does.
NOTICED_WITHIN_MS = 500
RECORDED = ("recorded", "both")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """One answer's way to the caller, in ms from his last word; None: not measured.

    Attributes:
        item: the agent's turn.
        noticed_ms: the engine took him to have stopped.
        words_ms: his words were there; that may be later than the answer.
        engine_ms: the first audio came from the engine.
        sent_ms: it left here.
        heard_ms: it was played.
    """

    item: str
    position: int
    at_ms: int
    noticed_ms: int | None
    words_ms: int | None
    engine_ms: int
    sent_ms: int
    heard_ms: int | None


@dataclass(frozen=True)
class CallFigures:
    """One call's; times in ms, None where there is nothing to measure.

    Attributes:
        first_audio_ms: from the call's beginning to the agent's first word.
        by_caller: how often the caller spoke over the agent; ``by_agent``: the other way round.
    """

    turns: int
    first_audio_ms: int | None
    median_ms: int | None
    p90_ms: int | None
    by_caller: int
    by_agent: int
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class DayFigures:
    """A day's calls.

    Attributes:
        failed: of those that are over.
        recorded: served by recording, wholly or for a while.
    """

    calls: int = 0
    over: int = 0
    failed: int = 0
    recorded: int = 0
    turns: int = 0
    p50_ms: int | None = None
    p95_ms: int | None = None
    latest_ms: tuple[int, ...] = ()

    @property
    def error_rate(self) -> float | None:
        """From 0 to 1; None as long as no call is over."""
        return self.failed / self.over if self.over else None


def call_figures(turns: Sequence[Row]) -> CallFigures:
    """What a call's turns tell, as the history has them."""
    steps = tuple(_steps(turns))
    sent = [step.sent_ms for step in steps]
    agents = [turn for turn in turns if turn["speaker"] == AGENT]
    callers = [turn for turn in turns if turn["speaker"] == CALLER]
    by_start = sorted(callers, key=lambda turn: turn["start_ms"])
    starts = [turn["start_ms"] for turn in by_start]
    cut = [turn for turn in agents if turn["interrupted"] and _spoken_over(turn, by_start, starts)]
    ends = list(accumulate((turn["end_ms"] for turn in by_start), max))
    rude = [turn for turn in agents if _is_spoken(turn["start_ms"], starts, ends)]
    return CallFigures(
        turns=len(steps) or len(callers),
        first_audio_ms=min((turn["start_ms"] for turn in agents), default=None),
        median_ms=percentile(sent, 50),
        p90_ms=percentile(sent, 90),
        by_caller=len(cut),
        by_agent=len(rude),
        steps=steps,
    )


def percentile(values: Sequence[int], percent: float) -> int | None:
    """The smallest value that so many of them do not exceed; None of nothing."""
    if not values:
        return None
    rank = max(math.ceil(len(values) * percent / 100), 1)
    return sorted(values)[rank - 1]


def _steps(turns: Sequence[Row]) -> list[Step]:
    steps: list[Step] = []
    asked: Row | None = None
    for turn in sorted(turns, key=lambda each: each["position"]):
        if turn["speaker"] == CALLER:
            asked = turn
        elif turn["engine_ms"] is not None:
            sent_ms = turn["engine_ms"] + (turn["bridge_ms"] or 0)
            heard_ms = None if turn["heard_ms"] is None else sent_ms + turn["heard_ms"]
            noticed, words = (asked["noticed_ms"], asked["words_ms"]) if asked else (None, None)
            measured = (turn["start_ms"], noticed, words, turn["engine_ms"], sent_ms, heard_ms)
            steps.append(Step(turn["item"], turn["position"], *measured))
    return steps


def _spoken_over(turn: Row, callers: Sequence[Row], starts: Sequence[int]) -> bool:
    """Whether somebody spoke up just then: a line may be cut off by a lost connection, too.

    Args:
        callers: the caller's turns as they began, which they did at ``starts``.
    """
    until_ms = turn["end_ms"] + NOTICED_WITHIN_MS
    then = callers[bisect_left(starts, turn["start_ms"]) : bisect_right(starts, until_ms)]
    return any(each["position"] > turn["position"] for each in then)


def _is_spoken(at_ms: int, starts: Sequence[int], ends: Sequence[int]) -> bool:
    """Whether one of several turns has begun and is not over; ``ends``: the latest end so far, of each."""
    begun = bisect_left(starts, at_ms)
    return begun > 0 and ends[begun - 1] > at_ms


class Figures:
    """Of many calls, read in ways that take milliseconds however many there are."""

    def __init__(self, app: Flask) -> None:
        with app.app_context():
            self._engine: Engine = db.engine

    def since(self, since: datetime) -> DayFigures:
        """All calls that began since then.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database is away.
        """
        with self._engine.connect() as connection:
            counted = _counted(connection, since)
            latest = _latest(connection, since)
        return DayFigures(
            **counted,
            turns=len(latest),
            p50_ms=percentile(latest, 50),
            p95_ms=percentile(latest, 95),
            latest_ms=tuple(latest[:60][::-1]),
        )

    def open_calls(self, since: datetime) -> list[str]:
        """Calls that began since then and of which no end is known, the newest first.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database is away.
        """
        query = (
            select(Call.call_sid)
            .where(Call.started_at >= since, Call.ended_at.is_(None))
            .order_by(Call.started_at.desc())
            .limit(MOST_OPEN)
        )
        with self._engine.connect() as connection:
            return list(connection.execute(query).scalars())


def _counted(connection: Connection, since: datetime) -> dict[str, int]:
    query = (
        select(Call.ended_reason, Call.mode, Call.ended_at.is_not(None).label("over"), func.count())
        .where(Call.started_at >= since)
        .group_by(Call.ended_reason, Call.mode, Call.ended_at.is_not(None))
        .execution_options(**{LONG: True})
    )
    counted = {"calls": 0, "over": 0, "failed": 0, "recorded": 0}
    for why, mode, is_over, count in connection.execute(query):
        counted["calls"] += count
        counted["over"] += count if is_over else 0
        counted["failed"] += count if is_over and why in FAILURES else 0
        counted["recorded"] += count if mode in RECORDED else 0
    return counted


def _latest(connection: Connection, since: datetime) -> list[int]:
    """The latest turns' latencies, the newest first."""
    newest = connection.execute(select(func.max(Turn.id))).scalar() or 0
    query = (
        select(Turn.engine_ms + func.coalesce(Turn.bridge_ms, 0))
        .join(Call, Call.id == Turn.call_id)
        .where(and_(Turn.id > newest - TURNS_READ, Turn.engine_ms.is_not(None), Call.started_at >= since))
        .order_by(Turn.id.desc())
    )
    return [ms for ms in connection.execute(query).scalars() if ms is not None]

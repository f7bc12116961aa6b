"""How everything stands right now, as the board shows it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from flaskapp.config import Settings
from flaskapp.dashboard.remembered import Remembered
from flaskapp.dashboard.setup_steps import Step, steps
from flaskapp.store.active import ActiveCall, ActiveCalls
from flaskapp.store.figures import DayFigures, Figures
from flaskapp.store.history import History
from flaskapp.store.wanted import Wanted

log = logging.getLogger(__name__)

#: Whoever looks, and however many do: the stores are asked so often.
CALLS_FOR_S, FIGURES_FOR_S, SETUP_FOR_S = 1.0, 5.0, 30.0
PAGE = 25
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Snapshot:
    """What there is to see; None: the store that knows it does not answer.

    Attributes:
        rows: the calls of one page; ``after``: where the next page begins, or "".
        troubles: what does not answer, in sentences.
    """

    active: list[ActiveCall] | None
    day: DayFigures | None
    rows: list[dict[str, Any]] | None
    after: str
    dropped: int
    is_draining: bool
    steps: list[Step]
    troubles: list[str]
    taken_at: float

    @property
    def is_set_up(self) -> bool:
        """Whether nothing is left to be done."""
        return all(step.is_done for step in self.steps)


class Board:
    """Takes snapshots of one app.

    Args:
        parts: the app's extensions.
        find: what else is not well, asked now and then.
        now: seconds since 1970.
    """

    def __init__(
        self,
        parts: Mapping[str, Any],
        figures: Figures,
        find: Callable[[Settings], list[Step]] = lambda settings: [],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._parts, self._figures, self._find, self._now = parts, figures, find, now
        self._settings: Settings = parts["settings"]
        self._history: History = parts["history"]
        self._active = ActiveCalls(
            parts["live_store"].redis, now, float(self._settings.max_call_seconds or 86400)
        )
        self._remembered = Remembered()

    def take(self, wanted: Wanted, after: str, minutes_west: int) -> Snapshot:
        """Now, for somebody whose day begins so many minutes after (UTC's) midnight."""
        troubles: list[str] = []
        get, since = self._remembered.get, midnight(self._now(), minutes_west)
        others = self._tried("The database", troubles, lambda: get("open", FIGURES_FOR_S, self._open_calls))
        active = self._tried(
            "Redis", troubles, lambda: get("active", CALLS_FOR_S, lambda: self._active.list(others or []))
        )
        day = self._tried(
            "The database",
            troubles,
            lambda: get(("day", since), FIGURES_FOR_S, lambda: self._figures.since(since)),
        )
        rows = self._tried(
            "The database",
            troubles,
            lambda: get((wanted, after), CALLS_FOR_S, lambda: self._rows(wanted, after)),
        )
        return Snapshot(
            active=active,
            day=day,
            rows=rows[:PAGE] if rows is not None else None,
            after=rows[PAGE - 1]["call_sid"] if rows is not None and len(rows) > PAGE else "",
            dropped=get("dropped", FIGURES_FOR_S, self._parts["metrics"].dropped),
            is_draining=self._parts["drain"].is_set(),
            steps=get("steps", SETUP_FOR_S, lambda: steps(self._settings, self._find(self._settings))),
            troubles=list(dict.fromkeys(troubles)),
            taken_at=self._now(),
        )

    def _open_calls(self) -> list[str]:
        lasts_s = self._settings.max_call_seconds or 86400
        return self._figures.open_calls(datetime.fromtimestamp(self._now() - lasts_s, UTC))

    def _rows(self, wanted: Wanted, after: str) -> list[dict[str, Any]]:
        return self._history.calls(after or None, PAGE + 1, wanted)

    def _tried(self, store: str, troubles: list[str], ask: Callable[[], Answer]) -> Answer | None:
        try:
            return ask()
        except (RedisError, SQLAlchemyError, OSError) as error:
            log.warning("The board cannot read: %s", type(error).__name__)
            troubles.append(f"{store} does not answer.")
            return None


def midnight(now: float, minutes_west: int) -> datetime:
    """The beginning of the day, for somebody so many minutes west of Greenwich."""
    west = timedelta(minutes=minutes_west)
    there = datetime.fromtimestamp(now, UTC) - west
    return there.replace(hour=0, minute=0, second=0, microsecond=0) + west

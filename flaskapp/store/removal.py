"""Calls that are over are removed for good: their sound, what Redis has of them, their rows, in this order.

The row goes last: whoever is interrupted finds the call again, and removing it
once more removes what is left. A call that goes on, or of which words are still
to be understood or told, is left alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from flaskapp.store import keys
from flaskapp.store.call_audio import CallAudio
from flaskapp.store.database import in_short
from flaskapp.store.ends import Ends
from flaskapp.store.history import OPEN_RECORDINGS, TERMINAL, History
from flaskapp.store.live import LiveStore

log = logging.getLogger(__name__)

AT_ONCE = 100
#: No call lasts longer than that, whatever its settings: one that nobody ended is over by then.
LASTS_AT_MOST = timedelta(days=1, hours=1)
#: One job takes so long; what is left is the next one's.
JOB_S = 200.0
PAUSE_S = 0.01
GOES_ON = "it is still going on"
UNDERSTOOD = "words of it are still to be understood"
UNTOLD = "CALL_WEBHOOK_URL is still to be told of it"


@dataclass(frozen=True)
class Removed:
    """What was kept of a call; ``bytes`` of sound."""

    call_sid: str
    rows: int
    bytes: int


class Removal:
    """Removes calls, one at a time.

    Args:
        retention_days: for ``sweep``; 0: nothing grows too old.
        now: seconds since 1970.
    """

    def __init__(
        self,
        history: History,
        audio: CallAudio,
        live: LiveStore,
        retention_days: int = 0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._history, self._audio, self._live = history, audio, live
        self._ends = Ends(live.redis)
        self.retention_days, self._now = retention_days, now

    def before(self, days: float) -> datetime:
        """The moment so many days ago."""
        return datetime.fromtimestamp(self._now(), UTC) - timedelta(days=days)

    def old(self, before: datetime) -> Iterator[str]:
        """Calls that ended before a moment, and those of which only the sound is left.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database is away.
        """
        last = 0
        while page := self._history.old(before, last, AT_ONCE):
            last = page[-1][0]
            yield from (call_sid for _, call_sid in page)
        for call_sid, touched_at in self._audio.calls():
            if touched_at < before.timestamp() and self._history.call(call_sid) is None:
                yield call_sid

    def is_known(self, call_sid: str) -> bool:
        """Whether anything is kept of a call."""
        return self._history.call(call_sid) is not None or self._audio.bytes_of(call_sid) > 0

    def bytes_of(self, call_sid: str) -> int:
        """How much sound of it there is."""
        return self._audio.bytes_of(call_sid)

    def why_not(self, call_sid: str) -> str:
        """Why a call cannot be removed now; empty: it can.

        Raises:
            redis.exceptions.RedisError: Redis is away: nobody knows what goes on.
            sqlalchemy.exc.SQLAlchemyError: the database is.
        """
        redis, row = self._live.redis, self._history.call(call_sid)
        known = redis.hgetall(keys.call(call_sid))
        is_told_over = known.get("forgotten") or known.get("is_over")
        if redis.zscore(keys.LIVE_CALLS, call_sid) is not None or (known.get("began") and not is_told_over):
            return GOES_ON
        if row is not None and not _is_over(row, self.before(0) - LASTS_AT_MOST):
            return GOES_ON
        open_turns = any(each["status"] in OPEN_RECORDINGS for each in self._history.recordings(call_sid))
        if open_turns or keys.has_open_turns(redis, call_sid):
            return UNDERSTOOD
        delivery: dict[str, Any] | None = self._history.deliveries.of(call_sid)
        return UNTOLD if delivery is not None and delivery["due_at"] is not None else ""

    def remove(self, call_sid: str) -> Removed:
        """All that is kept of a call; again, it removes what is left.

        Raises:
            OSError: the disk does not let the sound go.
            redis.exceptions.RedisError: Redis is away.
            sqlalchemy.exc.SQLAlchemyError: the database is.
        """
        size = self._audio.delete(call_sid)
        keys.erase(self._live.redis, call_sid)
        self._ends.erase(call_sid)
        return Removed(call_sid, self._history.erase(call_sid), size)

    def sweep(self) -> None:
        """Remove what is older than ``retention_days``, as a job does it: for some minutes at most."""
        if not self.retention_days:
            return
        give_up_at, removed = time.monotonic() + JOB_S, 0
        for call_sid in self.old(self.before(self.retention_days)):
            try:
                if not self.why_not(call_sid):
                    self.remove(call_sid)
                    removed += 1
            except (OSError, RedisError, SQLAlchemyError) as error:
                log.warning("A call is not removed: %s", in_short(error), extra={"call_sid": call_sid})
            time.sleep(PAUSE_S)  # the calls that go on come first
            if time.monotonic() > give_up_at:
                break
        if removed:
            log.info("%d calls were older than %d days and are removed", removed, self.retention_days)


def _is_over(row: dict[str, Any], before: datetime) -> bool:
    """Whether a row's call is; one that nobody ended is, when it began before that moment."""
    if row["ended_at"] is not None or row["status"] in TERMINAL:
        return True
    return row["started_at"] is None or row["started_at"] < before

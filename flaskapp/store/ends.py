"""How calls ended, kept in Redis until the history has it: a worker that is killed takes no ending with it.

One sorted set holds the entries themselves, each with the second at which it
was noted. Whoever wrote an entry takes it out; what stays for longer than a
writer needs is somebody else's to write (``restore.py``).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from redis.exceptions import RedisError

from flaskapp.store import keys
from flaskapp.store.history import TERMINAL, CallChanged, CallOpened, CallOver, Entry

log = logging.getLogger(__name__)

#: A call's entries keep their order: each is noted this much later than the one before.
STEP_S = 1e-6
MOMENT = "$moment"
KINDS: dict[str, Callable[..., Entry]] = {kind.__name__: kind for kind in (CallOpened, CallChanged, CallOver)}


def belongs(entry: Entry) -> bool:
    """Whether an entry is about a call's end, and so must outlive whoever noted it."""
    if isinstance(entry, CallChanged):
        fields = entry.fields
        return "ended_at" in fields or bool(fields.get("message")) or fields.get("status") in TERMINAL
    return isinstance(entry, CallOver) or (isinstance(entry, CallOpened) and entry.mode == "rejected")


class Ends:
    """Entries that the history does not have yet.

    Args:
        redis: a text client.
        now: seconds since 1970.
    """

    def __init__(self, redis: Any, now: Callable[[], float] = time.time) -> None:
        self._redis, self._now = redis, now

    def keep(self, entries: Sequence[Entry]) -> list[str]:
        """Keep those that must not be lost: each entry's mark; "" for one that is not kept.

        A Redis that is away keeps none, and stops nobody.
        """
        marks = [_spelled(each) if belongs(each) else "" for each in entries]
        now = self._now()
        kept = {mark: now + at * STEP_S for at, mark in enumerate(marks) if mark}
        if kept:
            try:
                with self._redis.pipeline() as pipe:
                    pipe.zadd(keys.ENDED_CALLS, kept)
                    pipe.expire(keys.ENDED_CALLS, keys.TURN_KEPT_S)
                    pipe.execute()
            except RedisError as error:  # then it is written, or it is lost with this worker
                log.warning("Redis is away: %s", error)
        return marks

    def written(self, marks: Iterable[str]) -> None:
        """The history has these; should Redis be away they are written again, which changes nothing."""
        if gone := [mark for mark in marks if mark]:
            try:
                self._redis.zrem(keys.ENDED_CALLS, *gone)
            except RedisError as error:
                log.warning("Redis is away: %s", error)

    def unwritten(self, until: float, limit: int) -> list[str]:
        """Marks noted until then, the oldest first; what is too old to be of any use is dropped.

        Raises:
            redis.exceptions.RedisError: Redis is away.
        """
        self._redis.zremrangebyscore(keys.ENDED_CALLS, "-inf", until - keys.TURN_KEPT_S)
        return list(self._redis.zrangebyscore(keys.ENDED_CALLS, "-inf", until, 0, limit))

    def erase(self, call_sid: str) -> None:
        """Drop every entry of a call.

        Raises:
            redis.exceptions.RedisError: Redis is away.
        """
        if gone := [
            mark for mark in self._redis.zrange(keys.ENDED_CALLS, 0, -1) if call_of(mark) == call_sid
        ]:
            self._redis.zrem(keys.ENDED_CALLS, *gone)

    def calls(self) -> list[str]:
        """Every call of which there is an entry.

        Raises:
            redis.exceptions.RedisError: Redis is away.
        """
        return sorted({call_of(mark) for mark in self._redis.zrange(keys.ENDED_CALLS, 0, -1)})


def call_of(mark: str) -> str:
    """Whose entry it is."""
    return mark.partition(" ")[0]


def entry_of(mark: str) -> Entry:
    """The entry itself.

    Raises:
        ValueError: it is none.
    """
    try:
        kind, told = json.loads(mark.partition(" ")[2], object_hook=_moments)
        return KINDS[kind](**told)
    except (KeyError, TypeError) as error:
        raise ValueError(f"no entry: {error}") from None


def _spelled(entry: Entry) -> str:
    told = json.dumps([type(entry).__name__, asdict(entry)], default=_moment, sort_keys=True)
    return f"{entry.call_sid} {told}"


def _moment(value: Any) -> dict[str, str]:
    if isinstance(value, datetime):
        return {MOMENT: value.isoformat()}
    raise TypeError(f"{type(value).__name__} is nothing that an entry holds")


def _moments(told: dict[str, Any]) -> Any:
    return datetime.fromisoformat(told[MOMENT]) if told.keys() == {MOMENT} else told

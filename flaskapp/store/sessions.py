"""Operators' sessions that were signed out before their time, known to all workers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from redis.exceptions import RedisError

from flaskapp.store import keys

log = logging.getLogger(__name__)

#: So long an answer is good for: an open socket hears of a signing out within five seconds.
ANSWERS_LAST_S = 2.0
ANSWERS_KEPT = 1000
#: A session that Redis has vouched for is good for so long without it; others then are not.
TRUSTED_S = 600.0


class SignedOut:
    """Which sessions have ended. While Redis is away, all but those that this worker has just asked about.

    Args:
        redis: a text client.
        now: seconds since 1970.
    """

    def __init__(self, redis: Any, now: Callable[[], float] = time.time) -> None:
        self._redis, self._now = redis, now
        self._ended: dict[str, float] = {}  # until when that matters
        self._asked: dict[str, float] = {}  # when Redis said that it is on
        self._away_until = float("-inf")

    def add(self, session_id: str, until: float) -> None:
        """This session ends now; by itself it would have ended at ``until``."""
        self._forget_old()
        self._ended[session_id] = until
        seconds = max(round(until - self._now()), 1)
        try:
            self._redis.set(keys.signed_out(session_id), "1", ex=seconds)
        except RedisError as error:
            log.warning("Redis is away: %s", type(error).__name__)

    def has(self, session_id: str, until: float, fresh: bool = True) -> bool:
        """Whether this session was ended; ``fresh``: as it is now, else as it was two seconds ago."""
        if session_id in self._ended:
            return True
        now = self._now()
        if not fresh and now - self._asked.get(session_id, float("-inf")) < ANSWERS_LAST_S:
            return False
        if not fresh and now < self._away_until:
            return not self._is_trusted(session_id, now)
        self._forget_old()
        try:
            has_ended = bool(self._redis.exists(keys.signed_out(session_id)))
        except RedisError as error:
            log.warning("Redis is away: %s", type(error).__name__)
            self._away_until = now + ANSWERS_LAST_S
            return not self._is_trusted(session_id, now)
        self._asked[session_id] = now
        if has_ended:
            self._ended[session_id] = until
        return has_ended

    def _is_trusted(self, session_id: str, now: float) -> bool:
        """Whether Redis has said lately that the session is on."""
        return now - self._asked.get(session_id, float("-inf")) < TRUSTED_S

    def _forget_old(self) -> None:
        if len(self._ended) + len(self._asked) >= ANSWERS_KEPT:
            self._asked.clear()
            now = self._now()
            self._ended = {session: until for session, until in self._ended.items() if until > now}

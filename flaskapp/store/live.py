"""Calls in progress: what every worker must know of a call while it lasts, in Redis.

Each call is a hash ``call:{sid}`` that expires a day after it was last
touched. Without ``REDIS_URL`` the same commands go to a Redis inside this
process (fakeredis), for one worker.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

log = logging.getLogger(__name__)

CALL_KEPT_S = 86_400
ANSWERS_WITHIN_S = 1.0
OWN_CALLS_KEPT = 2000
MAX_CONNECTIONS = 1000  # redis-py's own limit of 100 fails the hundred-and-first call


def connect(redis_url: str) -> Any:
    """A client of the server at ``redis_url``, or of one inside this process if that is empty."""
    if not redis_url:
        from fakeredis import FakeServer, FakeStrictRedis

        return FakeStrictRedis(server=FakeServer(), decode_responses=True)
    return Redis.from_url(
        redis_url,
        decode_responses=True,
        max_connections=MAX_CONNECTIONS,
        socket_timeout=ANSWERS_WITHIN_S,
        socket_connect_timeout=ANSWERS_WITHIN_S,
        retry=Retry(NoBackoff(), 1),
    )


class LiveStore:
    """Short questions about calls in progress; a Redis that is away never stops a call.

    Without Redis a worker goes by what it knows itself, which is enough as
    long as the carrier's next request reaches the same worker.
    """

    def __init__(self, redis: Any) -> None:
        self.redis = redis
        self._own: dict[str, dict[str, str]] = {}
        self._spent: dict[str, float] = {}

    def ping(self) -> None:
        """Raises ``redis.exceptions.RedisError`` if Redis does not answer."""
        self.redis.ping()

    def remember(self, call_sid: str, **fields: str) -> None:
        """Add to what is known of a call."""
        self._own_copy(call_sid).update(fields)
        try:
            with self.redis.pipeline() as pipe:
                pipe.hset(f"call:{call_sid}", mapping=fields)
                pipe.expire(f"call:{call_sid}", CALL_KEPT_S)
                pipe.execute()
        except RedisError as error:
            log.warning("Redis is away: %s", error, extra={"call_sid": call_sid})

    def recall(self, call_sid: str) -> dict[str, str]:
        """What is known of a call; empty for one that nobody has heard of."""
        try:
            return dict(self.redis.hgetall(f"call:{call_sid}"))
        except RedisError as error:
            log.warning("Redis is away: %s", error, extra={"call_sid": call_sid})
            return dict(self._own.get(call_sid, {}))

    def count(self, call_sid: str, what: str) -> int:
        """One more of something in a call: how many there are now."""
        own = self._own_copy(call_sid)
        own[what] = str(int(own.get(what, "0")) + 1)
        try:
            return int(self.redis.hincrby(f"call:{call_sid}", what, 1))
        except RedisError as error:
            log.warning("Redis is away: %s", error, extra={"call_sid": call_sid})
            return int(own[what])

    def _own_copy(self, call_sid: str) -> dict[str, str]:
        if call_sid not in self._own and len(self._own) >= OWN_CALLS_KEPT:
            del self._own[next(iter(self._own))]
        return self._own.setdefault(call_sid, {})

    def spend(self, ticket_id: str, seconds: int) -> bool:
        """Use up a ticket: whether it was still good. It is remembered for ``seconds``."""
        is_new = self._spend_here(ticket_id, time.time() + seconds)
        try:
            return bool(self.redis.set(f"spent:{ticket_id}", "1", nx=True, ex=seconds)) and is_new
        except RedisError as error:
            log.warning("Redis is away: %s", error)
            return is_new

    def _spend_here(self, ticket_id: str, until: float) -> bool:
        """This worker's own book, for when Redis is away."""
        if len(self._spent) >= OWN_CALLS_KEPT:
            self._spent = {known: end for known, end in self._spent.items() if end > time.time()}
        is_new = ticket_id not in self._spent
        self._spent[ticket_id] = until
        return is_new

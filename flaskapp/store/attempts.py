"""Wrong passwords, counted by the address that they come from, for all workers together."""

from __future__ import annotations

import ipaddress
import logging
import math
import time
from collections.abc import Callable
from typing import Any

from redis.exceptions import RedisError

from flaskapp.store import keys

log = logging.getLogger(__name__)

MOST = 10
WITHIN_S = 300
ADDRESSES_KEPT = 10_000
#: Whoever has one address of IPv6 usually has all of these.
ONE_PARTY = 64


class Attempts:
    """How many wrong passwords an address has sent; ``MOST`` in five minutes, and it has to wait.

    While Redis is away each worker counts for itself.

    Args:
        redis: a text client.
        now: seconds, of any clock that only goes forward.
    """

    def __init__(self, redis: Any, now: Callable[[], float] = time.monotonic) -> None:
        self._redis, self._now = redis, now
        self._own: dict[str, tuple[int, float]] = {}  # how many, and until when that matters

    def wait_s(self, address: str) -> int:
        """For so many seconds no password from there is looked at; 0: it is."""
        party = _party(address)
        count, until = self._own.get(party, (0, 0.0))
        own_s = max(math.ceil(until - self._now()), 0)
        if count >= MOST and own_s:
            return own_s
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                pipe.get(keys.attempts(party))
                pipe.ttl(keys.attempts(party))
                known, left_s = pipe.execute()
        except RedisError as error:
            log.warning("Redis is away: %s", type(error).__name__)
            return 0
        return max(int(left_s), 1) if int(known or 0) >= MOST else 0

    def failed(self, address: str) -> None:
        """One more wrong password has come from there."""
        party, now = _party(address), self._now()
        self._forget_old(now)
        count, until = self._own.get(party, (0, 0.0))
        self._own[party] = (count + 1, until) if until > now else (1, now + WITHIN_S)
        try:
            with self._redis.pipeline(transaction=True) as pipe:
                pipe.set(keys.attempts(party), 0, ex=WITHIN_S, nx=True)
                pipe.incr(keys.attempts(party))
                pipe.execute()
        except RedisError as error:
            log.warning("Redis is away: %s", type(error).__name__)

    def forgive(self, address: str) -> None:
        """The right one came after all."""
        party = _party(address)
        if self._own.pop(party, None) is None:
            return  # what others count is soon over; to ask here each time would cost more than it is worth
        try:
            self._redis.delete(keys.attempts(party))
        except RedisError as error:
            log.warning("Redis is away: %s", type(error).__name__)

    def _forget_old(self, now: float) -> None:
        if len(self._own) >= ADDRESSES_KEPT:
            self._own = {party: each for party, each in self._own.items() if each[1] > now}
        if len(self._own) >= ADDRESSES_KEPT:  # so many at once: Redis knows them all
            self._own.clear()


def _party(address: str) -> str:
    """Who is counted as one: an address, of IPv6 its network."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(known, ipaddress.IPv6Address):
        known = known.ipv4_mapped or known
    if isinstance(known, ipaddress.IPv4Address):
        return str(known)
    return str(ipaddress.ip_network((known, ONE_PARTY), strict=False).network_address)

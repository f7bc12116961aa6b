"""Wrong passwords, counted by the address that they come from, for all workers together."""

from __future__ import annotations

import ipaddress
import logging
import math
import threading
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

    Whoever has compared a password asks here what to answer. Redis counts and answers in one step, so of
    any number that come at once ``MOST`` wrong ones are told that they are wrong, and a right one passes
    only if fewer came before it. Right ones take nobody's place, however many there are. Right or wrong, the
    same is asked of Redis: whoever has to wait cannot tell which it was, not even by how long it took.

    While Redis is away each worker counts for itself.

    Args:
        redis: a text client.
        now: seconds, of any clock that only goes forward.
    """

    def __init__(self, redis: Any, now: Callable[[], float] = time.monotonic) -> None:
        self._redis, self._now = redis, now
        self._own: dict[str, tuple[int, float]] = {}  # how many, and until when that matters
        self._guard = threading.Lock()

    def wait_s(self, address: str) -> int:
        """For so many seconds not even the right password from there is accepted; 0: it is."""
        return self._count(address, 0)

    def failed(self, address: str) -> int:
        """One more wrong password has come from there; as ``wait_s``, 0: it is told that it is wrong."""
        return self._count(address, 1)

    def forgive(self, address: str) -> None:
        """The right one came after all, and was accepted."""
        party = _party(address)
        with self._guard:
            count, _ = self._own.pop(party, (0, 0.0))
        if not count:
            return  # what others count is soon over; to ask here each time would cost more than it is worth
        try:
            self._redis.delete(keys.attempts(party))
        except RedisError as error:
            log.warning("Redis is away: %s", type(error).__name__)

    def _count(self, address: str, wrong: int) -> int:
        party = _party(address)
        count, left_s = self._count_here(party, wrong)
        try:
            with self._redis.pipeline(transaction=True) as pipe:
                pipe.set(keys.attempts(party), 0, ex=WITHIN_S, nx=True)
                pipe.incrby(keys.attempts(party), wrong)
                pipe.ttl(keys.attempts(party))
                _, count, left_s = pipe.execute()
        except RedisError as error:
            log.warning("Redis is away: %s", type(error).__name__)
        return max(math.ceil(left_s), 1) if count - wrong >= MOST else 0

    def _count_here(self, party: str, wrong: int) -> tuple[int, float]:
        """How many this worker knows of, and for how many seconds more that matters."""
        with self._guard:
            now = self._now()
            self._forget_old(now)
            count, until = self._own.get(party, (0, 0.0))
            if until <= now:
                count, until = 0, now + WITHIN_S
            self._own[party] = (count + wrong, until)
            return count + wrong, until - now

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

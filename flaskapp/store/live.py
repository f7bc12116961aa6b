"""Calls in progress: what every worker must know of a call while it lasts, in Redis.

Each call is a hash ``call:{sid}`` that expires a day after it was last
touched, and a hash of its lines. Without ``REDIS_URL`` the same commands go to
a Redis inside this process (fakeredis), for one worker.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import RedisError, WatchError

from flaskapp.store import keys
from flaskapp.store.impatient import Silence, impatient

log = logging.getLogger(__name__)

ANSWERS_WITHIN_S = 1.0
OWN_CALLS_KEPT = 2000
MAX_CONNECTIONS = 100  # of each client; whoever comes then waits for the others' answers
READ_BYTES = 8192  # each connection keeps so much; a burst of calls opens a hundred of them
RACES = 20  # others may be quicker so often before we give up
USAGE = "usage:"
NO_FIELDS: Mapping[str, str] = {}


@dataclass(frozen=True)
class Connections:
    """Two clients of one Redis: one that speaks text, one that carries bytes."""

    text: Any
    raw: Any


@dataclass(frozen=True)
class Seen:
    """A call at one moment.

    Attributes:
        known: what ``recall`` gives.
        lines: those so far, in the transcript's order.
        last_sign: see ``LiveStore.last_sign``.
    """

    known: dict[str, str]
    lines: list[dict[str, Any]]
    last_sign: float | None


def connect(redis_url: str) -> Connections:
    """Clients of the server at ``redis_url``, or of one inside this process if that is empty."""
    if not redis_url:
        from fakeredis import FakeServer, FakeStrictRedis

        server = FakeServer()
        return Connections(
            FakeStrictRedis(server=server, decode_responses=True), FakeStrictRedis(server=server)
        )
    silence = Silence()
    return Connections(_client(redis_url, silence, True), _client(redis_url, silence, False))


def _client(redis_url: str, silence: Silence, decode_responses: bool) -> Any:
    pool = impatient(
        redis_url,
        silence,
        decode_responses=decode_responses,
        driver_info=None,  # it is looked up among all installed packages, for every connection again
        max_connections=MAX_CONNECTIONS,
        socket_timeout=ANSWERS_WITHIN_S,
        socket_connect_timeout=ANSWERS_WITHIN_S,
        socket_read_size=READ_BYTES,
    )
    return Redis.from_pool(pool)


class LiveStore:
    """Short questions about calls in progress; a Redis that is away never stops a call.

    Without Redis a worker goes by what it knows itself, which is enough as
    long as the carrier's next request reaches the same worker.

    Attributes:
        now: seconds since 1970.
    """

    def __init__(self, connections: Connections, now: Callable[[], float] = time.time) -> None:
        self.redis = connections.text
        self.now = now
        self._own: dict[str, dict[str, str]] = {}
        self._own_lines: dict[str, dict[str, dict[str, Any]]] = {}
        self._spent: dict[str, float] = {}

    def ping(self) -> None:
        """Raises ``redis.exceptions.RedisError`` if Redis does not answer."""
        self.redis.ping()

    # ------------------------------------------------------------------ what is known of a call

    def remember(self, call_sid: str, **fields: str) -> None:
        """Add to what is known of a call."""
        self._own_copy(call_sid).update(fields)
        try:
            with self.redis.pipeline() as pipe:
                pipe.hset(keys.call(call_sid), mapping=fields)
                self._execute(pipe, call_sid)
        except RedisError as error:
            _is_away(error, call_sid)

    def recall(self, call_sid: str) -> dict[str, str]:
        """What is known of a call; empty for one that nobody has heard of."""
        try:
            return dict(self.redis.hgetall(keys.call(call_sid)))
        except RedisError as error:
            _is_away(error, call_sid)
            return dict(self._own.get(call_sid, {}))

    def look(self, call_sid: str) -> Seen:
        """All that the call's next leg must know, as one question; nothing of a call of no one."""
        try:
            with self.redis.pipeline(transaction=False) as pipe:
                pipe.hgetall(keys.call(call_sid))
                pipe.hvals(keys.lines(call_sid))
                pipe.zscore(keys.LIVE_CALLS, call_sid)
                known, lines, last_sign = pipe.execute()
        except RedisError as error:
            _is_away(error, call_sid)
            own_lines = self._own_lines.get(call_sid, {}).values()
            return Seen(dict(self._own.get(call_sid, {})), _in_order(own_lines), None)
        return Seen(dict(known), _in_order(map(json.loads, lines)), last_sign)

    def count(self, call_sid: str, what: str, by: int = 1, beside: Mapping[str, str] = NO_FIELDS) -> int:
        """One more of something in a call: how many there are now; and what is to be remembered beside."""
        own = self._own_copy(call_sid)
        own[what] = str(int(own.get(what, "0")) + by)
        own.update(beside)
        try:
            with self.redis.pipeline() as pipe:
                pipe.hincrby(keys.call(call_sid), what, by)
                if beside:
                    pipe.hset(keys.call(call_sid), mapping=dict(beside))
                counted = int(self._execute(pipe, call_sid)[0])
        except RedisError as error:
            _is_away(error, call_sid)
            return int(own[what])
        own[what] = str(counted)
        return counted

    def first(self, call_sid: str, field: str) -> bool:
        """Set a field that nobody has set: True for the first who does, however many come at once.

        Without Redis, for the first of this worker.
        """
        mark, own = secrets.token_hex(8), self._own_copy(call_sid)
        is_new_here = field not in own
        own.setdefault(field, mark)
        try:
            with self.redis.pipeline() as pipe:
                pipe.hsetnx(keys.call(call_sid), field, mark)
                pipe.hget(keys.call(call_sid), field)
                own[field] = str(self._execute(pipe, call_sid)[1])
        except RedisError as error:
            _is_away(error, call_sid)
            return is_new_here
        return own[field] == mark  # also where the answer was lost, and the same was asked again

    def add_usage(self, call_sid: str, usage: Mapping[str, float], key: str = "") -> None:
        """Note what a turn cost; with the turn's ``key``, noting it again changes nothing."""
        self.remember(call_sid, **usage_field(usage, key or f"{self.now()!r}"))

    def usage(self, call_sid: str) -> dict[str, float]:
        """What the call's turns cost together, by the engine's own names for it."""
        total: dict[str, float] = {}
        for field, noted in self.recall(call_sid).items():
            for name, amount in json.loads(noted).items() if field.startswith(USAGE) else ():
                total[name] = total.get(name, 0) + amount
        return total

    # ------------------------------------------------------------------ its clock and its transcript

    def begin(self, call_sid: str, **fields: str) -> float:
        """The second (since 1970) at which the call began: now, if nobody has said so; fields beside."""
        now = repr(self.now())
        own = self._own_copy(call_sid)
        own.setdefault("began", now)
        own.update(fields)
        try:
            with self.redis.pipeline() as pipe:
                pipe.hsetnx(keys.call(call_sid), "began", now)
                pipe.hget(keys.call(call_sid), "began")
                if fields:
                    pipe.hset(keys.call(call_sid), mapping=fields)
                own["began"] = str(self._execute(pipe, call_sid)[1])
        except RedisError as error:
            _is_away(error, call_sid)
        return float(own["began"])

    def elapsed_ms(self, call_sid: str) -> int:
        """Milliseconds since the call began; 0 for one of which that is not known."""
        began = self.recall(call_sid).get("began")
        return max(0, round((self.now() - float(began)) * 1000)) if began else 0

    def lines(self, call_sid: str) -> list[dict[str, Any]]:
        """The call's lines so far, in the transcript's order."""
        return self.look(call_sid).lines

    def keep_lines(self, call_sid: str, lines: Iterable[dict[str, Any]]) -> None:
        """Keep lines for the call's next legs; a line with the same ``item_id`` replaces the one before."""
        kept = {line["item_id"]: line for line in lines}
        if not kept:
            return
        _room_for(self._own_lines, call_sid).update(kept)
        try:
            with self.redis.pipeline() as pipe:
                put_lines(pipe, call_sid, kept)
                pipe.hmget(keys.call(call_sid), "began", "forgotten")
                began, forgotten = pipe.execute()[-1]
            if forgotten or not began:
                self.redis.expire(keys.lines(call_sid), keys.FORGOTTEN_S if forgotten else keys.STRAY_KEPT_S)
        except RedisError as error:
            _is_away(error, call_sid)

    def next_position(self, call_sid: str, count: int = 1) -> int:
        """Reserve ``count`` places in the transcript: the first of them."""
        return self.count(call_sid, "positions", count) - count

    def at_least_position(self, call_sid: str, position: int) -> None:
        """Let the next place to be reserved be this one or a later one."""
        own = self._own_copy(call_sid)
        own["positions"] = str(max(position, int(own.get("positions", "0"))))
        try:
            for _ in range(RACES):
                if self._raise_positions(call_sid, position):
                    return
        except RedisError as error:
            _is_away(error, call_sid)

    def _raise_positions(self, call_sid: str, position: int) -> bool:
        with self.redis.pipeline() as pipe:
            pipe.watch(keys.call(call_sid))
            if int(pipe.hget(keys.call(call_sid), "positions") or 0) >= position:
                return True
            pipe.multi()
            pipe.hset(keys.call(call_sid), "positions", str(position))
            try:
                self._execute(pipe, call_sid)
            except WatchError:
                return False
        return True

    # ------------------------------------------------------------------ live calls, and the end of them

    def untouched_since(self, then: float, limit: int = 100) -> list[str]:
        """Calls whose worker has not given a sign of life since ``then`` (seconds since 1970).

        Raises:
            redis.exceptions.RedisError: Redis is away.
        """
        return list(self.redis.zrangebyscore(keys.LIVE_CALLS, "-inf", f"({then}", 0, limit))

    def last_sign(self, call_sid: str) -> float | None:
        """When a live call's worker gave its last sign of life (seconds since 1970); None if nobody knows."""
        try:
            score = self.redis.zscore(keys.LIVE_CALLS, call_sid)
        except RedisError as error:
            _is_away(error, call_sid)
            return None
        return None if score is None else float(score)

    def touch(self, call_sid: str, now: float) -> None:
        """A sign of life of a call; the keeper gives them for all calls at once.

        Raises:
            redis.exceptions.RedisError: Redis is away.
        """
        self.redis.zadd(keys.LIVE_CALLS, {call_sid: now})

    def let_go(self, call_sid: str) -> None:
        """Expect no more signs of life of a call.

        Raises:
            redis.exceptions.RedisError: Redis is away.
        """
        self.redis.zrem(keys.LIVE_CALLS, call_sid)

    def forget_soon(self, call_sid: str, seconds: int = keys.FORGOTTEN_S) -> None:
        """A call is over: let nothing of it stay longer than ``seconds``.

        What belongs to a turn that is still open stays until that is closed.
        """
        self._own_copy(call_sid)["forgotten"] = "1"
        self._own_lines.pop(call_sid, None)
        try:
            if self.redis.exists(keys.call(call_sid)):
                self.redis.hset(keys.call(call_sid), "forgotten", "1")
            keys.forget(self.redis, call_sid, seconds)
        except RedisError as error:
            _is_away(error, call_sid)

    def keep_on(self, call_sid: str, known: Mapping[str, str] | None = None) -> None:
        """A call that was said to be over goes on, as far as is ``known``: nothing of it goes soon."""
        if not self.is_forgotten(call_sid, known):
            return
        self._own_copy(call_sid).pop("forgotten", None)
        try:
            self.redis.hdel(keys.call(call_sid), "forgotten")
            for name in (keys.call(call_sid), keys.lines(call_sid), keys.audio(call_sid)):
                self.redis.expire(name, keys.CALL_KEPT_S)
        except RedisError as error:
            _is_away(error, call_sid)

    def is_forgotten(self, call_sid: str, known: Mapping[str, str] | None = None) -> bool:
        """Whether this call was said to be over; ``known``: what ``recall`` has just said."""
        known = self.recall(call_sid) if known is None else known
        return "forgotten" in known or "forgotten" in self._own.get(call_sid, {})

    def _execute(self, pipe: Any, call_sid: str) -> list[Any]:
        """Run what the pipe holds, and see to it that the call's hash expires: sooner if it is over."""
        name = keys.call(call_sid)
        pipe.hmget(name, "began", "forgotten")
        pipe.expire(name, keys.CALL_KEPT_S)
        *answers, (began, forgotten), _ = pipe.execute()
        if forgotten:
            self.redis.expire(name, keys.FORGOTTEN_S)
        elif not began:
            self.redis.expire(name, keys.STRAY_KEPT_S)
        return answers

    def _own_copy(self, call_sid: str) -> dict[str, str]:
        return _room_for(self._own, call_sid)

    # ------------------------------------------------------------------ tickets

    def spend(self, call_sid: str, ticket: str, ticket_id: str, seconds: int) -> bool:
        """Use up a ticket: whether it was still good. That it was used is remembered for ``seconds``.

        Where it is the one that the carrier is given for the call, the carrier is given another one.
        """
        is_new = self._spend_here(ticket_id, time.time() + seconds)
        try:
            with self.redis.pipeline(transaction=False) as pipe:
                pipe.set(f"spent:{ticket_id}", "1", nx=True, ex=seconds)
                pipe.hget(keys.call(call_sid), "ticket")
                was_set, given = pipe.execute()
            is_good = bool(was_set) and is_new
        except RedisError as error:
            log.warning("Redis is away: %s", error)
            given, is_good = self._own.get(call_sid, {}).get("ticket"), is_new
        if given == ticket:
            self.remember(call_sid, ticket="")
        return is_good

    def _spend_here(self, ticket_id: str, until: float) -> bool:
        """This worker's own book, for when Redis is away."""
        if len(self._spent) >= OWN_CALLS_KEPT:
            self._spent = {known: end for known, end in self._spent.items() if end > time.time()}
        is_new = ticket_id not in self._spent
        self._spent[ticket_id] = until
        return is_new


def leg_key(base_ms: int) -> str:
    """What a live leg's usage is noted by: where in its call the leg began."""
    return f"leg-{base_ms}"


def usage_field(usage: Mapping[str, float], key: str) -> dict[str, str]:
    """How the call's hash has what something used; noted again by the same key, it replaces what was."""
    return {USAGE + key: json.dumps(dict(usage))}


def put_lines(pipe: Any, call_sid: str, lines: Mapping[str, dict[str, Any]]) -> None:
    """Lines by item, into a pipeline of either client."""
    pipe.hset(keys.lines(call_sid), mapping={item: json.dumps(line) for item, line in lines.items()})
    pipe.expire(keys.lines(call_sid), keys.CALL_KEPT_S)


def _in_order(lines: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(lines, key=lambda line: line["position"])


def _room_for(own: dict[str, dict[str, Any]], call_sid: str) -> dict[str, Any]:
    """This worker's own copy of something; the oldest call's gives way when there are too many."""
    if call_sid not in own and len(own) >= OWN_CALLS_KEPT:
        own.pop(next(iter(own)), None)
    return own.setdefault(call_sid, {})


def _is_away(error: RedisError, call_sid: str) -> None:
    log.warning("Redis is away: %s", error, extra={"call_sid": call_sid})

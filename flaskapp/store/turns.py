"""Recorded turns in progress: claimed once, worked on by one at a time, with one outcome that stays.

A turn is a hash ``turn:{sid}:{key}``. While it is open it stands in a sorted
set, with the second from which it may be worked on; whoever works on it holds a
lease of four seconds and renews it. A worker that is killed renews nothing: its
turns are due again soon, and somebody else takes them up.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from redis.exceptions import RedisError, WatchError

from flaskapp.store import keys
from flaskapp.store.live import RACES, Connections

log = logging.getLogger(__name__)

LEASE_MS = 4000
RENEWED_EVERY_S = 1.0
ASKED_EVERY_S = 0.05
#: After a claim the one who claimed has a job queued itself: others need not look before that.
LEFT_ALONE_S = 2.0


@dataclass(frozen=True)
class Turn:
    """What a caller said, somewhere, to be understood and mostly answered.

    Attributes:
        source: a carrier's recording; a part of the call's audio buffer; or words that were understood
            live, and only want an answer.
        account_sid: whose recording it is, for its address.
        refused: why it may not be fetched; empty if it may.
        from_ms, to_ms: the part of the audio buffer.
        position: its place in the transcript; the answer has the next one.
        at_ms, duration_ms: when it was said, since the call began, and for how long.
        is_message: left for somebody, not said to the agent.
        called: the number that was called.
        claimed_at: seconds since 1970.
    """

    call_sid: str
    key: str
    source: Literal["recording", "buffer", "words"]
    account_sid: str = ""
    refused: str = ""
    from_ms: int = 0
    to_ms: int = 0
    position: int = 0
    at_ms: int = 0
    duration_ms: int = 0
    wants_reply: bool = True
    is_message: bool = False
    called: str = ""
    claimed_at: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What became of a turn: "answered", "silent", "unavailable" ..., and the words.

    Attributes:
        is_open: the caller is told so, while the words are still to be understood.
        directives: what tools asked of the call, as JSON (``turn_tools.py``).
    """

    kind: str
    transcript: str = ""
    response: str = ""
    detail: str = ""
    is_goodbye: bool = False
    has_speech_file: bool = False
    usage: dict[str, float] = field(default_factory=dict)
    is_open: bool = False
    directives: list[dict[str, Any]] = field(default_factory=list)


class TurnBook:
    """All recorded turns in progress; its methods raise ``redis.exceptions.RedisError`` when Redis is away.

    Args:
        now: seconds since 1970, much the same on every machine.
    """

    def __init__(self, connections: Connections, now: Callable[[], float] = time.time) -> None:
        self.redis, self._raw, self._now = connections.text, connections.raw, now
        self._held: set[tuple[str, str, str]] = set()
        self._guard = threading.Lock()
        self._renewer: threading.Thread | None = None

    # ------------------------------------------------------------------ a turn's life

    def claim(self, turn: Turn) -> bool:
        """Open a turn; True for the first claim of its key only, however many come at once."""
        name, mark = keys.turn(turn.call_sid, turn.key), secrets.token_hex(8)
        for _ in range(RACES):
            with self.redis.pipeline() as pipe:
                try:
                    pipe.watch(name)
                    if pipe.hexists(name, "turn"):
                        return bool(pipe.hget(name, "claimed_by") == mark)
                    pipe.multi()
                    pipe.hset(name, mapping={"turn": json.dumps(asdict(turn)), "claimed_by": mark})
                    pipe.expire(name, keys.TURN_KEPT_S)
                    pipe.sadd(keys.turns(turn.call_sid), turn.key)
                    pipe.expire(keys.turns(turn.call_sid), keys.TURN_KEPT_S)
                    due = self._now() + LEFT_ALONE_S
                    pipe.zadd(keys.OPEN_TURNS, {keys.member(turn.call_sid, turn.key): due})
                    pipe.execute()
                except WatchError:  # somebody else, or ourselves on a connection that broke
                    continue
                return True
        raise RedisError("too many claim this turn at once")

    def find(self, call_sid: str, key: str) -> Turn | None:
        """The turn as it was claimed; None if it never was, or long ago."""
        told = self.redis.hget(keys.turn(call_sid, key), "turn")
        return Turn(**json.loads(told)) if told else None

    def outcome(self, call_sid: str, key: str) -> Outcome | None:
        """What became of it; None as long as nothing has."""
        told = self.redis.hget(keys.turn(call_sid, key), "outcome")
        return Outcome(**json.loads(told)["told"]) if told else None

    def wait(self, call_sid: str, key: str, within_s: float) -> Outcome | None:
        """The outcome, waited for; None if there is none in time. That it was asked for is noted."""
        give_up_at, name = time.monotonic() + within_s, keys.turn(call_sid, key)
        is_there = bool(self.redis.hexists(name, "turn"))
        if is_there:
            self.redis.hset(name, "asked_at", repr(self._now()))
        while (told := self.outcome(call_sid, key)) is None:
            left_s = give_up_at - time.monotonic()
            if left_s <= 0:
                return None
            time.sleep(min(ASKED_EVERY_S, left_s))
        if is_there:
            self.redis.hset(name, "asked_at", repr(self._now()))
        return told

    def times(self, call_sid: str, key: str) -> tuple[float, float]:
        """When the outcome was set, and when it was last waited for (seconds since 1970).

        Each is 0 if that has not happened; an outcome that is open counts for none.
        """
        outcome, asked_at = self.redis.hmget(keys.turn(call_sid, key), "outcome", "asked_at")
        noted: dict[str, Any] = json.loads(outcome) if outcome else {}
        is_settled = bool(noted) and not noted["told"].get("is_open")
        return float(noted.get("at", 0.0)) if is_settled else 0.0, float(asked_at or 0.0)

    def finish(self, call_sid: str, key: str, outcome: Outcome) -> bool:
        """Set the outcome; the first one stays, and for any other this is False."""
        name = keys.turn(call_sid, key)
        told = json.dumps({"told": asdict(outcome), "by": secrets.token_hex(8), "at": self._now()})
        with self.redis.pipeline() as pipe:
            pipe.hsetnx(name, "outcome", told)
            pipe.hget(name, "outcome")
            pipe.ttl(name)
            _, stays, ttl = pipe.execute()
        if ttl == -1:  # nobody has claimed it
            self.redis.expire(name, keys.TURN_KEPT_S)
        return bool(stays == told)

    def close(self, call_sid: str, key: str) -> None:
        """The history has it: nobody needs to work on it any more, and its keys expire."""
        with self.redis.pipeline() as pipe:
            pipe.zrem(keys.OPEN_TURNS, keys.member(call_sid, key))
            pipe.expire(keys.turn(call_sid, key), keys.CLOSED_KEPT_S)
            pipe.expire(keys.speech(call_sid, key), keys.CLOSED_KEPT_S)
            pipe.expire(keys.audio(call_sid), keys.AUDIO_KEPT_S)
            pipe.hmget(keys.call(call_sid), "began", "forgotten")
            began, forgotten = pipe.execute()[-1]
        if forgotten or not began:
            keys.forget(self.redis, call_sid, keys.FORGOTTEN_S)

    # ------------------------------------------------------------------ who works on it, and when

    def take(self, call_sid: str, key: str, owner: str) -> bool:
        """Have the turn to oneself for four seconds; False if another owner has it, or it is closed.

        A key that is no turn's may be taken too: then it is just a lock.
        """
        name = keys.turn(call_sid, key)
        with self.redis.pipeline(transaction=False) as pipe:
            pipe.set(keys.lease(call_sid, key), owner, nx=True, px=LEASE_MS)
            pipe.get(keys.lease(call_sid, key))
            pipe.hexists(name, "turn")
            pipe.zscore(keys.OPEN_TURNS, keys.member(call_sid, key))
            _, holder, is_turn, due = pipe.execute()
        if holder != owner:
            return False
        if not is_turn:
            return True
        if due is None:
            self.release(call_sid, key, owner)
            return False
        self.redis.hset(name, "owned_until", repr(self._now() + LEASE_MS / 1000))
        return True

    def renew(self, call_sid: str, key: str, owner: str) -> bool:
        """Have it for four seconds more; False if it is no longer ours."""
        return self._if_ours(call_sid, key, owner, LEASE_MS)

    def release(self, call_sid: str, key: str, owner: str) -> bool:
        """Leave it to others; False if it was no longer ours."""
        return self._if_ours(call_sid, key, owner, 0)

    def _if_ours(self, call_sid: str, key: str, owner: str, for_ms: int) -> bool:
        lease, name = keys.lease(call_sid, key), keys.turn(call_sid, key)
        for _ in range(RACES):
            with self.redis.pipeline() as pipe:
                pipe.watch(lease)
                if pipe.get(lease) != owner:
                    return False
                is_turn = pipe.hexists(name, "turn")
                pipe.multi()
                if for_ms:
                    pipe.pexpire(lease, for_ms)
                else:
                    pipe.delete(lease)
                if is_turn:
                    pipe.hset(name, "owned_until", repr(self._now() + for_ms / 1000))
                try:
                    pipe.execute()
                except WatchError:  # it ran out this very moment, or was renewed while it was released
                    continue
            return True
        return False

    @contextmanager
    def holding(self, call_sid: str, key: str) -> Iterator[bool]:
        """Whether the turn is ours, for as long as the block lasts.

        A worker that is stopped for longer than the lease loses it unawares:
        that is why ``finish`` compares before it sets.
        """
        owner = secrets.token_hex(8)
        if not self.take(call_sid, key, owner):
            yield False
            return
        held = (call_sid, key, owner)
        self._renew_from_now_on(held)
        try:
            yield True
        finally:
            with self._guard:
                self._held.discard(held)
            try:
                self.release(*held)
            except RedisError as error:  # it runs out by itself
                log.warning("A lease was not returned: %s", error, extra={"call_sid": call_sid})

    def _renew_from_now_on(self, held: tuple[str, str, str]) -> None:
        with self._guard:
            self._held.add(held)
            if self._renewer is None:
                self._renewer = threading.Thread(target=self._renew_all, name="leases", daemon=True)
                self._renewer.start()

    def _renew_all(self) -> None:
        while True:
            time.sleep(RENEWED_EVERY_S)
            with self._guard:
                if not self._held:
                    self._renewer = None
                    return
                held = tuple(self._held)
            for each in held:
                try:
                    is_ours = self.renew(*each)
                except RedisError:  # Redis is away: the next second will tell
                    break
                if not is_ours and each in self._held:
                    log.warning("A lease was lost", extra={"call_sid": each[0]})
                    self._held.discard(each)

    def postpone(self, call_sid: str, key: str, seconds: float, *, is_rest: bool = False) -> None:
        """Nobody shall work on it before so many seconds have passed.

        Args:
            is_rest: whoever worked on it wants it so; nobody is missed meanwhile.
        """
        due, name = self._now() + seconds, keys.turn(call_sid, key)
        with self.redis.pipeline() as pipe:
            pipe.zadd(keys.OPEN_TURNS, {keys.member(call_sid, key): due}, xx=True)
            if is_rest:
                pipe.hset(name, "rests_until", repr(due))
            pipe.expire(name, keys.TURN_KEPT_S)
            pipe.expire(keys.turns(call_sid), keys.TURN_KEPT_S)
            pipe.execute()

    def attempt(self, call_sid: str, key: str) -> int:
        """Count one more attempt: how many there were."""
        return int(self.redis.hincrby(keys.turn(call_sid, key), "attempts", 1))

    def trouble_lasts(self, call_sid: str, key: str, trouble: str) -> float:
        """For how many seconds a turn has been in this trouble, and no other; 0 the first time.

        Whoever asks holds the turn.
        """
        name, now = keys.turn(call_sid, key), self._now()
        before, since = self.redis.hmget(name, "trouble", "trouble_since")
        if before == trouble:
            return max(0.0, now - float(since))
        self.redis.hset(name, mapping={"trouble": trouble, "trouble_since": repr(now)})
        return 0.0

    def due(self, now: float, limit: int) -> list[tuple[str, str]]:
        """Open turns that nobody works on and that may be worked on, the longest waiting first.

        Returns:
            Pairs of call SID and key.
        """
        found: list[tuple[str, str]] = []
        gone: list[str] = []
        seen = 0
        while len(found) < limit:
            members = self.redis.zrangebyscore(keys.OPEN_TURNS, "-inf", now, seen, limit)
            if not members:
                break
            seen += len(members)
            pairs = [tuple(each.split(" ", 1)) for each in members]
            with self.redis.pipeline(transaction=False) as pipe:
                for pair in pairs:
                    pipe.exists(keys.lease(*pair))
                    pipe.hexists(keys.turn(*pair), "turn")
                told = iter(pipe.execute())
            for member, pair, is_leased, is_there in zip(members, pairs, told, told, strict=True):
                if not is_there:
                    gone.append(member)
                elif not is_leased:
                    found.append(pair)
        if gone:
            self.redis.zrem(keys.OPEN_TURNS, *gone)
        return found[:limit]

    def unowned_for(self, call_sid: str, key: str) -> float:
        """For how many seconds nobody works on a turn that has no outcome; 0 while it rests."""
        with self.redis.pipeline() as pipe:
            pipe.hmget(keys.turn(call_sid, key), "turn", "outcome", "owned_until", "rests_until")
            pipe.exists(keys.lease(call_sid, key))
            (turn, outcome, owned_until, rests_until), is_leased = pipe.execute()
        if not turn or outcome or is_leased:
            return 0.0
        since = max(float(json.loads(turn)["claimed_at"]), float(owned_until or 0), float(rests_until or 0))
        return max(0.0, self._now() - since)

    # ------------------------------------------------------------------ its tools

    def first_use(self, call_sid: str, key: str, use: str) -> dict[str, Any] | None:
        """None for the first who is about to use a tool so, and for nobody else.

        Others get what was kept of it: empty if that use never came to its end.
        """
        name, about, mark = keys.turn(call_sid, key), f"use:{use}", json.dumps({"by": secrets.token_hex(8)})
        with self.redis.pipeline() as pipe:
            pipe.hsetnx(name, about, mark)
            pipe.hget(name, about)
            found = pipe.execute()[-1]
        kept: dict[str, Any] = json.loads(found)
        return None if found == mark else dict(kept.get("kept", {}))

    def keep_use(self, call_sid: str, key: str, use: str, answer: dict[str, Any]) -> None:
        """What came of it, for whoever works on the turn again."""
        self.redis.hset(keys.turn(call_sid, key), f"use:{use}", json.dumps({"kept": answer}))

    def spend(self, call_sid: str, key: str, cost_usd: float) -> float:
        """What the call has cost with this turn, which is added once, however often that is said.

        Whoever says so holds the turn.
        """
        name, about = keys.call(call_sid), f"cost:{key}"
        if cost_usd and not self.redis.hexists(name, about):
            with self.redis.pipeline() as pipe:
                pipe.hset(name, about, repr(cost_usd))
                pipe.hincrbyfloat(name, "cost_usd", cost_usd)
                pipe.execute()
        return float(self.redis.hget(name, "cost_usd") or 0)

    # ------------------------------------------------------------------ its answer as sound

    def put_speech(self, call_sid: str, key: str, wav: bytes) -> None:
        """Keep the answer's sound file for ten minutes."""
        self._raw.set(keys.speech(call_sid, key), wav, ex=keys.CLOSED_KEPT_S)

    def speech(self, call_sid: str, key: str) -> bytes | None:
        """The answer's sound file."""
        found: Any = self._raw.get(keys.speech(call_sid, key))
        return found

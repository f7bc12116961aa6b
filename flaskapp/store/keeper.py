"""Keeps what is said on live calls where other workers find it: once a second, all calls in one go.

A call's bridge is asked for new audio and new lines; it never waits for that.
One writer (a greenlet under gevent) carries everything to Redis in one
pipeline. While Redis is away, chunks wait in memory: at most ten minutes of a
call, and so many bytes of all calls together; then the oldest are dropped, and
counted. The writer starts with the first call, and ends with the last.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from redis.exceptions import RedisError, ResponseError

from flaskapp.phone.transcript import Line
from flaskapp.store import audio, keys
from flaskapp.store.audio import BYTES_PER_MS, CHUNKS_KEPT, AudioBuffer
from flaskapp.store.live import LiveStore, leg_key, put_lines, usage_field

log = logging.getLogger(__name__)

EVERY_S = 1.0
RELEASED_WITHIN_S = 1.0
SETTLED_EVERY_S = 0.1
CHUNK_BYTES = 1000 * BYTES_PER_MS
CALL_BYTES = CHUNKS_KEPT * CHUNK_BYTES
ALL_BYTES = 256 << 20
AT_ONCE_BYTES = 512 << 10  # one pipeline: it is put together without a pause


class Source(Protocol):
    """A live call's bridge, as the keeper sees it."""

    @property
    def heard_until_ms(self) -> int:
        """Up to here all that the caller said has reached the transcript."""

    def take_audio(self) -> tuple[int, bytes] | None:
        """Mu-law that came since the last time, and where in the call it begins, in ms."""

    @property
    def cost_usd(self) -> float:
        """What this leg has cost so far; 0.0 where nobody knows prices."""

    @property
    def usage(self) -> dict[str, float]:
        """What this leg has used so far, by the engine's own names for it; a copy."""

    @property
    def base_ms(self) -> int:
        """Where in the call this leg begins."""

    def take_lines(self) -> Sequence[Line]:
        """Lines that are new, or have changed, since the last time."""

    def take_memo(self) -> dict[str, Any] | None:
        """What the call's next leg must know, if that has changed since the last time; JSON can carry it."""


@dataclass(eq=False)
class _Followed:
    """One call's leg: what of it has still to be written."""

    call_sid: str
    source: Source | None
    chunks: deque[tuple[int, bytes]] = field(default_factory=deque)
    lines: dict[str, dict[str, Any]] = field(default_factory=dict)
    heard_until_ms: int = 0
    memo: dict[str, Any] | None = None  # one that has still to be written
    cost_usd: float = 0.0
    usage: dict[str, float] = field(default_factory=dict)
    base_ms: int = 0
    waiting: int = 0  # bytes in `chunks`
    stored: int = 0  # bytes in Redis
    positions: int = 0
    told_positions: int = 0
    is_late: bool = False
    written: threading.Event = field(default_factory=threading.Event)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def take(self, is_last: bool = False) -> None:
        """Everything that is new at the source."""
        with self.guard:
            source = self.source
            if source is None:
                return
            if is_last:
                self.source = None
            taken = source.take_audio()
            for line in source.take_lines():
                self.lines[line.item_id] = {**asdict(line), "mode": "live"}
                self.positions = max(self.positions, line.position + 1)
            self.heard_until_ms, self.cost_usd = source.heard_until_ms, source.cost_usd
            self.usage, self.base_ms = source.usage, source.base_ms
            self.memo = source.take_memo() or self.memo
            start_ms, mulaw = taken or (0, b"")
            for at in range(0, len(mulaw), CHUNK_BYTES):
                self.chunks.append((start_ms + at // BYTES_PER_MS, mulaw[at : at + CHUNK_BYTES]))
            self.waiting += len(mulaw)

    def strike_off(self, chunk: tuple[int, bytes]) -> None:
        """This one is in Redis."""
        with self.guard:
            if self.chunks and self.chunks[0] is chunk:
                self.drop_oldest()
        self.stored = min(self.stored + len(chunk[1]), CALL_BYTES)

    def drop_oldest(self) -> None:
        self.waiting -= len(self.chunks.popleft()[1])


@dataclass(frozen=True)
class _Batch:
    """What waits for one call, or part of it, as it goes into one pipeline."""

    followed: _Followed
    chunks: list[tuple[int, bytes]]
    lines: dict[str, dict[str, Any]]
    fields: dict[str, str | int]
    memo: dict[str, Any] | None
    is_last: bool

    @property
    def answers(self) -> int:
        """How many commands it takes."""
        return 2 * len(self.chunks) + (2 if self.lines else 0) + 4


class Keeper:
    """Follows this worker's live calls.

    Args:
        held_bytes: told after each round how much caller audio is kept for this worker's calls.
        dropped: told how many chunks were lost because Redis was away for too long.
        came_late: told of a call whose last audio was written only after its release had returned.
        now: seconds since 1970.
    """

    def __init__(
        self,
        buffer: AudioBuffer,
        live: LiveStore,
        held_bytes: Callable[[int], None] = lambda count: None,
        dropped: Callable[[int], None] = lambda count: None,
        came_late: Callable[[str], None] = lambda call_sid: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._buffer, self._live, self._now = buffer, live, now
        self._tell_bytes, self._tell_dropped, self._tell_late = held_bytes, dropped, came_late
        self._followed: list[_Followed] = []
        self._guard = threading.Lock()
        self._hurry = threading.Event()
        self._writer: threading.Thread | None = None
        self._is_away = False

    def follow(self, call_sid: str, source: Source) -> None:
        """Keep what is said on a call's leg from now on; the leg that it takes the call over from is over."""
        for before in self._legs(call_sid):
            before.take(is_last=True)
        with self._guard:
            self._followed.append(_Followed(call_sid, source))
            if self._writer is None:
                self._writer = threading.Thread(target=self._write_for_ever, name="keeper", daemon=True)
                self._writer.start()

    def release(self, call_sid: str) -> bool:
        """The call's leg is over: take what is left of it, and write it now.

        Returns:
            Whether it was written within a second; otherwise that follows when Redis is back.
        """
        legs = self._legs(call_sid)
        if not legs:
            return True
        followed = legs[-1]
        followed.take(is_last=True)
        self._hurry.set()
        if followed.written.wait(RELEASED_WITHIN_S):
            return True
        followed.is_late = True
        return followed.written.is_set()

    def settle(self, within_s: float) -> bool:
        """Wait until nothing of calls that are over has still to be written; whether it was in time."""
        give_up_at = time.monotonic() + within_s
        while any(each.source is None for each in tuple(self._followed)):
            if time.monotonic() >= give_up_at:
                return False
            self._hurry.set()
            time.sleep(SETTLED_EVERY_S)
        return True

    def _legs(self, call_sid: str) -> list[_Followed]:
        """The call's legs that are not over."""
        with self._guard:
            return [each for each in self._followed if each.call_sid == call_sid and each.source is not None]

    # ------------------------------------------------------------------ the writer

    def _write_for_ever(self) -> None:
        due = time.monotonic() + EVERY_S
        while True:
            self._hurry.wait(max(0.0, due - time.monotonic()))
            self._hurry.clear()
            is_due = time.monotonic() >= due
            if is_due:
                due = max(due + EVERY_S, time.monotonic())
            try:
                self._round(is_due)
            except Exception as error:  # the other calls' words depend on this thread
                log.error("The keeper stumbled: %s: %s", type(error).__name__, error)
            with self._guard:
                if not self._followed:
                    self._writer = None
                    return

    def _round(self, is_due: bool) -> None:
        """Write what is new: of all calls once a second, in between of those that were released."""
        with self._guard:
            every = [each for each in self._followed if is_due or each.source is None]
        for each in every:
            self._take(each)
            time.sleep(0)  # under gevent: the calls' frames come first
        try:
            self._write(every)
        except RedisError as error:
            if not self._is_away:
                log.warning("Redis is away, audio waits in memory: %s", error)
            self._is_away = True
        else:
            self._is_away = False
        self._make_room()
        with self._guard:
            held = sum(each.waiting + each.stored for each in self._followed)
        self._tell_bytes(held)

    def _take(self, followed: _Followed) -> None:
        try:
            followed.take()
        except Exception as error:  # one call's trouble is not the others'
            log.error(
                "A call is followed no longer: %s: %s",
                *(type(error).__name__, error),
                extra={"call_sid": followed.call_sid},
            )
            followed.source = None

    def _write(self, todo: list[_Followed]) -> None:
        """Everything that waits, in as many pipelines as it takes.

        Raises:
            redis.exceptions.RedisError: what was not answered waits for the next round.
        """
        failed: RedisError | None = None
        while todo:
            batches = _next_batches(todo)
            done = []
            for batch, answers in self._send(batches):
                try:
                    self._settle(batch, answers)
                    if not batch.followed.chunks:
                        done.append(batch.followed)
                except ResponseError as error:  # Redis did not want this call's; the others' it may
                    failed = error
                    done.append(batch.followed)
            todo = [each for each in todo if each not in done]
        if failed is not None:
            raise failed

    def _send(self, batches: list[_Batch]) -> list[tuple[_Batch, list[Any]]]:
        with self._buffer.redis.pipeline(transaction=False) as pipe:
            for batch in batches:
                self._put(pipe, batch)
            answers = iter(pipe.execute(raise_on_error=False))
        return [(batch, [next(answers) for _ in range(batch.answers)]) for batch in batches]

    def _put(self, pipe: Any, batch: _Batch) -> None:
        call_sid = batch.followed.call_sid
        for start_ms, mulaw in batch.chunks:
            audio.put(pipe, call_sid, start_ms, mulaw)
        if batch.lines:
            put_lines(pipe, call_sid, batch.lines)
        pipe.hset(keys.call(call_sid), mapping=batch.fields)
        pipe.expire(keys.call(call_sid), keys.CALL_KEPT_S)
        if batch.is_last:
            pipe.zrem(keys.LIVE_CALLS, call_sid)
        else:
            pipe.zadd(keys.LIVE_CALLS, {call_sid: self._now()})
        pipe.expire(keys.LIVE_CALLS, keys.CALL_KEPT_S)

    def _settle(self, batch: _Batch, answers: list[Any]) -> None:
        """Strike off what was written.

        Raises:
            redis.exceptions.RedisError: some of it was not.
        """
        followed, call_sid = batch.followed, batch.followed.call_sid
        for chunk, answer in zip(batch.chunks, answers[::2], strict=False):
            self._buffer.settle(call_sid, *chunk, answer)
            if not followed.stored:
                log.info("Stored audio chunk for call %s", call_sid, extra={"call_sid": call_sid})
            followed.strike_off(chunk)
        for answer in answers[2 * len(batch.chunks) :]:
            if isinstance(answer, Exception):
                raise answer
        with followed.guard:
            if followed.memo is batch.memo:
                followed.memo = None
            for item, line in batch.lines.items():
                if followed.lines.get(item) is line:
                    del followed.lines[item]
        if followed.positions > followed.told_positions:
            self._live.at_least_position(call_sid, followed.positions)
            followed.told_positions = followed.positions
        if batch.is_last and not followed.chunks and not followed.lines:
            self._finish(followed)

    def _finish(self, followed: _Followed) -> None:
        """All of a leg that is over is written."""
        with self._guard:
            self._followed.remove(followed)
        followed.written.set()
        if followed.is_late:
            self._tell_late(followed.call_sid)
            if self._live.is_forgotten(followed.call_sid):
                self._live.forget_soon(followed.call_sid)

    def _make_room(self) -> None:
        """Ten minutes of a call, and so much of all: what is older is lost."""
        with self._guard:
            every = list(self._followed)
        total, dropped = sum(each.waiting for each in every), 0
        while every and (fullest := max(every, key=lambda each: each.waiting)).waiting:
            if fullest.waiting <= CALL_BYTES and total <= ALL_BYTES:
                break
            with fullest.guard:
                total -= len(fullest.chunks[0][1])
                fullest.drop_oldest()
            dropped += 1
        if dropped:
            log.error("Redis is away for too long: %d chunks of audio are lost", dropped)
            self._tell_dropped(dropped)


def _next_batches(todo: list[_Followed]) -> list[_Batch]:
    """As much as goes into one pipeline; a call's chunks stay in order."""
    batches: list[_Batch] = []
    left = AT_ONCE_BYTES
    for each in todo:
        with each.guard:
            chunks = []
            for chunk in each.chunks:
                if left <= 0:
                    break
                chunks.append(chunk)
                left -= len(chunk[1])
            is_last = each.source is None
            batches.append(_Batch(each, chunks, dict(each.lines), _fields(each), each.memo, is_last))
        if left <= 0:
            break
    return batches


def _fields(followed: _Followed) -> dict[str, str | int]:
    """What the call's hash is told of its leg."""
    fields: dict[str, str | int] = {"heard_until_ms": followed.heard_until_ms}
    if followed.source is not None:  # whoever hears of the leg's end adds it up
        if followed.cost_usd:
            fields["leg_cost"] = repr(followed.cost_usd)
        if followed.usage:
            fields |= usage_field(followed.usage, leg_key(followed.base_ms))
    if followed.memo is not None:
        fields["memo"] = json.dumps(followed.memo)
    return fields

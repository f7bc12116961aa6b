"""Keeps what is said on live calls where other workers find it: once a second, all calls in one go.

A call's bridge is asked for new audio and new lines; it never waits for that.
One writer (a greenlet under gevent) carries everything to Redis in small
bundles with pauses between them, and nothing that Redis knows already. While
Redis is away, chunks wait in memory: at most ten minutes of a call, and so many
bytes of all calls together; then the oldest are dropped, and counted. The writer
starts with the first call, and ends with the last.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import pairwise

from redis.exceptions import RedisError, ResponseError

from flaskapp.phone.giving_way import pause
from flaskapp.store import audio, keys
from flaskapp.store.audio import AudioBuffer
from flaskapp.store.bundle import Bundle, Courier, Refused
from flaskapp.store.followed import CALL_BYTES, Batch, Followed, Source
from flaskapp.store.live import LiveStore, put_lines
from flaskapp.store.tape import Tape

log = logging.getLogger(__name__)

EVERY_S = 1.0
RELEASED_WITHIN_S = 1.0
SETTLED_EVERY_S = 0.1
ALL_BYTES = 256 << 20
# One bundle: it is put together, sent, and struck off, without a pause.
AT_ONCE_BYTES = 256 << 10
AT_ONCE_CALLS = 32
#: Calls on which nothing happens give no more than signs of life.
SIGNS_AT_ONCE = 128
#: So long something is taken of one call after the other: a pause costs as much as half of one.
BUSY_S = 0.0003


class Keeper:
    """Follows this worker's live calls.

    Args:
        held_bytes: told after each round how much caller audio is kept for this worker's calls.
        dropped: told how many chunks were lost because Redis was away for too long.
        came_late: told of a call whose last audio was written only after its release had returned.
        tapes: makes what takes a call's sound (by its SID), to be kept for good; None: it is not kept.
        now: seconds since 1970.
    """

    def __init__(
        self,
        buffer: AudioBuffer,
        live: LiveStore,
        held_bytes: Callable[[int], None] = lambda count: None,
        dropped: Callable[[int], None] = lambda count: None,
        came_late: Callable[[str], None] = lambda call_sid: None,
        tapes: Callable[[str], Tape] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._buffer, self._live, self._now = buffer, live, now
        self._tapes, self.keeps_sound = tapes, tapes is not None
        self._courier = Courier(buffer.redis)
        self._tell_bytes, self._tell_dropped, self._tell_late = held_bytes, dropped, came_late
        self._followed: list[Followed] = []
        self._guard = threading.Lock()
        self._hurry = threading.Event()
        self._writer: threading.Thread | None = None
        self._is_away = False

    def follow(self, call_sid: str, source: Source) -> None:
        """Keep what is said on a call's leg from now on; the leg that it takes the call over from is over."""
        for before in self._legs(call_sid):
            before.take(is_last=True)
        tape = self._tapes(call_sid) if self._tapes is not None else None
        with self._guard:
            self._followed.append(Followed(call_sid, source, tape=tape))
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

    def _legs(self, call_sid: str) -> list[Followed]:
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
        began = time.monotonic()
        todo: deque[Followed] = deque()
        still: list[str] = []
        for each in every:
            if each.needs_no_look(began):
                still.append(each.call_sid)
            else:
                self._take(each)
                todo.append(each)
            if time.monotonic() - began >= BUSY_S:
                pause()
                began = time.monotonic()
        try:
            self._write(todo, still)
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

    def _take(self, followed: Followed) -> None:
        try:
            followed.take()
        except Exception as error:  # one call's trouble is not the others'
            log.error(
                "A call is followed no longer: %s: %s",
                *(type(error).__name__, error),
                extra={"call_sid": followed.call_sid},
            )
            followed.source = None

    def _write(self, todo: deque[Followed], still: list[str]) -> None:
        """Everything that waits, in as many bundles as it takes; a call's chunks stay in order.

        Args:
            still: calls of which a sign of life is all there is to tell.

        Raises:
            redis.exceptions.RedisError: what was not answered waits for the next round.
        """
        if not todo and not still:
            return
        failed: RedisError | None = None
        with self._courier.under_way():
            for at in range(0, len(still), SIGNS_AT_ONCE):
                bundle = Bundle()
                self._put_alive(bundle, still[at : at + SIGNS_AT_ONCE])
                for why in self._courier.send(bundle).values():
                    failed = why
                pause()
            while todo:
                for batch, refused in self._send(_next_batches(todo, time.monotonic())):
                    try:
                        self._settle(batch, refused)
                    except ResponseError as error:  # Redis did not want this call's; the others' it may
                        failed = error
                        continue
                    if batch.followed.chunks:
                        todo.appendleft(batch.followed)
                pause()
        if failed is not None:
            raise failed

    def _send(self, batches: list[Batch]) -> list[tuple[Batch, Refused]]:
        """Each batch with what Redis refused: chunks by their places, then whatever of all else."""
        bundle, ends = Bundle(), [0]
        for batch in batches:
            self._put(bundle, batch)
            ends.append(len(bundle))
        self._put_signs(bundle, batches)
        refused = self._courier.send(bundle)
        if not refused:
            return [(batch, refused) for batch in batches]
        parts = [
            {at - begin: why for at, why in refused.items() if begin <= at < end or at >= ends[-1]}
            for begin, end in pairwise(ends)
        ]
        return list(zip(batches, parts, strict=True))

    def _put(self, bundle: Bundle, batch: Batch) -> None:
        """One call's, its chunks first."""
        call_sid = batch.followed.call_sid
        for start_ms, mulaw in batch.chunks:
            audio.put(bundle, call_sid, start_ms, mulaw)
        if batch.lines:
            put_lines(bundle, call_sid, batch.lines)
        if batch.fields:
            bundle.hset(keys.call(call_sid), mapping=batch.fields)
        if batch.renews:
            bundle.expire(keys.audio(call_sid), keys.AUDIO_KEPT_S)
            bundle.expire(keys.call(call_sid), keys.CALL_KEPT_S)

    def _put_signs(self, bundle: Bundle, batches: list[Batch]) -> None:
        """These calls are alive, or are not expected any more."""
        if alive := [batch.followed.call_sid for batch in batches if not batch.is_last]:
            self._put_alive(bundle, alive)
        if gone := [batch.followed.call_sid for batch in batches if batch.is_last]:
            bundle.execute_command("ZREM", keys.LIVE_CALLS, *gone)
        if any(batch.renews for batch in batches):
            bundle.expire(keys.LIVE_CALLS, keys.CALL_KEPT_S)

    def _put_alive(self, bundle: Bundle, call_sids: list[str]) -> None:
        now = repr(self._now())
        bundle.execute_command("ZADD", keys.LIVE_CALLS, *[word for sid in call_sids for word in (now, sid)])

    def _settle(self, batch: Batch, refused: Refused) -> None:
        """Strike off what was written.

        Raises:
            redis.exceptions.RedisError: some of it was not.
        """
        followed, call_sid = batch.followed, batch.followed.call_sid
        for at, chunk in enumerate(batch.chunks):
            if at in refused:
                self._buffer.settle(call_sid, *chunk, refused[at])
            if not followed.stored:
                log.info("Stored audio chunk for call %s", call_sid, extra={"call_sid": call_sid})
            followed.strike_off(chunk)
        for at, why in refused.items():
            if at >= len(batch.chunks):
                raise why
        followed.settle(batch, time.monotonic())
        if followed.positions > followed.told_positions:
            self._live.at_least_position(call_sid, followed.positions)
            followed.told_positions = followed.positions
        if batch.is_last and not followed.chunks and not followed.lines:
            self._finish(followed)

    def _finish(self, followed: Followed) -> None:
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
            every = [each for each in self._followed if each.waiting]
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


def _next_batches(todo: deque[Followed], now: float) -> list[Batch]:
    """As much as goes into one bundle, taken from what is to do."""
    batches: list[Batch] = []
    left = AT_ONCE_BYTES
    while todo and left > 0 and len(batches) < AT_ONCE_CALLS:
        batch = todo.popleft().batch(left, now)
        left -= sum(len(mulaw) for _, mulaw in batch.chunks)
        batches.append(batch)
    return batches

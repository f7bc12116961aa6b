"""The caller's audio of each call, in order, in Redis: what can still be understood when live AI could not.

A call's audio is a stream ``audio:{sid}``; a chunk's entry has the chunk's
start (ms since the call began) for its id, so that Redis itself refuses a chunk
that it has already. What is refused is looked for before it is given up: it
either is there (a write whose answer was lost, and which was tried again), or it
takes its place after all others (a clock that was set back).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError, ResponseError, WatchError

from flaskapp.store import keys
from flaskapp.store.live import RACES, Connections

BYTES_PER_MS = 8  # mu-law at 8 kHz
CHUNKS_KEPT = 600  # of a live call: chunks of one second, so ten minutes
UPLOADS_KEPT = 30_000  # of one that is brought in pieces: ten minutes in frames of 20 ms
LOOKED_BACK = 16
DROPPED_AT_ONCE = 500
REFUSED = "equal or smaller"  # Redis' words for an id that is not above all others

# An entry's fields: the audio; where it should have begun; its writer's mark; all bytes up to its end.
MULAW, WANTED, MARK, TOTAL = b"a", b"w", b"m", b"t"

Entry = tuple[bytes, dict[bytes, bytes]]


@dataclass(frozen=True)
class Chunk:
    """Some of a caller's audio: mu-law at 8 kHz, from ``start_ms`` of the call on."""

    start_ms: int
    mulaw: bytes

    @property
    def end_ms(self) -> int:
        """Where it ends, in whole milliseconds."""
        return self.start_ms + len(self.mulaw) // BYTES_PER_MS


@dataclass(frozen=True)
class Held:
    """How much of a call is held."""

    chunks: int = 0
    bytes: int = 0

    @property
    def duration_ms(self) -> int:
        """How long it would take to listen to."""
        return self.bytes // BYTES_PER_MS


class AudioBuffer:
    """Every call's caller audio; its methods raise ``redis.exceptions.RedisError`` when Redis is away."""

    def __init__(self, connections: Connections) -> None:
        self.redis = connections.raw

    def append(self, call_sid: str, start_ms: int, mulaw: bytes) -> None:
        """Add what was heard at ``start_ms``; adding it again changes nothing."""
        with self.redis.pipeline(transaction=False) as pipe:
            put(pipe, call_sid, start_ms, mulaw)
            pipe.expire(keys.audio(call_sid), keys.AUDIO_KEPT_S)
            added, _ = pipe.execute(raise_on_error=False)
        self.settle(call_sid, start_ms, mulaw, added)

    def settle(self, call_sid: str, start_ms: int, mulaw: bytes, answer: Any) -> None:
        """See to a chunk that ``put`` put into a pipeline, with Redis' answer to it."""
        if not isinstance(answer, Exception):
            return
        if REFUSED not in str(answer):
            raise answer
        for _ in range(RACES):
            last = self._last(call_sid, LOOKED_BACK)
            if self._is_there(call_sid, start_ms, mulaw, last):
                return
            fields = {MULAW: mulaw, WANTED: str(start_ms).encode()}
            if self._add_after(call_sid, last, fields, CHUNKS_KEPT):
                return
        raise RedisError("too many write this call's audio at once")

    def append_next(self, call_sid: str, mulaw: bytes) -> Held:
        """Add what follows on what is held; of several at once each finds its place.

        Returns:
            What is held now.
        """
        mark = secrets.token_bytes(8)
        for _ in range(50 * RACES):
            last = self._last(call_sid, 1)
            fields = {MULAW: mulaw, MARK: mark}
            if not last or TOTAL in last[0][1]:  # all before it were counted too
                total = (_total(last[0]) if last else 0) + len(mulaw)
                fields[TOTAL] = str(total).encode()
            if self._add_after(call_sid, last, fields, UPLOADS_KEPT):
                return self.held(call_sid)
        raise RedisError("too many write this call's audio at once")

    def read(self, call_sid: str, from_ms: int = 0, to_ms: int | None = None) -> list[Chunk]:
        """What was said from ``from_ms`` until ``to_ms``, in order; the outer chunks are cut to fit."""
        begin = self._around(call_sid, from_ms)
        end = "+" if to_ms is None else str(max(to_ms, 0))
        entries = self.redis.xrange(keys.audio(call_sid), begin or str(max(from_ms, 0)), end)
        chunks = (_cut(_chunk(entry), from_ms, to_ms) for entry in entries)
        return [chunk for chunk in chunks if chunk.mulaw]

    def held(self, call_sid: str) -> Held:
        """How much is held."""
        name = keys.audio(call_sid)
        with self.redis.pipeline() as pipe:
            pipe.xlen(name)
            pipe.xrange(name, count=1)
            pipe.xrevrange(name, count=1)
            chunks, first, last = pipe.execute()
        if not chunks:
            return Held()
        if TOTAL in first[0][1] and TOTAL in last[0][1]:
            return Held(chunks, _total(last[0]) - _total(first[0]) + len(first[0][1][MULAW]))
        entries = self.redis.xrange(name)
        return Held(len(entries), sum(len(fields[MULAW]) for _, fields in entries))

    def cut(self, call_sid: str, until_ms: int) -> None:
        """Drop what was said before ``until_ms``; a chunk that goes on after it stays whole."""
        name = keys.audio(call_sid)
        before = self.redis.xrange(name, "-", f"{max(until_ms, 0)}")
        ids = [entry[0] for entry in before if _chunk(entry).end_ms <= until_ms]
        for at in range(0, len(ids), DROPPED_AT_ONCE):
            self.redis.xdel(name, *ids[at : at + DROPPED_AT_ONCE])
        with self.redis.pipeline() as pipe:
            pipe.watch(name)
            if pipe.xlen(name):
                return
            pipe.multi()
            pipe.delete(name)
            with suppress(WatchError):  # something came this very moment
                pipe.execute()

    def keep(self, call_sid: str, seconds: int) -> None:
        """Hold it for so long from now on: what is in it is still to be understood."""
        self.redis.expire(keys.audio(call_sid), seconds)

    def delete(self, call_sid: str) -> None:
        """Drop all of it."""
        self.redis.delete(keys.audio(call_sid))

    # ------------------------------------------------------------------ ids

    def _last(self, call_sid: str, count: int) -> list[Entry]:
        """The newest entries, newest first."""
        return list(self.redis.xrevrange(keys.audio(call_sid), count=count))

    def _is_there(self, call_sid: str, start_ms: int, mulaw: bytes, last: Iterable[Entry]) -> bool:
        """Whether this very chunk is held, at its own place or behind one that was later."""
        own = _id(start_ms)
        wanted = str(start_ms).encode()
        at_its_place = self.redis.xrange(keys.audio(call_sid), own, own)
        moved = [entry for entry in last if entry[1].get(WANTED) == wanted]
        return any(fields[MULAW] == mulaw for _, fields in [*at_its_place, *moved])

    def _add_after(self, call_sid: str, last: list[Entry], fields: dict[bytes, bytes], maximum: int) -> bool:
        """Add an entry after the last one; False if another one was quicker."""
        name, own = keys.audio(call_sid), _next_id(last)
        with self.redis.pipeline(transaction=False) as pipe:
            pipe.xadd(name, fields, id=own, maxlen=maximum, approximate=False)
            pipe.expire(name, keys.AUDIO_KEPT_S)
            added, _ = pipe.execute(raise_on_error=False)
        if not isinstance(added, ResponseError):
            return True
        if REFUSED not in str(added):
            raise added
        return any(entry == fields for _, entry in self.redis.xrange(name, own, own))

    def _around(self, call_sid: str, at_ms: int) -> bytes | None:
        """The id of the chunk that is being spoken at a moment."""
        before = self.redis.xrevrange(keys.audio(call_sid), f"{max(at_ms, 0)}-0", "-", count=1)
        return before[0][0] if before and _chunk(before[0]).end_ms > at_ms else None


def put(pipe: Any, call_sid: str, start_ms: int, mulaw: bytes) -> None:
    """One chunk into a pipeline of the bytes client, or a bundle, one command: ``settle`` wants its answer.

    The stream does not expire by itself: whoever writes one tells it to.
    """
    pipe.execute_command("XADD", keys.audio(call_sid), "MAXLEN", CHUNKS_KEPT, _id(start_ms), MULAW, mulaw)


def _id(start_ms: int) -> str:
    return f"{max(start_ms, 0)}-1"


def _next_id(last: list[Entry]) -> str:
    if not last:
        return _id(0)
    ms, _, count = last[0][0].partition(b"-")
    end_ms = _chunk(last[0]).end_ms
    return _id(end_ms) if end_ms > int(ms) else f"{int(ms)}-{int(count) + 1}"


def _chunk(entry: Entry) -> Chunk:
    return Chunk(int(entry[0].partition(b"-")[0]), entry[1][MULAW])


def _total(entry: Entry) -> int:
    return int(entry[1].get(TOTAL, b"0"))


def _cut(chunk: Chunk, from_ms: int, to_ms: int | None) -> Chunk:
    """The part of a chunk that lies between two moments."""
    skipped_ms = max(from_ms - chunk.start_ms, 0)
    end = None if to_ms is None else max(to_ms - chunk.start_ms, 0) * BYTES_PER_MS
    return Chunk(chunk.start_ms + skipped_ms, chunk.mulaw[skipped_ms * BYTES_PER_MS : end])

"""Live transcripts to this worker's readers: one subscription to Redis for all of them, fanned out in here.

A hint on the channel says which call has grown; what is new is read from the
call's list, from where each reader stands. Hints may be lost: once a second
all calls that somebody reads are looked at, and after Redis was away at once.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from redis.exceptions import RedisError

from flaskapp.phone.giving_way import give_way
from flaskapp.phone.outbox import Waiting
from flaskapp.store import keys
from flaskapp.store.feed_book import unpacked

log = logging.getLogger(__name__)

#: So much may wait for a reader, far less than his connection would drop anything at.
QUEUE_LINES = 256
QUEUE_BYTES = 256 << 10
FRAME_BYTES = 10
#: Who has more than that to come, and takes nothing at all of it for so long, is sent away. A slow peer's
#: system takes bytes by the heap, with seconds between.
STUCK_S = 5.0
LOOKS_EVERY_S = 1.0
BEHIND_EVERY_S = 0.05
#: Put together as one question to Redis, which takes a while by itself.
PLACES_AT_ONCE = 8
RESUBSCRIBES_AFTER_S = 0.5
#: A subscription that is asked for a sign of life, and gives none, is another one's turn.
ASKED_EVERY_S = 5.0
NORMAL, TRY_AGAIN = 1000, 1013


class Line(Protocol):
    """A reader's connection (``Wire``)."""

    @property
    def waiting(self) -> Waiting: ...
    def send(self, messages: Sequence[bytes], *, droppable: bool = False) -> None: ...
    def drop_queued(self) -> None: ...
    def close(self, code: int = 1000, reason: str = "") -> None: ...


@dataclass(eq=False)
class Reader:
    """One reader of one call.

    Attributes:
        number: of the last update that he was told.
        is_known: the call is one that we know of.
        is_over: he was told of the call's end; or nothing more is to be told him.
    """

    call_sid: str
    number: int
    line: Line
    is_known: bool = False
    is_over: bool = False
    is_behind: bool = field(default=False, init=False)

    def give(self, messages: Sequence[bytes], has_end: bool) -> None:
        """What follows on ``number``: as much of it as may wait for him; the rest another time."""
        waiting = self.line.waiting
        taken = messages[: _how_many(messages, waiting)]
        if taken:
            self.line.send(taken, droppable=True)  # forgotten only where he is sent away
            self.number += len(taken)
            self.is_known = True
        self.is_behind = len(taken) < len(messages)
        if has_end and not self.is_behind:
            self.is_over = True
        elif self.is_behind and waiting.stalled_s > STUCK_S:
            self.send_away()

    def send_away(self) -> None:
        """He does not read: what he has not taken he may fetch when he comes again, with ``after``."""
        log.warning("A reader of the transcript does not read", extra={"call_sid": self.call_sid})
        self.is_over, self.is_behind = True, False
        self.line.drop_queued()
        self.line.close(TRY_AGAIN, "too slow")


def _how_many(messages: Sequence[bytes], waiting: Waiting) -> int:
    """So many of these may wait as well; one at least where nothing does."""
    count, size = 0, waiting.size
    for message in messages[: max(QUEUE_LINES - waiting.messages, 0)]:
        size += len(message) + FRAME_BYTES
        if size > QUEUE_BYTES and (count or waiting.size):
            break
        count += 1
    return count


class Readers:
    """This worker's; threads (greenlets under gevent) are there while there is somebody.

    Args:
        redis: a text client.

    Attributes:
        is_away: Redis did not answer when it was last asked.
    """

    def __init__(self, redis: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis, self._clock = redis, clock
        self._readers: set[Reader] = set()
        self._guard = threading.Lock()
        self._wake = threading.Event()
        self._hinted: set[str] = set()
        self._threads: dict[str, threading.Thread] = {}
        self._looked_at = float("-inf")
        self.is_away = False

    def __len__(self) -> int:
        return len(self._readers)

    def add(self, reader: Reader) -> None:
        """Tell him what he misses, and what comes."""
        with self._guard:
            self._readers.add(reader)
            for name, work in (("feed-hints", self._listen), ("feed-readers", self._serve)):
                if name not in self._threads:
                    self._threads[name] = threading.Thread(
                        target=self._while_wanted, args=(name, work), name=name, daemon=True
                    )
                    self._threads[name].start()
        self._hint(reader.call_sid)

    def remove(self, reader: Reader) -> None:
        """He is gone."""
        with self._guard:
            self._readers.discard(reader)

    def _hint(self, *call_sids: str) -> None:
        self._hinted.update(call_sids)
        self._wake.set()

    def _while_wanted(self, name: str, work: Callable[[], None]) -> None:
        while True:
            try:
                work()
            except Exception as error:  # all readers depend on this thread
                log.error("The live transcript stumbled: %s: %s", type(error).__name__, error)
                time.sleep(RESUBSCRIBES_AFTER_S)
            with self._guard:
                if not self._readers:
                    del self._threads[name]
                    return

    # ------------------------------------------------------------------ the subscription

    def _listen(self) -> None:
        """Take hints as long as somebody wants them, and the connection lives."""
        try:
            with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
                channel.subscribe(keys.FEED)
                self._look()  # at what was said before we listened
                self._take_hints(channel)
        except RedisError:
            time.sleep(RESUBSCRIBES_AFTER_S)

    def _take_hints(self, channel: Any) -> None:
        asked_at = heard_at = self._clock()
        while self._readers:
            message = channel.get_message(timeout=LOOKS_EVERY_S)
            now = self._clock()
            if message is not None:
                heard_at = now
                if message["type"] == "message":
                    self._hint(message["data"])
            elif now - heard_at > 2 * ASKED_EVERY_S:
                log.warning("The subscription to live transcripts is dead: another one is made")
                return
            if now - asked_at > ASKED_EVERY_S:
                asked_at = now
                channel.ping()

    def _look(self) -> None:
        self._looked_at = float("-inf")
        self._wake.set()

    # ------------------------------------------------------------------ the readers

    def _serve(self) -> None:
        """Give each reader what is new for him, as long as there are readers."""
        while self._readers:
            behind = any(reader.is_behind for reader in tuple(self._readers))
            self._wake.wait(BEHIND_EVERY_S if behind else LOOKS_EVERY_S)
            self._wake.clear()
            try:
                self.round(self._clock())
            except RedisError as error:
                if not self.is_away:
                    log.warning("Redis is away, readers of transcripts wait: %s", type(error).__name__)
                self.is_away = True
                self._looked_at = float("-inf")
                time.sleep(RESUBSCRIBES_AFTER_S)
            else:
                self.is_away = False

    def round(self, now: float) -> None:
        """Read what is new of the calls that were hinted at; once a second of all that somebody reads.

        Raises:
            redis.exceptions.RedisError: Redis is away.
        """
        is_due = now - self._looked_at >= LOOKS_EVERY_S
        hinted, self._hinted = self._hinted, set()
        places: dict[tuple[str, int], list[Reader]] = {}
        for reader in tuple(self._readers):
            if not reader.is_over and (is_due or reader.is_behind or reader.call_sid in hinted):
                places.setdefault((reader.call_sid, reader.number), []).append(reader)
        if is_due:
            self._looked_at = now
        wanted = list(places)
        for at in range(0, len(wanted), PLACES_AT_ONCE):
            give_way()
            for found in self._found(wanted[at : at + PLACES_AT_ONCE]):
                self._give(found, places[found.call_sid, found.number])
                if len(found.raws) == QUEUE_LINES:
                    self._hint(found.call_sid)

    def _found(self, places: Sequence[tuple[str, int]]) -> list[Found]:
        """What follows on these places: each a call and a number."""
        with self._redis.pipeline(transaction=False) as pipe:
            for call_sid, number in places:
                pipe.lrange(keys.feed(call_sid), number, number + QUEUE_LINES - 1)
                pipe.lindex(keys.feed(call_sid), -1)
                pipe.llen(keys.feed(call_sid))  # behind it: nothing follows an end
                pipe.hexists(keys.call(call_sid), "began")
            answers = iter(pipe.execute())
        return [Found(*place, *(next(answers) for _ in range(4))) for place in places]

    def _give(self, found: Found, readers: list[Reader]) -> None:
        messages, has_end = found.messages(), found.has_end
        for reader in readers:
            give_way()
            reader.is_known = reader.is_known or bool(found.last or found.has_begun)
            reader.give(messages, has_end)
            if reader.is_over and not reader.line.waiting.messages:
                reader.line.close(NORMAL)


@dataclass(frozen=True)
class Found:
    """What Redis has of a call behind a number.

    Attributes:
        raws: some of it.
        last, length: the list's last element, and how many there were then or later.
        has_begun: the call is one of ours.
    """

    call_sid: str
    number: int
    raws: list[str]
    last: str | None
    length: int
    has_begun: bool

    @property
    def has_end(self) -> bool:
        """Whether nothing follows what was found; whoever names a number behind the end is told of that."""
        newest = self.raws[-1] if self.raws else self.last if self.number >= self.length else None
        return newest is not None and unpacked(newest).update is None

    def messages(self) -> list[bytes]:
        """As readers are told."""
        if not self.raws and self.last and self.has_end and self.number > self.length:
            return [message(self.call_sid, self.length, self.last)]
        return [message(self.call_sid, self.number + at, raw) for at, raw in enumerate(self.raws, start=1)]


def message(call_sid: str, sequence: int, raw: str) -> bytes:
    """An update as a reader is told of it."""
    line = unpacked(raw).update
    if line is None:
        told: dict[str, Any] = {"event": "call_ended", "transcript": "", "is_final": True}
    else:
        told = {"transcript": line.text, "is_final": line.is_final, "speaker": line.speaker}
    told = {"call_sid": call_sid, **told, "sequence": sequence}
    if line is not None:
        told["item"] = line.item
    return json.dumps(told, ensure_ascii=False).encode("utf-8", "replace")

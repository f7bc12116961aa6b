"""One call's transcript in Redis, as one process knows it: a list that others add to, and Redis may lose.

An update's number is its place in the list, so that whoever adds to it is
numbered by Redis. Each has a mark of its own: whoever gets no answer finds
out by it whether the update was taken. The marks are kept as long as the call
lasts; should Redis lose the list, it is written again with the same numbers.
"""

from __future__ import annotations

import itertools
import json
import logging
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from redis.exceptions import WatchError

from flaskapp.phone.transcript import AGENT
from flaskapp.store import keys
from flaskapp.store.feed_order import LineOrder, Update

log = logging.getLogger(__name__)

INPUTS_KEPT = 5_000
PENDING_KEPT = 2_000
NUMBER_BITS = 22
#: What the call's hash has of a call that began again after its end, and what says that it is over once more.
BEGAN_AGAIN = "began_again"
SAYS_IT_IS_OVER = ("forgotten", "is_over", "state", "needs_fallback")

Input = Callable[[LineOrder, float], list[Update]]


class Marks:
    """Numbers unlike all those that others give."""

    def __init__(self) -> None:
        self._base = secrets.randbits(40)
        self._numbers = itertools.count(1)

    def new(self) -> int:
        return (self._base << NUMBER_BITS) + next(self._numbers)

    def is_ours(self, mark: int) -> bool:
        return mark >> NUMBER_BITS == self._base


class Entry(NamedTuple):
    """One element of the list; ``update`` is None for the call's end."""

    mark: int
    update: Update | None

    def packed(self) -> str:
        """As it stands in Redis."""
        line = self.update
        if line is None:
            return json.dumps({"m": self.mark, "end": 1})
        told = {"m": self.mark, "i": line.item, "p": line.position, "s": line.speaker, "t": line.text}
        return json.dumps({**told, "f": int(line.is_final)}, ensure_ascii=False, separators=(",", ":"))


def unpacked(raw: str) -> Entry:
    """An element of the list."""
    told = json.loads(raw)
    if "end" in told:
        return Entry(told["m"], None)
    return Entry(told["m"], Update(told["i"], told["p"], told["s"], told["t"], bool(told["f"])))


class Book:
    """One call's.

    Attributes:
        inputs: what has happened, not yet put into order: nothing is before the list is known.
        pending: what has still to be written.
        is_sure: whether nobody can have written since we did, as far as we know.
        is_over: the call's end stands in the list.
        over_due: when the end is to be written; None: it is not.
        begins_again: an end that stands in the list has still to be taken back.
    """

    def __init__(self, call_sid: str, now: float) -> None:
        self.call_sid, self._own, self.touched_at = call_sid, Marks(), now
        self.order = LineOrder()
        self.inputs: deque[Input] = deque(maxlen=INPUTS_KEPT)
        self.pending: list[Entry] = []
        self.is_sure = self.is_over = self.begins_again = False
        self.over_due: float | None = None
        self.give_up_at = 0.0
        self.written: list[Callable[[], Any]] = []  # told once, when nothing waits any more
        self._sent: list[Entry] = []
        self._marks: list[int] = []  # the list, as far as it is known: marks, items, whether final
        self._items: list[tuple[str, bool]] = []
        self._lines: dict[str, Update] = {}

    @property
    def key(self) -> str:
        return keys.feed(self.call_sid)

    @property
    def is_written(self) -> bool:
        """Whether all that was told is in Redis, but for lines that wait for others."""
        return not (self.inputs or self.pending or self._sent or self.begins_again)

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do for this call."""
        return self.is_written and self.over_due is None and self.order.next_due() is None

    # ------------------------------------------------------------------ what is to be written

    def arrange(self, now: float) -> None:
        """Put what has happened into order."""
        while self.inputs:
            self._add(self.inputs.popleft()(self.order, now))
        self._add(self.order.late(now))

    def _add(self, updates: Iterable[Update]) -> None:
        """A line that grew while it waited is written as it stands; final ones are never joined."""
        for update in updates:
            if self.is_over:
                return
            at = next((at for at, each in enumerate(self.pending) if _is_partial_of(each, update.item)), None)
            if at is not None and not update.is_final:
                self.pending[at] = Entry(self._own.new(), update)
                continue
            if at is not None:
                del self.pending[at]
            self.pending.append(Entry(self._own.new(), update))
        if len(self.pending) > PENDING_KEPT:
            partial = [each for each in self.pending if each.update and not each.update.is_final]
            lost = partial[0] if partial else self.pending[0]
            self.pending.remove(lost)

    def send(self, pipe: Any) -> None:
        """Add all that waits to the list, in one command; two answers."""
        self._sent, self.pending = self.pending, []
        push = pipe.rpushx if self._marks else pipe.rpush  # a list that was lost must not begin anew
        push(self.key, *(entry.packed() for entry in self._sent))
        pipe.expire(self.key, keys.CALL_KEPT_S)
        self.is_sure = False  # until there is an answer

    def sent(self, answer: Any) -> None:
        """What Redis said to that: the list's length, if it took it."""
        if answer == len(self._marks) + len(self._sent):
            for entry in self._sent:
                self._know(entry)
            self._sent, self.is_sure = [], True

    # ------------------------------------------------------------------ what is written

    def ask(self, pipe: Any) -> None:
        """Read the list's first element, and all from the last one on that we know; two answers."""
        pipe.lindex(self.key, 0)
        pipe.lrange(self.key, max(len(self._marks) - 1, 0), -1)

    def learn(self, first: str | None, raws: Sequence[str]) -> bool:
        """What ``ask`` was answered: what others have added, and what of ours was taken.

        Returns:
            False: it is not the list that we know: Redis has lost that.
        """
        found = [unpacked(raw) for raw in raws]
        if self._marks:
            if first is None or unpacked(first).mark != self._marks[0]:
                return False
            if not found or found[0].mark != self._marks[-1]:
                return False
            found = found[1:]
        for entry in found:
            self._know(entry)
            if entry.update is not None and not self._own.is_ours(entry.mark):
                self.order.adopt(entry.update)
        missing = [entry for entry in self._sent if entry.mark not in {each.mark for each in found}]
        self._sent, others = [], {each.update.item for each in found if each.update and each.update.is_final}
        self.pending = [
            each for each in (*missing, *self.pending) if not each.update or each.update.item not in others
        ]
        self.is_sure = True
        if self.is_over:
            self.pending.clear()
        return True

    def restore(self, redis: Any) -> None:
        """Redis has lost the list, or a part of it: write it again, with the same numbers.

        Where somebody else has written another one by now, the longer one comes first, and both learn it.

        Raises:
            redis.exceptions.RedisError: Redis is away.
        """
        with redis.pipeline() as pipe:
            pipe.watch(self.key)
            found = [unpacked(raw) for raw in pipe.lrange(self.key, 0, -1)]
            marks = [entry.mark for entry in found]
            pipe.multi()
            known, there = self._known(), set(marks)
            if marks == self._marks[: len(marks)] or len(marks) >= len(known):
                missing = [entry for entry in known if entry.mark not in there]
            else:
                ours = set(self._marks)
                missing = [*known, *(entry for entry in found if entry.mark not in ours)]
                pipe.delete(self.key)
            if missing:
                pipe.rpush(self.key, *(entry.packed() for entry in missing))
            pipe.expire(self.key, keys.CALL_KEPT_S)
            pipe.publish(keys.FEED, self.call_sid)
            try:
                pipe.execute()
            except WatchError:
                return
        self._marks, self._items = [], []  # it is read from the beginning
        log.warning("Redis had lost a live transcript: it is restored", extra={"call_sid": self.call_sid})

    def end(self, redis: Any) -> None:
        """Write the call's end, unless it stands there already, or the call is forgotten, or goes on again.

        Raises:
            redis.exceptions.RedisError: Redis is away.
        """
        with redis.pipeline() as pipe:
            pipe.watch(self.key)
            last = pipe.lindex(self.key, -1)
            is_there = unpacked(last).update is None if last else not pipe.exists(keys.call(self.call_sid))
            if not is_there and self._goes_on(pipe):
                self.over_due = None
                return
            if not is_there:
                pipe.multi()
                pipe.rpush(self.key, Entry(self._own.new(), None).packed())
                pipe.expire(self.key, keys.CLOSED_KEPT_S)
                pipe.publish(keys.FEED, self.call_sid)
                try:
                    pipe.execute()
                except WatchError:
                    return
        self.is_over, self.over_due = True, None

    def _goes_on(self, redis: Any) -> bool:
        """Whether this end is of before, and said late: the call has begun again, and is not over."""
        began_again, forgotten, is_over, state, needs_fallback = redis.hmget(
            keys.call(self.call_sid), BEGAN_AGAIN, *SAYS_IT_IS_OVER
        )
        has_ended = state == "ended" and needs_fallback != "1"
        return bool(began_again) and not (forgotten or is_over or has_ended)

    # ------------------------------------------------------------------ a call that begins again

    def begin_again(self) -> None:
        """The call's end, in the list or still to be written, is none."""
        if self.is_over and self._items and not self._items[-1][0]:
            self._marks.pop()
            self._items.pop()
        self.is_over = self.is_sure = False
        self.begins_again, self.over_due = True, None

    def take_back_end(self, redis: Any) -> None:
        """Let the list go on behind its end.

        The end becomes a line that never was, with the end's number: whoever was told
        of it may come back and name it as the last that he has.

        Raises:
            redis.exceptions.RedisError: Redis is away.
        """
        with redis.pipeline() as pipe:
            pipe.watch(self.key)
            last, is_known = pipe.lindex(self.key, -1), pipe.exists(keys.call(self.call_sid))
            pipe.multi()
            if last and (end := unpacked(last)).update is None:
                nothing = Update(f"end-{end.mark:x}", 0, AGENT, "", True)
                pipe.lset(self.key, -1, Entry(end.mark, nothing).packed())
            pipe.expire(self.key, keys.CALL_KEPT_S)
            if is_known:
                pipe.hset(keys.call(self.call_sid), BEGAN_AGAIN, "1")
                pipe.expire(keys.call(self.call_sid), keys.CALL_KEPT_S)
            try:
                pipe.execute()
            except WatchError:
                return
        self.begins_again = False

    def _know(self, entry: Entry) -> None:
        self._marks.append(entry.mark)
        line = entry.update
        self._items.append((line.item, line.is_final) if line else ("", True))
        if line is None:
            self.is_over = True
        else:
            self._lines[line.item] = line

    def _known(self) -> list[Entry]:
        """The list again; of a line that grew, each step as the line stands by now."""
        return [
            Entry(mark, self._lines[item]._replace(is_final=is_final) if item else None)
            for mark, (item, is_final) in zip(self._marks, self._items, strict=True)
        ]


def _is_partial_of(entry: Entry, item: str) -> bool:
    return entry.update is not None and entry.update.item == item and not entry.update.is_final

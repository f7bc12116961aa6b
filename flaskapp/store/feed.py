"""The live transcript on its way to whoever reads along, through Redis: from any worker to any worker.

Whoever tells returns at once. One thread for each process (a greenlet under
gevent) writes what was told at once, many calls in one pipeline, and says on a
channel which calls have grown. While Redis is away it keeps what it has, and
looks once a second whether Redis still has what it was given.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from redis.exceptions import RedisError

from flaskapp.phone.giving_way import give_way
from flaskapp.store import keys
from flaskapp.store.feed_book import Book, Input

log = logging.getLogger(__name__)

LOOKS_EVERY_S = 1.0
RETRY_AFTER_S = 0.5
#: Lines that only grow are written so often; final ones, and the first words after a pause, at once.
GROWS_EVERY_S = 0.05
#: What other workers still have to write of the call is written by then.
ELSEWHERE_S = 1.0
UNDERSTOOD_WITHIN_S = 20.0
TURNS_EVERY_S = 0.5
#: A list that Redis loses is written again at once while people speak; else with the next words.
RESTORED_AT_ONCE_S = 5.0
#: Less than a list is kept of a call that is over: it must not be restored.
IDLE_S = 300.0
TOLD_KEPT = 50_000
BOOKS_KEPT = 2_000
#: Put together as one question to Redis, which takes a while by itself.
BOOKS_AT_ONCE = 16


class Feed:
    """The writing side, one per process; but for those that say so, nothing here waits.

    Args:
        redis: a text client; None: nobody reads along.
    """

    def __init__(self, redis: Any = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis, self._clock = redis, clock
        self._told: deque[tuple[str, Callable[[Book, float], None]]] = deque(maxlen=TOLD_KEPT)
        self._books: dict[str, Book] = {}
        self._guard = threading.Lock()
        self._wake = threading.Event()
        self._writer: threading.Thread | None = None
        self._is_away = False
        self._looked_at = self._grew_at = 0.0

    # ------------------------------------------------------------------ what is told

    def placed(self, call_sid: str, item: str, position: int, speaker: str, is_over: bool = False) -> None:
        """Somebody begins to speak: his line has its place, and no words yet; ``is_over``: it gets none."""
        self._tell(call_sid, lambda order, now: order.placed(item, position, speaker, is_over))

    def line(
        self, call_sid: str, item: str, position: int, speaker: str, transcript: str, is_final: bool
    ) -> None:
        """A line as it stands: the whole of it so far."""
        self._tell(
            call_sid, lambda order, now: order.line(item, position, speaker, transcript, is_final, now)
        )

    def withdrawn(self, call_sid: str, kept: Collection[str]) -> None:
        """A leg broke off: of its open lines nobody knows more, but for these items."""
        self._tell(call_sid, lambda order, now: order.withdrawn(kept))

    def over(self, call_sid: str) -> None:
        """The call is over for good: the last that is told of it. Possibly said more than once.

        Words that are still being understood are waited for, twenty seconds at most.
        """
        self._do(call_sid, _over)

    def begins_again(self, call_sid: str) -> None:
        """A call that was said to be over goes on, as its hash has it by now: its end is none.

        What is told next has the numbers after the end's; readers who were told of the end have left.
        An end that somebody says late, of before, is not written.
        """
        self._do(call_sid, lambda book, now: book.begin_again())

    def written(self, call_sid: str, within_s: float) -> bool:
        """Wait until what was told of a call is in Redis, as far as its order allows; whether it is."""
        return self._settled([call_sid], within_s, is_last=False)

    def settle(self, within_s: float) -> bool:
        """This process ends: wait until all it was told is in Redis; whether it is in time."""
        return self._settled(
            [*{sid for sid, _ in tuple(self._told)} | set(self._books)], within_s, is_last=True
        )

    def _settled(self, call_sids: list[str], within_s: float, is_last: bool) -> bool:
        if self._redis is None:
            return True
        give_up_at, waited_for = time.monotonic() + within_s, []
        for call_sid in call_sids:
            waited_for.append(done := threading.Event())
            self._do(call_sid, lambda book, now, done=done: _announce(book, now, done, is_last))  # type: ignore[misc]
        return all([done.wait(max(give_up_at - time.monotonic(), 0.0)) for done in waited_for])

    def _tell(self, call_sid: str, happened: Input) -> None:
        self._do(call_sid, lambda book, now: book.inputs.append(happened))

    def _do(self, call_sid: str, what: Callable[[Book, float], None]) -> None:
        if self._redis is None:
            return
        self._told.append((call_sid, what))
        self._wake.set()
        with self._guard:
            if self._writer is None:
                self._writer = threading.Thread(target=self._write_for_ever, name="feed", daemon=True)
                self._writer.start()

    # ------------------------------------------------------------------ the writer

    def _write_for_ever(self) -> None:
        pause_s = 0.0
        while True:
            self._wake.wait(pause_s)
            self._wake.clear()
            try:
                pause_s = self.round(self._clock())
            except Exception as error:  # the other calls' words depend on this thread
                log.error("The live transcript stumbled: %s: %s", type(error).__name__, error)
                time.sleep(RETRY_AFTER_S)
            with self._guard:
                if not self._told and not self._books:
                    self._writer = None
                    return

    def round(self, now: float) -> float:
        """Write what is to be written now: so long until there may be more (seconds)."""
        while self._told:
            call_sid, what = self._told.popleft()
            book = self._books.get(call_sid) or self._opened(call_sid, now)
            book.touched_at = now
            what(book, now)
        try:
            self._take_back_ends()
            self._learn(now)
            for book in self._books.values():
                give_way()
                if book.is_sure:
                    book.arrange(now)
            pause_s = self._write(now)
            self._end(now)
        except RedisError as error:
            if not self._is_away:
                log.warning("Redis is away, the live transcript waits in memory: %s", type(error).__name__)
            self._is_away = True
            self._put_away(now)
            time.sleep(RETRY_AFTER_S)
            return 0.0
        self._is_away = False
        self._put_away(now)
        return min([pause_s, *(max(due - now, 0.0) for due in self._dues())])

    def _opened(self, call_sid: str, now: float) -> Book:
        if len(self._books) >= BOOKS_KEPT:
            self._books.pop(min(self._books.values(), key=lambda book: book.touched_at).call_sid)
        book = self._books[call_sid] = Book(call_sid, now)
        return book

    def _take_back_ends(self) -> None:
        for book in self._books.values():
            if book.begins_again:
                book.take_back_end(self._redis)
                self._wake.set()  # should somebody have been quicker

    def _learn(self, now: float) -> None:
        """Read what others have written, where we are not sure; of all calls once a second."""
        is_due = now - self._looked_at >= LOOKS_EVERY_S
        books = [book for book in self._books.values() if not book.begins_again]
        asked = [book for book in books if is_due or not (book.is_sure or book.is_idle)]
        if is_due:
            self._looked_at = now
        for some in _lots(asked):
            self._ask(some, now)

    def _ask(self, books: Sequence[Book], now: float) -> None:
        with self._redis.pipeline(transaction=False) as pipe:
            for book in books:
                book.ask(pipe)
            answers = pipe.execute()
        for book, first, raws in zip(books, answers[::2], answers[1::2], strict=True):
            if book.learn(first, raws):
                continue
            book.is_sure = False
            if not book.is_idle or now - book.touched_at < RESTORED_AT_ONCE_S:
                book.restore(self._redis)
                self._wake.set()  # to learn what the list is now

    def _write(self, now: float) -> float:
        """All that waits: so long until lines that only grow are written."""
        waiting = [book for book in self._books.values() if book.pending and book.is_sure]
        if not waiting:
            return LOOKS_EVERY_S
        rest_s = self._grew_at + GROWS_EVERY_S - now
        if rest_s > 0 and not any(_is_urgent(book) for book in waiting):
            return rest_s
        self._grew_at = now
        answers = [answer for some in _lots(waiting) for answer in self._send(some)]
        failed = next((each for each in answers if isinstance(each, Exception)), None)
        if failed is not None:
            raise failed
        return 0.0 if not all(book.is_sure for book in waiting) else LOOKS_EVERY_S

    def _send(self, books: Sequence[Book]) -> list[Any]:
        """What waits of these calls, in one go: what Redis said to each thing."""
        with self._redis.pipeline(transaction=False) as pipe:
            for book in books:
                book.send(pipe)
            for book in books:
                pipe.publish(keys.FEED, book.call_sid)
            answers: list[Any] = pipe.execute(raise_on_error=False)
        for book, answer in zip(books, answers[::2], strict=False):
            book.sent(answer)
        return answers

    def _end(self, now: float) -> None:
        """Calls that are over, once all their words are written."""
        for book in tuple(self._books.values()):
            is_due = book.over_due is not None and book.over_due <= now
            if not is_due or book.inputs or not book.is_sure:
                continue
            if now < book.give_up_at and keys.has_open_turns(self._redis, book.call_sid):
                book.over_due = now + TURNS_EVERY_S
                continue
            book.inputs.append(lambda order, now: order.flush())
            book.arrange(now)
            if book.pending:
                self._wake.set()  # they are written first
            else:
                book.end(self._redis)

    def _put_away(self, now: float) -> None:
        for book in tuple(self._books.values()):
            if book.is_written or book.is_over:
                while book.written:
                    book.written.pop()()
            if book.is_over or (book.is_idle and now - book.touched_at > IDLE_S):
                del self._books[book.call_sid]

    def _dues(self) -> list[float]:
        every = tuple(self._books.values())
        dues = [book.over_due for book in every if book.over_due is not None]
        return dues + [due for book in every if (due := book.order.next_due()) is not None]


def _lots(books: Sequence[Book]) -> Iterator[Sequence[Book]]:
    """So many together; between them frames pass."""
    for at in range(0, len(books), BOOKS_AT_ONCE):
        give_way()
        yield books[at : at + BOOKS_AT_ONCE]


def _over(book: Book, now: float) -> None:
    if book.over_due is None:
        is_ours = book.is_sure or bool(book.inputs)
        book.over_due = now if is_ours else now + ELSEWHERE_S
        book.give_up_at = now + UNDERSTOOD_WITHIN_S


def _announce(book: Book, now: float, done: threading.Event, is_last: bool) -> None:
    if is_last:
        book.inputs.append(lambda order, now: order.release())
        book.over_due = None if book.over_due is None else now
    book.written.append(done.set)


def _is_urgent(book: Book) -> bool:
    """Whether something waits that is not only a step of a line that grows."""
    return any(each.update is None or each.update.is_final or not each.update.text for each in book.pending)

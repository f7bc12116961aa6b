"""What the legs of a call said to each other, but for the audio: in Redis first, then in the history.

Whoever tells returns at once. A thread (a greenlet under gevent) reads what was
told every half second, takes out secrets, shortens what is long, and adds it to
a list in Redis. When the call is over, the background worker moves the list
into one compressed row. Words that grow by the syllable are counted, not kept:
the message that ends them has them all.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from redis.exceptions import RedisError

from flaskapp.phone.digits import masked
from flaskapp.phone.giving_way import give_way
from flaskapp.store import keys
from flaskapp.store.aside import aside
from flaskapp.store.history import History, TraceKept
from flaskapp.store.rounds import Rounds

log = logging.getLogger(__name__)

EVERY_S = 0.5
WAITING = 20_000  # messages, of all calls, while Redis is away
#: As many are one question to Redis.
AT_ONCE = 20
ROWS_KEPT = 5000  # of one call: its latest
CALLS_COUNTED = 2000
LONGEST = 600  # characters of one text
MOST_PARTS, DEEPEST = 60, 8
DELTA = ".delta"
HIDDEN, ELIDED = "<redacted>", "<audio>"
SOUNDS = {"audio", "payload"}
WORDS = {"transcript", "text", "arguments", "output"}
SECRETS = {"ticket", "token", "password", "secret", "authorization", "api_key", "api-key", "key"}
UNREADABLE = "(unreadable)"

Message = tuple[str, int, str, bool, bytes]
Redact = Callable[[str], str]


class Traces:
    """All calls'.

    Args:
        redis: a text client.
        redact: takes secrets out of any text.
        hides_digits: what callers press is not kept.
    """

    def __init__(
        self,
        redis: Any,
        history: History,
        redact: Redact = lambda text: text,
        hides_digits: bool = False,
    ) -> None:
        self._redis, self._history = redis, history
        self._redact, self._hides_digits = redact, hides_digits
        self._waiting: deque[Message] = deque(maxlen=WAITING)
        self._lost = 0  # too many waited: the oldest went
        self._deltas: dict[tuple[str, str], int] = {}
        self._rounds = Rounds("what legs said", self._write, lambda: bool(self._waiting), EVERY_S)

    def note(self, call_sid: str, at_ms: int, leg: str, is_out: bool, message: bytes) -> None:
        """A message of the "carrier" or the "engine", or one of ours to it (``is_out``)."""
        self._lost += len(self._waiting) == WAITING
        self._waiting.append((call_sid, at_ms, leg, is_out, message))
        self._rounds.wake()

    def settle(self, within_s: float) -> bool:
        """Wait until everything told so far is in Redis; whether it was in time."""
        return self._rounds.settle(within_s)

    def _write(self) -> None:
        while self._waiting:
            self._write_some()
        if self._lost:
            log.warning("Of what legs said %d messages were not kept: too many waited", self._lost)
            self._lost = 0

    def _write_some(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), AT_ONCE))]
        rows: dict[str, list[str]] = {}
        for message in batch:
            if row := self._row(message):
                rows.setdefault(message[0], []).append(json.dumps(row, ensure_ascii=False))
                give_way()
        give_way()
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                for call_sid, told in rows.items():
                    pipe.rpush(keys.trace(call_sid), *told)
                    pipe.ltrim(keys.trace(call_sid), -ROWS_KEPT, -1)
                    pipe.expire(keys.trace(call_sid), keys.CALL_KEPT_S)
                pipe.execute()
        except RedisError:
            self._waiting.extendleft(reversed(batch))
            raise

    def _row(self, message: Message) -> dict[str, Any] | None:
        """As it is kept; None for a piece of something that comes as a whole."""
        call_sid, at_ms, leg, is_out, text = message
        try:
            said = msgspec.json.decode(text)
        except (ValueError, RecursionError):  # no JSON, no UTF-8, a tower of brackets
            said = None
        detail = dict(said) if isinstance(said, dict) else {}
        kind = str(detail.pop("type", "") or detail.pop("event", "") or UNREADABLE)[:80]
        mark = (call_sid, kind.rpartition(".")[0])
        if kind.endswith(DELTA):
            self._count(mark)
            return None
        if pieces := self._deltas.pop(mark, 0):
            detail["deltas"] = pieces
        kept = self._clean(detail)
        if kind == "dtmf" and self._hides_digits:
            kept = {"dtmf": HIDDEN}
        return {"at_ms": at_ms, "leg": leg, "out": is_out, "kind": kind, "detail": kept}

    def _count(self, mark: tuple[str, str]) -> None:
        if len(self._deltas) >= CALLS_COUNTED and mark not in self._deltas:
            self._deltas.pop(next(iter(self._deltas)))
        self._deltas[mark] = self._deltas.get(mark, 0) + 1

    def _clean(self, value: Any, depth: int = 0) -> Any:
        if isinstance(value, str):
            text = self._redact(value)
            return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters)"
        if isinstance(value, list | dict) and depth >= DEEPEST:
            return "…"
        if isinstance(value, list):
            return [self._clean(each, depth + 1) for each in value[:MOST_PARTS]]
        if isinstance(value, dict):
            some = list(value.items())[:MOST_PARTS]
            return {name: self._part(name, each, depth + 1) for name, each in some}
        return value

    def _part(self, name: str, value: Any, depth: int) -> Any:
        if name in SOUNDS and isinstance(value, str):
            return ELIDED
        if name in WORDS and self._hides_digits and isinstance(value, str):
            value = masked(value)  # one word of it may look like a name: "four-one-one-one"
        return HIDDEN if name.lower() in SECRETS and value else self._clean(value, depth)

    # ------------------------------------------------------------------ afterwards

    def keep(self, call_sid: str) -> None:
        """The call is over: what Redis has of it goes to the history; said twice, it is there once.

        A Redis that is away keeps it for a day; nothing else waits for that.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database is away.
        """
        try:
            self._move(call_sid)
        except RedisError as error:
            told = {"call_sid": call_sid}
            log.warning("What legs said stays in Redis: %s", type(error).__name__, extra=told)

    def _move(self, call_sid: str) -> None:
        told = self._redis.lrange(keys.trace(call_sid), 0, -1)
        if not told:
            return
        known = _unpacked(self._history.trace(call_sid))
        together = list(dict.fromkeys([*known, *told]))[-ROWS_KEPT:]
        body = aside(zlib.compress, "\n".join(together).encode("utf-8", "replace"))
        self._history.write([TraceKept(call_sid, body)])
        self._redis.ltrim(keys.trace(call_sid), len(told), -1)

    def read(self, call_sid: str, after: int = 0, most: int = ROWS_KEPT) -> list[Mapping[str, Any]]:
        """What is kept of a call, in order: ``at_ms``, ``leg``, ``out``, ``kind``, ``detail``.

        Args:
            after: so many of them are left out.

        Raises:
            redis.exceptions.RedisError, sqlalchemy.exc.SQLAlchemyError: one of them is away.
        """
        told = self._redis.lrange(keys.trace(call_sid), 0, -1)
        known = _unpacked(self._history.trace(call_sid))
        return _page(list(dict.fromkeys([*known, *told])), after, most)

    def read_kept(self, call_sid: str, after: int = 0, most: int = ROWS_KEPT) -> list[Mapping[str, Any]]:
        """The same without what is still in Redis.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database is away.
        """
        return _page(_unpacked(self._history.trace(call_sid)), after, most)


def _page(rows: list[str], after: int, most: int) -> list[Mapping[str, Any]]:
    """Only what is asked for is taken apart: all of it would hold up the calls."""
    return [json.loads(each) for each in rows[after : after + most]]


def _unpacked(body: bytes | None) -> list[str]:
    return zlib.decompress(body).decode().split("\n") if body else []

"""Readers of a transcript on connections that take what they are told to take, and what they read of."""

from __future__ import annotations

import secrets
from typing import ClassVar

from flaskapp.phone.feed import Readers
from flaskapp.phone.outbox import Waiting
from flaskapp.store.feed import Feed
from flaskapp.store.live import LiveStore, connect
from flaskapp.tickets import Tickets


class Line:
    """A connection that takes what it is told to take."""

    def __init__(self) -> None:
        self.queued: list[bytes] = []
        self.takes = True
        self.stalled_s = 0.0
        self.sent: list[bytes] = []
        self.codes: list[int] = []

    @property
    def waiting(self) -> Waiting:
        return Waiting(len(self.queued), sum(len(each) + 10 for each in self.queued), self.stalled_s)

    def send(self, messages, *, droppable=False) -> None:
        self.sent += messages
        self.queued += [] if self.takes else messages

    def drop_queued(self) -> None:
        self.queued.clear()

    def close(self, code=1000, reason="") -> None:
        self.codes.append(code)


class House:
    """A Redis, whoever writes to it, and whoever reads."""

    all: ClassVar[list[House]] = []

    def __init__(self, redis_url: str = "") -> None:
        self.all.append(self)
        self.connections = connect(redis_url)
        self.redis = self.connections.text
        self.sid = f"CA{secrets.token_hex(6)}"
        self.feed, self.readers = Feed(self.redis), Readers(self.redis)
        self.tickets = Tickets("secret", LiveStore(self.connections))

    def say(self, first: int, last: int) -> None:
        for number in range(first, last + 1):
            self.feed.line(self.sid, f"i{number}", number, "agent", f"line {number}", True)
        assert self.feed.written(self.sid, 30)

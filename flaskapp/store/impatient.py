"""Connections to a Redis that may hang: who finds it silent tells the others, and they do not wait in turn.

A webhook asks Redis several things, one after another. Were each waited for, a
Redis that hangs would cost the caller the sum of it.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from typing import Any

from redis.backoff import NoBackoff
from redis.connection import Connection, ConnectionPool, parse_url
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import MaxConnectionsError
from redis.exceptions import TimeoutError as NoAnswer
from redis.retry import Retry

from flaskapp.phone.giving_way import give_way

AWAY_FOR_S = 1.0
#: Connections that nobody uses are kept for the next burst, so many for good and all others for so long.
KEPT = 32
KEPT_FOR_S = 10.0
#: A connection is had by others this long at the most, unless Redis hangs: then they give it back earlier.
WAITS_S = 10.0
AT_ONCE = 8  # more would hold up calls
#: redis-py gives us a pipeline in pieces of some kB, and would write each of them by itself.
JOINED = 64


class Silence:
    """Until when one Redis counts as away, for all connections of this process to it."""

    def __init__(self) -> None:
        self._until = 0.0

    def noticed(self) -> None:
        """It did not answer in time."""
        self._until = time.monotonic() + AWAY_FOR_S

    def check(self) -> None:
        """Raises:
        redis.exceptions.ConnectionError: it was found silent a moment ago.
        """
        if time.monotonic() < self._until:
            raise NoConnection("Redis did not answer a moment ago")


class Impatient:
    """What is added to redis-py's connections; ``silence`` is set by ``impatient``."""

    silence: Silence
    _sock: Any
    _parser: Any

    def connect_check_health(self, *arguments: Any, **options: Any) -> None:
        """Connect, unless it was found silent."""
        self.silence.check()
        try:
            super().connect_check_health(*arguments, **options)  # type: ignore[misc]
        except NoAnswer:
            self.silence.noticed()
            raise

    def can_read(self, timeout: float = 0) -> bool:
        """Whether something waits, or the connection is closed: asked for each command, before it is sent.

        Under gevent redis-py's way, with a selector, costs as much as the rest of a short question.
        """
        plain = getattr(self._sock, "_sock", None)  # gevent's, which never waits
        if timeout or plain is None or isinstance(self._sock, ssl.SSLSocket):
            return bool(super().can_read(timeout))  # type: ignore[misc]
        try:
            plain.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return bool(self._parser._reader.has_data())
        except OSError:
            pass  # redis-py says what that means
        return bool(super().can_read(timeout))  # type: ignore[misc]

    def send_packed_command(self, command: Any, *arguments: Any, **options: Any) -> None:
        """Ask, unless it was found silent; a pipeline in one write, where it is not too long for that."""
        self.silence.check()
        if isinstance(command, list) and 1 < len(command) <= JOINED:
            command = [b"".join(command)]
        try:
            super().send_packed_command(command, *arguments, **options)  # type: ignore[misc]
        except NoAnswer:
            self.silence.noticed()
            raise

    def read_response(self, *arguments: Any, **options: Any) -> Any:
        """The answer, waited for."""
        try:
            return super().read_response(*arguments, **options)  # type: ignore[misc]
        except NoAnswer:
            self.silence.noticed()
            raise


class ShrinkingPool(ConnectionPool):
    """In a burst of calls who comes late waits for a connection; those that it leaves are given back.

    redis-py's own refuses whoever comes when all are in use, and to us a refusal says that Redis is away.
    A connection takes memory here, and a client's place there. Who was used last is asked first, so the
    others grow old; whoever brings one back looks after the oldest.
    """

    kept_for_s = KEPT_FOR_S
    waits_s = WAITS_S

    def reset(self) -> None:
        """Nothing is connected, nobody waits: at first, and in a process that was forked."""
        self._room, self._waiting = threading.Condition(), 0
        super().reset()

    def get_connection(self, *arguments: Any, **options: Any) -> Any:
        """One that is connected.

        Raises:
            redis.exceptions.ConnectionError: it cannot be connected, or others had all of them for too long.
        """
        self._checkpid()
        give_up_at = time.monotonic() + self.waits_s
        while True:
            if self._waiting or self._is_full():
                self._wait(give_up_at)
            try:
                return super().get_connection(*arguments, **options)
            except MaxConnectionsError:  # another thread was quicker
                if time.monotonic() >= give_up_at:
                    raise

    def _is_full(self) -> bool:
        return len(self._in_use_connections) >= self.max_connections

    def _wait(self, give_up_at: float) -> None:
        with self._room:
            self._waiting += 1
            try:
                patience_s = max(give_up_at - time.monotonic(), 0.0)
                has_room = self._room.wait_for(lambda: not self._is_full(), patience_s)
            except BaseException:  # he is sent away, perhaps when it was his turn
                self._room.notify()
                raise
            finally:
                self._waiting -= 1
        if not has_room:
            raise NoConnection(f"{self.max_connections} questions wait for Redis' answers")

    def release(self, connection: Any) -> None:
        """Nobody uses it any more: whoever had it goes on with the answer when frames have passed."""
        connection.idle_since = now = time.monotonic()
        super().release(connection)
        if self._waiting:
            with self._room:
                self._room.notify()
        for _ in range(AT_ONCE):
            if (old := self._oldest(now - self.kept_for_s)) is None:
                break
            old.disconnect()
        give_way()

    def _oldest(self, before: float) -> Any:
        with self._lock:
            idle = self._available_connections
            if len(idle) <= KEPT or getattr(idle[0], "idle_since", before) >= before:
                return None
            self._created_connections -= 1
            return idle.pop(0)


def impatient(redis_url: str, silence: Silence, **options: Any) -> ShrinkingPool:
    """The connections that this URL takes (TCP, TLS, a socket file), which share what they know of it.

    Args:
        options: redis-py's own.
    """
    usual = parse_url(redis_url).get("connection_class", Connection)
    kind = type("ImpatientConnection", (Impatient, usual), {"silence": silence})
    once_more = Retry(NoBackoff(), 1)
    return ShrinkingPool.from_url(redis_url, connection_class=kind, retry=once_more, **options)

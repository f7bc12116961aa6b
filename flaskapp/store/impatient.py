"""Connections to a Redis that may hang: who finds it silent tells the others, and they do not wait in turn.

A webhook asks Redis several things, one after another. Were each waited for, a
Redis that hangs would cost the caller the sum of it.
"""

from __future__ import annotations

import time
from typing import Any

from redis.connection import Connection, parse_url
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import TimeoutError as NoAnswer

AWAY_FOR_S = 1.0
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

    def connect_check_health(self, *arguments: Any, **options: Any) -> None:
        """Connect, unless it was found silent."""
        self.silence.check()
        try:
            super().connect_check_health(*arguments, **options)  # type: ignore[misc]
        except NoAnswer:
            self.silence.noticed()
            raise

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


def impatient(redis_url: str, silence: Silence) -> type:
    """The connections that this URL takes (TCP, TLS, a socket file), which share what they know of it."""
    usual = parse_url(redis_url).get("connection_class", Connection)
    return type("ImpatientConnection", (Impatient, usual), {"silence": silence})

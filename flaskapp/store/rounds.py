"""Work that is done in rounds, beside whoever asks for it, as long as there is any."""

from __future__ import annotations

import _thread
import logging
import threading
import time
from collections.abc import Callable

from redis.exceptions import RedisError

from flaskapp.phone.waiting import native_lock
from flaskapp.store.database import in_short

log = logging.getLogger(__name__)

RETRY_AFTER_S = 1.0


class Rounds:
    """A thread (a greenlet under gevent) that begins when it is woken, and ends when nothing waits.

    An event loop's callback may wake it: nothing in that waits, for a lock neither.

    Args:
        work: one round; what it leaves undone is done in the next. May raise RedisError: Redis is away.
        waits: whether there is anything to do.
    """

    def __init__(
        self, name: str, work: Callable[[], None], waits: Callable[[], bool], every_s: float
    ) -> None:
        self._name, self._work, self._waits, self._every_s = name, work, waits, every_s
        self._guard = native_lock()
        self._is_running = False
        self._done = threading.Event()
        self._done.set()

    def wake(self) -> None:
        """Something waits; returns at once."""
        with self._guard:
            if not self._is_running:
                self._is_running = True
                self._done.clear()
                _thread.start_new_thread(self._run, ())  # unlike Thread.start it does not wait

    def settle(self, within_s: float) -> bool:
        """Wait until nothing waits any more; whether it was in time."""
        return self._done.wait(within_s)

    def _run(self) -> None:
        while True:
            time.sleep(self._every_s)
            try:
                self._work()
            except RedisError as error:
                log.warning("Redis is away, %s waits: %s", self._name, type(error).__name__)
                time.sleep(RETRY_AFTER_S)
            except Exception as error:  # whatever is told later depends on this thread
                log.error("%s stumbled: %s", self._name.capitalize(), in_short(error))
            with self._guard:
                if not self._waits():
                    self._is_running = False
                    self._done.set()
                    return

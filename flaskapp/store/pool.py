"""A few threads of this process (greenlets under gevent) that do jobs when nobody else does."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from flaskapp.phone.giving_way import give_way

log = logging.getLogger(__name__)

AT_ONCE = 8
WAITING = 1000


class Pool:
    """Does jobs in their order, so many at once; its threads come and go with the work.

    Nobody waits for it at the process's end: whoever needs a job done submits
    it again.
    """

    def __init__(self, at_once: int = AT_ONCE, waiting: int = WAITING) -> None:
        self._at_once, self._most = at_once, waiting
        self._waiting: deque[tuple[str, Callable[[], None]]] = deque()
        self._known: set[str] = set()
        self._threads = 0
        self._guard = threading.Lock()

    def submit(self, job_id: str, work: Callable[[], None]) -> bool:
        """Have work done soon; False if the same job waits or runs already, or too many wait."""
        with self._guard:
            if job_id in self._known:
                return False
            if len(self._waiting) >= self._most:
                log.error("More than %d jobs wait in this process: one is left for later", self._most)
                return False
            self._known.add(job_id)
            self._waiting.append((job_id, work))
            if self._threads < self._at_once:
                self._threads += 1
                threading.Thread(target=self._work, name="pool", daemon=True).start()
            return True

    def _work(self) -> None:
        while True:
            with self._guard:
                if not self._waiting:
                    self._threads -= 1
                    return
                job_id, work = self._waiting.popleft()
            try:
                give_way()
                work()
            finally:
                with self._guard:
                    self._known.discard(job_id)

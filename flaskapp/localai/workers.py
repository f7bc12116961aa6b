"""Worker processes: heavy work away from the process with the sockets, which it would stall."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import ParamSpec, TypeVar

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class WorkerLost(RuntimeError):
    """A worker process died over its work; the next work finds a new one."""


class Workers:
    """A few processes that load what they need once and then wait for work.

    They are spawned, not forked: a forked copy of a process with sockets and
    an event loop would hold both. They end with their parent, however it ends.
    """

    def __init__(self, name: str, count: int, warm_up: Callable[[], None]) -> None:
        self.name = name
        self._count = count
        self._warm_up = warm_up
        self._pool = self._start()

    async def ready(self) -> None:
        """Wait until every process is warm.

        Raises:
            WorkerLost: one could not start.
        """
        await asyncio.gather(*(self.run(_is_warm) for _ in range(self._count)))

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do ``work`` (a function of a module, with picklable arguments) in some process.

        Raises:
            WorkerLost: the process died.
        """
        pool = self._pool
        try:
            future: Future[T] = pool.submit(work, *args, **kwargs)
            return await asyncio.wrap_future(future)
        except BrokenProcessPool as error:
            if pool is self._pool:  # the first to notice replaces it
                log.error("a worker for %s died; starting others", self.name)
                pool.shutdown(wait=False)
                self._pool = self._start()
            raise WorkerLost(f"the {self.name} stopped working") from error

    def close(self) -> None:
        """Stop the processes without waiting for unfinished work."""
        processes = list((self._pool._processes or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(2)

    def _start(self) -> ProcessPoolExecutor:
        pool = ProcessPoolExecutor(
            self._count, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(self._warm_up,)
        )
        for _ in range(self._count):  # a pool starts a process only when work arrives
            pool.submit(_is_warm)
        return pool


def _begin(warm_up: Callable[[], None]) -> None:
    """A worker's first act."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()
    warm_up()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)


def _is_warm() -> bool:
    return True

"""Tasks that nobody awaits at once: their failures are logged, and they can be stopped together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import Any

log = logging.getLogger(__name__)


def start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """The work as a task whose unexpected failure does not go unseen."""
    task = asyncio.create_task(work)
    task.add_done_callback(_tell)
    return task


async def stop(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel them all, and wait until they are over."""
    ending = list(tasks)
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)


def _tell(task: asyncio.Task[None]) -> None:
    if task.cancelled():
        return
    error = task.exception()
    if error is not None and not isinstance(error, ConnectionResetError):  # that is a client who left
        log.error("a session's task failed", exc_info=error)

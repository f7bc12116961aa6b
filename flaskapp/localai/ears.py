"""The ears: the caller's speech in, words out, by pocketsphinx in processes of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import cache

from flaskapp.localai.recognizer import Heard, Recognizer
from flaskapp.localai.stretches import Stretch, stretches
from flaskapp.localai.workers import Workers

_AT_ONCE = 2  # stretches of one recording


class Ears:
    """Listens for every session. pocketsphinx holds the GIL: it must never run beside a socket."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    async def hear(self, pcm: bytes, rate_hz: int) -> Heard:
        """The words of a stretch of 16-bit PCM.

        Raises:
            WorkerLost: the process died; another takes its place.
        """
        return await self._workers.run(hear, pcm, rate_hz)

    async def hear_stretches(
        self, pcm: bytes, rate_hz: int, is_wanted: Callable[[], bool] = lambda: True
    ) -> list[tuple[Stretch, str]]:
        """A whole recording, of any length: each stretch of speech and its words.

        Only a few are heard at a time, so that calls in progress need not wait
        for a long message; and none once ``is_wanted`` says so.

        Raises:
            WorkerLost: the process died; another takes its place.
        """
        free = asyncio.Semaphore(_AT_ONCE)

        async def words(part: Stretch) -> str:
            async with free:
                return (await self.hear(part.pcm, rate_hz)).text if is_wanted() else ""

        parts = await asyncio.to_thread(stretches, pcm, rate_hz)
        tasks = [asyncio.create_task(words(part)) for part in parts]
        try:
            return list(zip(parts, await asyncio.gather(*tasks), strict=True))
        finally:
            for task in tasks:
                task.cancel()


def hear(pcm: bytes, rate_hz: int) -> Heard:
    """The same, in this process: for the worker, and for measurements."""
    return _recognizer().hear(pcm, rate_hz)


def warm_up() -> None:
    """Load the models and decode a little, so that the first caller does not wait for it."""
    hear(bytes(16000), 8000)


@cache
def _recognizer() -> Recognizer:
    return Recognizer()

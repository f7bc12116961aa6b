"""The ears: the caller's speech in, words out, by pocketsphinx in processes of their own."""

from __future__ import annotations

from functools import cache

from flaskapp.localai.recognizer import Heard, Recognizer
from flaskapp.localai.workers import Workers


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


def hear(pcm: bytes, rate_hz: int) -> Heard:
    """The same, in this process: for the worker, and for measurements."""
    return _recognizer().hear(pcm, rate_hz)


def warm_up() -> None:
    """Load the models and decode a little, so that the first caller does not wait for it."""
    hear(bytes(16000), 8000)


@cache
def _recognizer() -> Recognizer:
    return Recognizer()

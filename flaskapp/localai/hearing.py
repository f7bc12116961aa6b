"""What a session's ears are at: one task for each turn, its transcript told as it is ready."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from flaskapp.localai import events, tokens
from flaskapp.localai.ears import Ears
from flaskapp.localai.intake import Utterance
from flaskapp.localai.items import Item
from flaskapp.localai.recognizer import Heard
from flaskapp.localai.tasks import start, stop
from flaskapp.localai.timings import Turn
from flaskapp.localai.workers import WorkerLost

log = logging.getLogger(__name__)


class Hearing:
    """The turns of one session on their way through the ears."""

    def __init__(self, ears: Ears, send: Callable[[events.Event], Awaitable[None]]) -> None:
        self._ears = ears
        self._send = send
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._turns: dict[str, Turn] = {}
        self._guess: asyncio.Task[Heard] | None = None

    def guess(self, utterance: Utterance) -> None:
        """Begin to understand what may turn out to be a whole turn, so that its reply comes sooner."""
        self.forget_guess()
        self._guess = asyncio.create_task(self._ears.hear(utterance.pcm, utterance.rate_hz))

    def forget_guess(self) -> None:
        if self._guess is not None:
            self._guess.cancel()
            self._guess = None

    def listen(self, item: Item, utterance: Utterance, transcription: dict[str, Any] | None) -> None:
        """Begin to understand an item, unless a guess has begun to already.

        The client is told only if it asked for ``transcription``.
        """
        turn = Turn(item.id, utterance.voice_ended_at, utterance.decided_at)
        self._turns[item.id] = turn
        hearing = self._guess or asyncio.create_task(self._ears.hear(utterance.pcm, utterance.rate_hz))
        self._guess = None
        self._tasks[item.id] = start(self._understand(item, hearing, transcription, turn))

    def turn(self, item_id: str) -> Turn | None:
        return self._turns.get(item_id)

    async def understood(self, items: Iterable[Item]) -> None:
        """Wait until these items are understood (or cannot be)."""
        waiting = [self._tasks[item.id] for item in items if item.id in self._tasks]
        if waiting:
            await asyncio.wait(waiting)

    async def close(self) -> None:
        self.forget_guess()
        await stop(self._tasks.values())

    async def _understand(
        self, item: Item, hearing: asyncio.Task[Heard], transcription: dict[str, Any] | None, turn: Turn
    ) -> None:
        try:
            heard = await hearing
        except WorkerLost as error:
            log.error("%s was not heard: %s", item.id, error)
            if transcription is not None:
                await self._send(events.transcription_failed(item.id, str(error)))
            return
        item.understood, turn.ears, turn.heard_at = heard.text, heard.model, time.monotonic()
        log.debug("%s heard by %s in %.0f ms", item.id, heard.model or "nothing", heard.seconds * 1000)
        if transcription is not None:
            await self._tell(item, transcription.get("model", ""))

    async def _tell(self, item: Item, model: str) -> None:
        transcript = item.understood
        item.transcribe(transcript)
        for index, word in enumerate(transcript.split()):
            await self._send(events.transcription_delta(item.id, f" {word}" if index else word))
        usage = tokens.transcription_usage(model, item.audio_ms, transcript)
        await self._send(events.transcription_completed(item.id, transcript, usage))

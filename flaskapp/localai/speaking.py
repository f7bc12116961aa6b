"""A reply being given: thought of, spoken, and sent somewhat faster than it sounds."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterator

from flaskapp.localai import items, mind, sound
from flaskapp.localai.conversation import Conversation, lines
from flaskapp.localai.events import Event
from flaskapp.localai.ids import new_id
from flaskapp.localai.items import Item
from flaskapp.localai.reply import Reply
from flaskapp.localai.timings import Timing
from flaskapp.localai.voice import Voice
from flaskapp.localai.workers import WorkerLost

log = logging.getLogger(__name__)

DELTA_MS = 200
PACE = 6  # times real time: fast, yet slow enough that a caller can interrupt


class Speaking:
    """One reply at work; ``task`` is what gives it."""

    task: asyncio.Task[None]

    def __init__(
        self,
        reply: Reply,
        conversation: Conversation,
        timing: Timing,
        voice: Voice,
        send: Callable[[Event], Awaitable[None]],
    ) -> None:
        self.reply = reply
        self._conversation = conversation
        self._timing = timing
        self._voice = voice
        self._send = send

    async def run(self, context: tuple[Item, ...], instructions: str, asked: str | None) -> list[Event]:
        """Think and speak; returns the closing events, not yet sent."""
        try:
            await self._perform(self._decide(context, instructions, asked))
        except WorkerLost as error:
            self._end("failed")
            return self.reply.fail(str(error))
        self._end("completed")
        return [self.reply.complete()]

    def stop(self) -> None:
        """No more of it: not one delta is sent after this."""
        self.task.cancel()
        self._end("cancelled")

    def _decide(
        self, context: tuple[Item, ...], instructions: str, asked: str | None
    ) -> mind.Say | mind.Call:
        choice, offered = self.reply.settings["tool_choice"], self.reply.settings["tools"]
        forced = choice["name"] if isinstance(choice, dict) else None
        return mind.answer(lines(context), instructions, asked, [] if choice == "none" else offered, forced)

    async def _perform(self, decision: mind.Say | mind.Call) -> None:
        words = decision.saying if isinstance(decision, mind.Call) else decision.text
        if words or isinstance(decision, mind.Say):
            await (self._speak(words) if self.reply.is_spoken else self._write(words))
        if isinstance(decision, mind.Call):
            await self._call(decision)

    async def _call(self, decision: mind.Call) -> None:
        item = items.agent_call(new_id("item"), new_id("call"), decision.name, decision.arguments)
        await self._send_all(self.reply.call(item, self._add(item)))

    async def _write(self, text: str) -> None:
        item = items.agent_message(new_id("item"))
        await self._send_all(self.reply.open_message(item, self._add(item)))
        for index, word in enumerate(text.split(" ")):
            await self._send(self.reply.words(f" {word}" if index else word))
        await self._send_all(self.reply.close_message())

    async def _speak(self, text: str) -> None:
        output = self.reply.settings["audio"]["output"]
        voice = output["voice"]["id"] if isinstance(output["voice"], dict) else output["voice"]
        speech = await self._voice.speak(text, voice, output["speed"])
        data = sound.encode(speech.pcm, speech.rate_hz, self.reply.format)
        item = items.agent_message(new_id("item"))
        await self._send_all(self.reply.open_message(item, self._add(item)))
        for words, piece in pieces(text, data, self.reply.format.size(DELTA_MS)):
            if words:
                await self._send(self.reply.words(words))
            await self._send(self.reply.audio(piece))
            self._timing.first_audio_at = self._timing.first_audio_at or time.monotonic()
            await asyncio.sleep(DELTA_MS / 1000 / PACE)
        await self._send_all(self.reply.close_message())

    def _add(self, item: Item) -> str | None:
        return self._conversation.add(item) if self.reply.in_conversation else None

    async def _send_all(self, told: list[Event]) -> None:
        for event in told:
            await self._send(event)

    def _end(self, status: str) -> None:
        self._timing.status = status
        self._timing.done_at = time.monotonic()
        log.debug("%s", self._timing.summary())


def pieces(text: str, data: bytes, size: int) -> Iterator[tuple[str, bytes]]:
    """The speech in slices of ``size`` bytes, each with the words that are about spoken in it."""
    words = text.split(" ")
    count = max(1, math.ceil(len(data) / size))
    given = 0
    for index in range(count):
        upto = math.ceil(len(words) * (index + 1) / count)
        delta = " ".join(words[given:upto])
        yield (f" {delta}" if given and delta else delta), data[index * size : (index + 1) * size]
        given = upto

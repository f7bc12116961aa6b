"""The replies of one session: begun, interrupted, and at most one at a time in its conversation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from flaskapp.localai import items, settings
from flaskapp.localai.conversation import Conversation, input_tokens
from flaskapp.localai.events import Event
from flaskapp.localai.hearing import Hearing
from flaskapp.localai.ids import new_id
from flaskapp.localai.items import Item
from flaskapp.localai.refusal import Refused
from flaskapp.localai.reply import Reply
from flaskapp.localai.settings import Settings
from flaskapp.localai.shape import record, text
from flaskapp.localai.speaking import Speaking
from flaskapp.localai.tasks import start, stop
from flaskapp.localai.timings import Timings
from flaskapp.localai.voice import Voice

_REFERENCE = record({"type": text, "id": text}, "id")
_BUSY = (
    "Conversation already has an active response in progress. "
    "Wait until the response is finished before creating a new one."
)


class Replies:
    """Who speaks, and who has to stop."""

    def __init__(
        self,
        session_id: str,
        conversation: Conversation,
        hearing: Hearing,
        voice: Voice,
        timings: Timings,
        send: Callable[[Event], Awaitable[None]],
    ) -> None:
        self.spoken = False  # whether the client has had any audio
        self._session_id = session_id
        self._conversation = conversation
        self._hearing = hearing
        self._voice = voice
        self._timings = timings
        self._send = send
        self._at_work: dict[str, Speaking] = {}
        self._owed: Settings | None = None

    async def create(self, current: Settings, request: dict[str, Any]) -> None:
        """A reply that the client asked for.

        Raises:
            Refused: the request is wrong, or the conversation is busy with another.
        """
        chosen = settings.response_settings(current, request)
        if chosen["conversation"] != "none" and self._active() is not None:
            raise Refused("conversation_already_has_active_response", _BUSY)
        await self._begin(chosen, current["instructions"], request.get("instructions"))

    async def owe(self, current: Settings) -> None:
        """A reply to the caller's turn: now, or as soon as the present one has ended."""
        if self._active() is not None:
            self._owed = current
            return
        await self._begin(settings.response_settings(current, {}), current["instructions"], None)

    async def interrupt(self) -> None:
        """The caller speaks: the conversation's reply stops, if there is one."""
        active = self._active()
        if active is not None:
            await self._stop(active, "turn_detected")

    async def cancel(self, response_id: str | None) -> None:
        """The client wants a reply stopped: this one, or the conversation's.

        Raises:
            Refused: there is none.
        """
        speaking = self._at_work.get(response_id) if response_id is not None else self._active()
        if speaking is None:
            raise Refused("response_cancel_not_active", "Cancellation failed: no active response found")
        await self._stop(speaking, "client_cancelled")

    async def close(self) -> None:
        await stop(speaking.task for speaking in self._at_work.values())

    async def _begin(self, chosen: Settings, instructions: str, asked: str | None) -> None:
        context = self._context(chosen["input"])
        counted = input_tokens(context, chosen["instructions"])
        reply = Reply(new_id("resp"), chosen, self._conversation.id, counted)
        turn = self._hearing.turn(context[-1].id) if context else None
        timing = self._timings.begin(reply.id, self._session_id, turn)
        speaking = Speaking(reply, self._conversation, timing, self._voice, self._send)
        self._owed = None
        self._at_work[reply.id] = speaking
        # the task first, so that it can be stopped; it runs only once this was sent
        speaking.task = start(self._give(speaking, context, instructions, asked))
        await self._send(reply.created())

    async def _give(
        self, speaking: Speaking, context: tuple[Item, ...], instructions: str, asked: str | None
    ) -> None:
        await self._hearing.understood(context)
        await self._finish(speaking, await speaking.run(context, instructions, asked))

    async def _finish(self, speaking: Speaking, closing: list[Event]) -> None:
        if self._at_work.pop(speaking.reply.id, None) is None:
            return
        self.spoken = self.spoken or speaking.reply.audio_ms > 0
        for event in closing:
            await self._send(event)
        if self._owed is not None and self._active() is None:
            await self.owe(self._owed)

    async def _stop(self, speaking: Speaking, reason: str) -> None:
        speaking.stop()
        await self._finish(speaking, speaking.reply.cancel(reason))

    def _active(self) -> Speaking | None:
        """The conversation's reply at work; those outside of it do not count."""
        return next((each for each in self._at_work.values() if each.reply.in_conversation), None)

    def _context(self, given: list[Any] | None) -> tuple[Item, ...]:
        """What the reply goes by: the conversation, or the request's own input."""
        if given is None:
            return self._conversation.items
        return tuple(self._input_item(body, f"response.input[{at}]") for at, body in enumerate(given))

    def _input_item(self, body: dict[str, Any], path: str) -> Item:
        if body.get("type") == "item_reference":
            _REFERENCE(body, path)
            return self._conversation.find(body["id"], f"{path}.id")
        return items.from_client(body, path, new_id("item"))

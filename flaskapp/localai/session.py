"""One client's session: each of its events is answered as OpenAI's Realtime API would."""

from __future__ import annotations

import base64
import binascii
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flaskapp.localai import events, items, settings
from flaskapp.localai.conversation import Conversation
from flaskapp.localai.ears import Ears
from flaskapp.localai.hearing import Hearing
from flaskapp.localai.ids import new_id
from flaskapp.localai.intake import Intake, SpeechPaused, SpeechStarted, SpeechStopped, Utterance
from flaskapp.localai.items import Item
from flaskapp.localai.refusal import Refused, invalid, missing
from flaskapp.localai.replies import Replies
from flaskapp.localai.settings import Settings
from flaskapp.localai.shape import Check, anything, integer, mapping, or_null, record, text
from flaskapp.localai.sound import Format, format_of
from flaskapp.localai.timings import Timings
from flaskapp.localai.voice import Voice

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Desk:
    """What all sessions share."""

    ears: Ears
    voice: Voice
    timings: Timings


class Session:
    """The state of one connection. One task hands it the client's events, in order."""

    def __init__(self, model: str, desk: Desk, send: Callable[[events.Event], Awaitable[None]]) -> None:
        self.id = new_id("sess")
        self._send = send
        self._settings: Settings = settings.defaults(model)
        self._intake = Intake(*self._input())
        self._conversation = Conversation(new_id("conv"))
        self._hearing = Hearing(desk.ears, send)
        self._replies = Replies(self.id, self._conversation, self._hearing, desk.voice, desk.timings, send)
        self._turn_id = new_id("item")  # of the item that the buffer's audio will become

    async def open(self) -> None:
        await self._send(events.session_created(self._settings))

    async def receive(self, event: Any) -> None:
        """One client event, already parsed from JSON; whatever is wrong with it is told to the client."""
        event_id = event.get("event_id") if isinstance(event, dict) else None
        try:
            await _handler(event)(self, event)
        except Refused as refused:
            log.debug("%s refused %s: %s", self.id, refused.code, refused.message)
            await self._send(refused.as_event(event_id if isinstance(event_id, str) else None))

    async def close(self) -> None:
        """The client is gone: stop everything that was done for it."""
        await self._replies.close()
        await self._hearing.close()

    def _input(self) -> tuple[Format, dict[str, Any] | None]:
        described = self._settings["audio"]["input"]
        return format_of(described["format"]), described["turn_detection"]

    async def _update(self, event: dict[str, Any]) -> None:
        self._settings = settings.updated(self._settings, event["session"], self._replies.spoken)
        self._intake.configure(*self._input())
        await self._send(events.session_updated(self._settings))

    async def _append(self, event: dict[str, Any]) -> None:
        for edge in self._intake.append(_audio_of(event, "audio"), time.monotonic()):
            if isinstance(edge, SpeechStarted):
                await self._on_speech_started(edge)
            elif isinstance(edge, SpeechPaused):
                self._hearing.guess(edge.utterance)
            else:
                await self._on_speech_stopped(edge)

    async def _on_speech_started(self, edge: SpeechStarted) -> None:
        await self._send(events.speech_started(self._turn_id, edge.start_ms))
        _, detection = self._input()
        if detection is not None and detection["interrupt_response"]:
            await self._replies.interrupt()

    async def _on_speech_stopped(self, edge: SpeechStopped) -> None:
        await self._send(events.speech_stopped(self._turn_id, edge.end_ms))
        await self._take_turn(edge.utterance)
        _, detection = self._input()
        if detection is not None and detection["create_response"]:
            await self._replies.owe(self._settings)

    async def _commit(self, _event: dict[str, Any]) -> None:
        utterance = self._intake.commit(time.monotonic())
        self._hearing.forget_guess()  # the client may have committed more than that
        await self._take_turn(utterance)

    async def _clear(self, _event: dict[str, Any]) -> None:
        self._intake.clear()
        self._hearing.forget_guess()
        await self._send(events.cleared())

    async def _take_turn(self, utterance: Utterance) -> None:
        """What was in the buffer becomes an item, and goes to the ears."""
        item = items.caller_audio(self._turn_id, utterance.duration_ms)
        self._turn_id = new_id("item")
        await self._send(events.committed(item.id, self._conversation.last_id()))
        await self._add(item)
        self._hearing.listen(item, utterance, self._settings["audio"]["input"]["transcription"])

    async def _add(self, item: Item, after: str | None = None) -> None:
        predecessor = self._conversation.add(item, after)
        await self._send(events.item_added(item.snapshot(), predecessor))
        await self._send(events.item_done(item.snapshot(), predecessor))

    async def _create_item(self, event: dict[str, Any]) -> None:
        item = items.from_client(event["item"], "item", new_id("item"))
        utterance = self._utterance_in(item)
        item.audio_ms = utterance.duration_ms
        await self._add(item, event.get("previous_item_id"))
        if utterance.pcm:
            self._hearing.forget_guess()
            self._hearing.listen(item, utterance, self._settings["audio"]["input"]["transcription"])

    def _utterance_in(self, item: Item) -> Utterance:
        """The audio inside a client's item, taken out of it: events never echo audio."""
        audio_format, _ = self._input()
        pieces = [part for part in item.body.get("content", []) if part["type"] == "input_audio"]
        pcm = b"".join(audio_format.to_pcm(_audio_of(part, "item.content.audio")) for part in pieces)
        for part in pieces:
            part.update(audio=None, transcript=None)
        now = time.monotonic()
        return Utterance(pcm, audio_format.rate_hz, now, now)

    async def _delete_item(self, event: dict[str, Any]) -> None:
        item = self._conversation.delete(event["item_id"])
        await self._send(events.item_deleted(item.id))

    async def _retrieve_item(self, event: dict[str, Any]) -> None:
        item = self._conversation.find(event["item_id"])
        await self._send(events.item_retrieved(item.snapshot()))

    async def _truncate_item(self, event: dict[str, Any]) -> None:
        item = self._conversation.truncate(event["item_id"], event["audio_end_ms"])
        await self._send(events.item_truncated(item.id, item.audio_ms))

    async def _create_response(self, event: dict[str, Any]) -> None:
        await self._replies.create(self._settings, event.get("response") or {})

    async def _cancel_response(self, event: dict[str, Any]) -> None:
        await self._replies.cancel(event.get("response_id"))


Handler = Callable[[Session, dict[str, Any]], Awaitable[None]]


def _event(fields: Mapping[str, Check], *required: str) -> Check:
    return record({"type": text, "event_id": or_null(anything), **fields}, *required)


_ITEM_ID = {"item_id": text}
_TRUNCATION = {**_ITEM_ID, "content_index": integer(0, 0), "audio_end_ms": integer(0, 24 * 3600 * 1000)}
_HANDLERS: dict[str, tuple[Handler, Check]] = {
    "session.update": (Session._update, _event({"session": mapping}, "session")),
    "input_audio_buffer.append": (Session._append, _event({"audio": text}, "audio")),
    "input_audio_buffer.commit": (Session._commit, _event({})),
    "input_audio_buffer.clear": (Session._clear, _event({})),
    "conversation.item.create": (
        Session._create_item,
        _event({"item": mapping, "previous_item_id": or_null(text)}, "item"),
    ),
    "conversation.item.delete": (Session._delete_item, _event(_ITEM_ID, "item_id")),
    "conversation.item.retrieve": (Session._retrieve_item, _event(_ITEM_ID, "item_id")),
    "conversation.item.truncate": (Session._truncate_item, _event(_TRUNCATION, *_TRUNCATION)),
    "response.create": (Session._create_response, _event({"response": or_null(mapping)})),
    "response.cancel": (Session._cancel_response, _event({"response_id": or_null(text)})),
}


def _handler(event: Any) -> Handler:
    """What answers this event.

    Raises:
        Refused: it is no event of the API, or has fields that are not, or are wrong.
    """
    if not isinstance(event, dict):
        raise Refused("invalid_event", "A client event must be a JSON object.")
    kind = event.get("type")
    if kind is None:
        raise missing("type")
    if not isinstance(kind, str) or kind not in _HANDLERS:
        raise invalid("type", "one of " + ", ".join(repr(name) for name in _HANDLERS))
    handler, check = _HANDLERS[kind]
    check(event, "")
    return handler


def _audio_of(holder: dict[str, Any], path: str) -> bytes:
    try:
        return base64.b64decode(holder["audio"], validate=True)
    except (binascii.Error, ValueError):
        raise invalid(path, "base64-encoded audio") from None

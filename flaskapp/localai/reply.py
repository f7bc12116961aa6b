"""One response as the API tells it: every event in its order, however it ends."""

from __future__ import annotations

import base64
from typing import Any

from flaskapp.localai import events, tokens
from flaskapp.localai.events import Event
from flaskapp.localai.items import Item
from flaskapp.localai.sound import format_of


class Reply:
    """The response in progress.

    ``created`` first; then ``open_message``, any number of ``words`` and
    ``audio`` and ``close_message``, or ``call``, or one after the other; then
    ``complete``. ``cancel`` may come at any time and closes what is open.
    """

    def __init__(
        self, response_id: str, settings: dict[str, Any], conversation_id: str, tokens_in: tuple[int, int]
    ) -> None:
        self.id = response_id
        self.settings = settings
        self.in_conversation = settings["conversation"] != "none"
        self.format = format_of(settings["audio"]["output"]["format"])
        self.is_spoken = settings["output_modalities"] == ["audio"]
        self.audio_ms = 0
        self._conversation_id = conversation_id if self.in_conversation else None
        self._tokens_in = tokens_in
        self._tokens_out = 0
        self._item: Item | None = None
        self._previous_id: str | None = None
        self._said = ""
        self._sent = 0
        self._output: list[Item] = []

    def created(self) -> Event:
        return {"type": "response.created", "response": self._as_api("in_progress")}

    def open_message(self, item: Item, previous_id: str | None) -> list[Event]:
        """The agent begins to speak or write."""
        self._open(item, previous_id)
        empty = {"type": "audio", "transcript": ""} if self.is_spoken else {"type": "text", "text": ""}
        return [*self._item_added(item), self._at("response.content_part.added", part=empty)]

    def words(self, delta: str) -> Event:
        self._said += delta
        kind = "output_audio_transcript" if self.is_spoken else "output_text"
        return self._at(f"response.{kind}.delta", delta=delta)

    def audio(self, data: bytes) -> Event:
        """A piece of the speech, in the wire format."""
        self._sent += len(data)
        self.audio_ms = self.format.milliseconds(self._sent)
        if self._item is not None:
            self._item.audio_ms = self.audio_ms
        return self._at("response.output_audio.delta", delta=base64.b64encode(data).decode())

    def close_message(self, status: str = "completed") -> list[Event]:
        """The message ends: ``completed``, or ``incomplete`` if it was cut off."""
        item = self._item
        assert item is not None  # noqa: S101 - open_message came before
        if self.is_spoken:
            part = {"type": "audio", "transcript": self._said}
            item.body["content"] = [{"type": "output_audio", "transcript": self._said}]
            ends = [
                self._at("response.output_audio_transcript.done", transcript=self._said),
                self._at("response.output_audio.done"),
            ]
        else:
            part = {"type": "text", "text": self._said}
            item.body["content"] = [{"type": "output_text", "text": self._said}]
            ends = [self._at("response.output_text.done", text=self._said)]
        self._tokens_out += tokens.of_text(self._said)
        ends.append(self._at("response.content_part.done", part=part))
        return [*ends, *self._item_done(item, status)]

    def call(self, item: Item, previous_id: str | None) -> list[Event]:
        """The agent wants a function called: the whole of it, from added to done."""
        self._open(item, previous_id)
        name, call_id, arguments = (item.body[each] for each in ("name", "call_id", "arguments"))
        item.body["arguments"] = ""
        added = self._item_added(item)
        item.body["arguments"] = arguments
        about = {**self._place(), "item_id": item.id, "call_id": call_id}
        kind = "response.function_call_arguments"
        self._tokens_out += tokens.of_text(f"{name} {arguments}")
        return [
            *added,
            {"type": f"{kind}.delta", **about, "delta": arguments},
            {"type": f"{kind}.done", **about, "name": name, "arguments": arguments},
            *self._item_done(item, "completed"),
        ]

    def cancel(self, reason: str) -> list[Event]:
        """It ends early: ``turn_detected`` or ``client_cancelled``."""
        closing = self.close_message("incomplete") if self._item is not None else []
        return [*closing, self._done("cancelled", {"type": "cancelled", "reason": reason})]

    def complete(self) -> Event:
        return self._done("completed", None)

    def fail(self, message: str) -> list[Event]:
        """It cannot be given: as the real API does, told in ``response.done``."""
        closing = self.close_message("incomplete") if self._item is not None else []
        error = {"type": "server_error", "code": "server_error", "message": message}
        return [*closing, self._done("failed", {"type": "failed", "error": error})]

    def _open(self, item: Item, previous_id: str | None) -> None:
        self._item, self._previous_id = item, previous_id
        self._output.append(item)

    def _item_added(self, item: Item) -> list[Event]:
        added = {"type": "response.output_item.added", **self._place()}
        told: list[Event] = [{**added, "item": item.snapshot()}]
        if self.in_conversation:
            told.append(events.item_added(item.snapshot(), self._previous_id))
        return told

    def _item_done(self, item: Item, status: str) -> list[Event]:
        item.body["status"] = status
        self._item = None
        told: list[Event] = []
        if self.in_conversation:
            told.append(events.item_done(item.snapshot(), self._previous_id))
        done = {"type": "response.output_item.done", **self._place()}
        return [*told, {**done, "item": item.snapshot()}]

    def _at(self, kind: str, **fields: Any) -> Event:
        """An event about the open message's only part."""
        return {"type": kind, **self._place(), "item_id": self._output[-1].id, "content_index": 0, **fields}

    def _place(self) -> Event:
        """Where the item at work stands."""
        return {"response_id": self.id, "output_index": len(self._output) - 1}

    def _done(self, status: str, details: Event | None) -> Event:
        response = self._as_api(status)
        spoken = tokens.of_agent_audio(self.audio_ms)
        response["usage"] = tokens.response_usage(*self._tokens_in, self._tokens_out, spoken)
        response["status_details"] = details
        return {"type": "response.done", "response": response}

    def _as_api(self, status: str) -> Event:
        output = self.settings["audio"]["output"]
        voice = output["voice"]
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": None,
            "output": [item.snapshot() for item in self._output],
            "conversation_id": self._conversation_id,
            "output_modalities": self.settings["output_modalities"],
            "max_output_tokens": self.settings["max_output_tokens"],
            "audio": {
                "output": {
                    "format": output["format"],
                    "voice": voice["id"] if isinstance(voice, dict) else voice,
                }
            },
            "usage": None,
            "metadata": self.settings["metadata"],
        }

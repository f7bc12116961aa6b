"""A Realtime server that says back what it hears, frame by frame: the worst case for whatever relays it.

Every ``input_audio_buffer.append`` comes back as a ``response.output_audio.delta``
with the same payload, all under one response. On any other path than
``/v1/realtime`` it is a phone app without an engine: Twilio's media messages
come straight back, which is what the load generator alone costs and takes.
"""

from __future__ import annotations

import json
from itertools import count
from time import monotonic
from typing import Any

from peer import TEXT, Peer, Prepared, between_quotes
from picows import WSFrame, WSTransport, WSUpgradeRequest

_APPEND = b"input_audio_buffer.append"
_UNANSWERED = {
    *("response.create", "response.cancel", "input_audio_buffer.commit", "input_audio_buffer.clear"),
    *("conversation.item.create", "conversation.item.truncate", "conversation.item.delete"),
    *("conversation.item.retrieve", "output_audio_buffer.clear"),
}
_NEVER = -1
_TOOL = "look_up"
_AGENT_SAYS, _CALLER_SAID = "and so on and on ", "and so forth"

_deltas = Prepared(lambda number: b'{"type":"response.output_audio.delta","event_id":"event_%06d' % number)
_numbers = count(1)


class EchoEngine:
    """All sessions, plain ones and those over TLS.

    Attributes:
        ready_at: when each could hear: the ``session.update``, or the first sound; monotonic seconds.
        foreign: messages from apps that nobody understands.
        words_every: frames of a session after which it says a line of text, too; 0: never.
        tools_every, tools_from: the same for a function that it asks for; and after how many at first.
    """

    def __init__(self) -> None:
        self.ready_at: list[float] = []
        self.foreign = 0
        self.words_every = self.tools_every = self.tools_from = 0

    def listener(self, request: WSUpgradeRequest) -> Peer:
        return _Session(self) if request.path.startswith(b"/v1/realtime") else _Mirror(self)


class _Mirror(Peer):
    """No engine: media messages go back as they came."""

    def __init__(self, engine: EchoEngine) -> None:
        super().__init__()
        self._engine = engine

    def opened(self) -> None:
        self._engine.ready_at.append(monotonic())

    def on_ws_frame(self, _transport: WSTransport, frame: WSFrame) -> None:
        text = frame.get_payload_as_bytes()
        if text.startswith(b'{"event":"media"'):
            self.send(TEXT, text)
        else:
            self.rarely(frame, text)


class _Session(Peer):
    """One session."""

    def __init__(self, engine: EchoEngine) -> None:
        super().__init__()
        number = next(_numbers)
        self._engine = engine
        self._is_ready = self._has_begun = False
        self._response, self._item = f"resp_{number:021d}", f"item_{number:021d}"
        self._middle = (
            f'{number:015d}","response_id":"{self._response}","item_id":"{self._item}",'
            '"output_index":0,"content_index":0,"delta":"'
        ).encode()
        self._head, self._from = b"\0", 0  # how this app's appends begin, where their sound does
        self._echoes = 0
        # Not all at the same moment: people do not speak in chorus.
        self._words_at = 1 + number % engine.words_every if engine.words_every else _NEVER
        self._tool_at = 1 + engine.tools_from + number % engine.tools_every if engine.tools_every else _NEVER

    def opened(self) -> None:
        self._tell("session.created", session={"type": "realtime", "object": "realtime.session"})

    def on_ws_frame(self, _transport: WSTransport, frame: WSFrame) -> None:
        text = frame.get_payload_as_bytes()
        start = self._from
        if text.startswith(self._head) and text.find(b'"', start) == len(text) - 2 and frame.fin:
            number = self._echoes
            self.send(TEXT, _deltas[number] + self._middle + text[start:])
            self._echoes = number + 1
            if number == self._words_at:
                self._say_words()
            if number == self._tool_at:
                self._ask_for_tool()
        else:
            self.rarely(frame, text)

    def message(self, text: bytes) -> None:
        if _APPEND in text:
            self._append(text)
            return
        try:
            event = json.loads(text)
            self._answer(event["type"], event)
        except (ValueError, TypeError, KeyError):
            self._engine.foreign += 1

    def _append(self, text: bytes) -> None:
        """An append of another shape than the one before, the first one among them."""
        if not self._has_begun:
            self._begin()
        sound = between_quotes(text, b'"audio"')
        at = len(text) - len(sound) - 2
        if sound and text.endswith(sound + b'"}') and text.find(sound) == at:
            self._head, self._from = text[:at], at
        self.send(TEXT, _deltas[self._echoes] + self._middle + sound + b'"}')
        self._echoes += 1

    def _begin(self) -> None:
        self._has_begun = True
        self._ready()
        response = {"object": "realtime.response", "id": self._response, "status": "in_progress"}
        self._tell("response.created", response={**response, "output": []})

    def _ready(self) -> None:
        if not self._is_ready:
            self._is_ready = True
            self._engine.ready_at.append(monotonic())

    def _answer(self, kind: str, event: dict[str, Any]) -> None:
        if kind == "session.update":
            self._tell("session.updated", session={"object": "realtime.session", **event["session"]})
            self._ready()
        elif kind not in _UNANSWERED:
            self._engine.foreign += 1

    def _say_words(self) -> None:
        """The agent's next words, and what was understood of the caller, as late as it usually is."""
        self._words_at += self._engine.words_every
        place = {"item_id": self._item, "content_index": 0}
        said = {"response_id": self._response, **place, "output_index": 0, "delta": _AGENT_SAYS}
        self._tell("response.output_audio_transcript.delta", **said)
        heard = {"item_id": f"item_u{next(_numbers):020d}", "content_index": 0, "transcript": _CALLER_SAID}
        usage = {"type": "duration", "seconds": 1}
        self._tell("conversation.item.input_audio_transcription.completed", **heard, usage=usage)

    def _ask_for_tool(self) -> None:
        """What comes of it changes nothing here: sound goes on as before."""
        self._tool_at += self._engine.tools_every
        call = {"type": "function_call", "call_id": f"call_{next(_numbers):020d}", "name": _TOOL}
        item = {"id": f"item_f{next(_numbers):020d}", **call, "arguments": "{}", "status": "completed"}
        self._tell("response.output_item.done", response_id=self._response, output_index=1, item=item)

    def _tell(self, kind: str, **content: Any) -> None:
        told = {"type": kind, "event_id": f"event_{next(_numbers):021d}", **content}
        self.send(TEXT, json.dumps(told).encode())

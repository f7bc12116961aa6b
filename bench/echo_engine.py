"""A Realtime server that says back what it hears, frame by frame: the worst case for whatever relays it.

Every ``input_audio_buffer.append`` comes back as a ``response.output_audio.delta``
with the same payload, all under one response. On any other path than
``/v1/realtime`` it is a phone app without an engine: Twilio's media messages
come straight back, which is what the load generator alone costs and takes.
"""

from __future__ import annotations

import json
from itertools import count
from typing import Any

from framing import Peer

_numbers = count(1)


class EchoEngine(Peer):
    """One session."""

    def opened(self) -> None:
        self._is_realtime = self.path.startswith("/v1/realtime")
        self._has_begun = False
        number = next(_numbers)
        self._response = f"resp_{number:021d}"
        self._delta = (
            b'{"type":"response.output_audio.delta","event_id":"event_%%021d","response_id":"%s",'
            b'"item_id":"item_%021d","output_index":0,"content_index":0,"delta":"%%s"}'
        ) % (self._response.encode(), number)
        if self._is_realtime:
            self._tell("session.created", session={"type": "realtime", "object": "realtime.session"})

    def messages(self, texts: list[bytes]) -> None:
        echoes = []
        for text in texts:
            if not self._is_realtime:
                if text.startswith(b'{"event":"media"'):
                    echoes.append(text)
            elif b"input_audio_buffer.append" in text[:80]:
                echoes.append(self._delta % (next(_numbers), between_quotes(text, b'"audio"')))
            else:
                self._answer(json.loads(text))
        if echoes:
            if self._is_realtime and not self._has_begun:
                self._has_begun = True
                response = {"object": "realtime.response", "id": self._response, "status": "in_progress"}
                self._tell("response.created", response={**response, "output": []})
            self.send(*echoes)

    def _answer(self, event: dict[str, Any]) -> None:
        """``response.create`` and all others get no answer."""
        if event["type"] == "session.update":
            self._tell("session.updated", session={"object": "realtime.session", **event["session"]})

    def _tell(self, kind: str, **content: Any) -> None:
        self.send(json.dumps({"type": kind, "event_id": f"event_{next(_numbers):021d}", **content}).encode())


def between_quotes(text: bytes, name: bytes) -> bytes:
    """The text value that follows a name in JSON whose values need no escapes; empty if there is none."""
    at = text.find(name)
    if at < 0:
        return b""
    start = text.find(b'"', at + len(name)) + 1
    return text[start : text.find(b'"', start)]

"""A client of the realtime socket that speaks with espeak-ng's voice and keeps every event."""

from __future__ import annotations

import base64
import json
from functools import cache
from types import TracebackType
from typing import Any

from websockets.sync.client import connect

from flaskapp.localai import sound, voice

Event = dict[str, Any]
DEADLINE_S = 30.0


@cache
def spoken(text: str, format_name: str = "audio/pcmu") -> bytes:
    """The text as the bytes of a wire format."""
    speech = voice.speak(text)
    return sound.encode(speech.pcm, speech.rate_hz, sound.FORMATS[format_name])


def silence(milliseconds: int, format_name: str = "audio/pcmu") -> bytes:
    wire = sound.FORMATS[format_name]
    return wire.from_pcm(bytes(2 * wire.rate_hz * milliseconds // 1000))


class Caller:
    """One session. ``heard`` are all events so far, in order."""

    TELEPHONE: Event = {  # noqa: RUF012 - read only
        "input": {"format": {"type": "audio/pcmu"}, "transcription": {"model": "gpt-transcribe"}},
        "output": {"format": {"type": "audio/pcmu"}},
    }

    def __init__(self, server: str) -> None:
        address = server.replace("http", "ws", 1) + "/realtime?model=gpt-realtime"
        self.heard: list[Event] = []
        self.format = "audio/pcm"
        self._socket = connect(
            address, max_size=None, additional_headers={"Authorization": "Bearer anything"}
        )

    def __enter__(self) -> Caller:
        self.until("session.created")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def send(self, kind: str, **fields: Any) -> None:
        self.send_raw(json.dumps({"type": kind, **fields}))

    def send_raw(self, message: str | bytes) -> None:
        self._socket.send(message)

    def receive(self, deadline_s: float = DEADLINE_S) -> Event:
        event: Event = json.loads(self._socket.recv(timeout=deadline_s))
        self.heard.append(event)
        return event

    def until(self, kind: str) -> Event:
        """The next event of a kind; an ``error`` on the way fails the test, unless it is wanted."""
        while True:
            event = self.receive()
            if event["type"] == kind:
                return event
            assert event["type"] != "error", event

    def nothing_but_pong(self) -> list[Event]:
        """What the server had still to say: everything before its answer to one more event."""
        before = len(self.heard)
        self.send("input_audio_buffer.clear")
        self.until("input_audio_buffer.cleared")
        return self.heard[before:-1]

    def update(self, **fields: Any) -> Event:
        self.send("session.update", session={"type": "realtime", **fields})
        settings: Event = self.until("session.updated")["session"]
        self.format = settings["audio"]["input"]["format"]["type"]
        return settings

    def append(self, sound: bytes) -> None:
        """Audio in pieces of 100 ms, as fast as the socket takes them: the VAD counts audio, not time."""
        size = len(silence(100, self.format))
        for start in range(0, len(sound), size):
            piece = base64.b64encode(sound[start : start + size]).decode()
            self.send("input_audio_buffer.append", audio=piece)

    def say(self, text: str) -> None:
        """Speak, and then be silent for long enough to be answered."""
        quiet = silence(300, self.format)
        self.append(quiet + spoken(text, self.format) + silence(800, self.format))

    def ask(self, text: str) -> tuple[str, str]:
        """Speak and listen: (what was understood, what was replied)."""
        self.say(text)
        reply = self.until("response.done")["response"]
        assert reply["status"] == "completed", reply
        completed = self.of("conversation.item.input_audio_transcription.completed")
        return completed[-1]["transcript"], said(reply)

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.heard if event["type"] == kind]

    def kinds(self) -> list[str]:
        return [event["type"] for event in self.heard]


def said(response: Event) -> str:
    """The words of a response's message."""
    parts = [part for item in response["output"] for part in item.get("content", [])]
    return " ".join(part.get("transcript") or part.get("text") or "" for part in parts)

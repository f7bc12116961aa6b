"""Phone legs for plain scripts: a caller who sends Twilio's messages and keeps what comes back."""

from __future__ import annotations

import base64
import json
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from flaskapp.phone.listener import CallEnded, Listener
from flaskapp.phone.rtmt_audio_handler import RTMTAudioHandler


class Caller:
    """One call's phone leg: ``send``, ``receive`` and ``close``, as a user of the handler would write it."""

    def __init__(self, call_sid: str) -> None:
        self.call_sid = call_sid
        self.inbox: queue.Queue[str] = queue.Queue()
        self.messages: list[dict[str, Any]] = []
        self.closed_with: int | None = None

    # the leg ------------------------------------------------------------------

    def send(self, text: str) -> None:
        self.messages.append(json.loads(text))

    def receive(self, timeout: float) -> str | None:
        try:
            return self.inbox.get(timeout=timeout)
        except queue.Empty:
            return None

    def close(self, code: int) -> None:
        self.closed_with = code

    # the caller ---------------------------------------------------------------

    def starts(self) -> None:
        sound = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
        start = {"callSid": self.call_sid, "streamSid": f"MZ-{self.call_sid}", "mediaFormat": sound}
        self._says({"event": "start", "start": start})

    def speaks(self, sound: bytes) -> None:
        for at in range(0, len(sound), 160):
            payload = base64.b64encode(sound[at : at + 160]).decode()
            self._says({"event": "media", "media": {"track": "inbound", "payload": payload}})

    def hangs_up(self) -> None:
        self._says({"event": "stop", "stop": {"callSid": self.call_sid}})

    def _says(self, message: dict[str, Any]) -> None:
        self.inbox.put(json.dumps({**message, "streamSid": f"MZ-{self.call_sid}"}))

    @property
    def heard(self) -> bytes:
        media = (each["media"]["payload"] for each in self.messages if each["event"] == "media")
        return b"".join(base64.b64decode(payload) for payload in media)


class Ear(Listener):
    """Remembers how calls ended and what went wrong."""

    def __init__(self) -> None:
        self.ended: list[CallEnded] = []
        self.faults: list[tuple[str, str]] = []

    def fault(self, call_sid: str, at_ms: int, kind: str, detail: str) -> None:
        self.faults.append((call_sid, kind))

    def call_ended(self, ended: CallEnded) -> None:
        self.ended.append(ended)


def begin(handler: RTMTAudioHandler, call_sid: str) -> tuple[Caller, threading.Thread]:
    """A call in a thread of its own, its stream started."""
    caller = Caller(call_sid)
    thread = threading.Thread(target=handler.serve, args=(caller, call_sid), daemon=True)
    thread.start()
    caller.starts()
    return caller, thread


def eventually(condition: Callable[[], Any], within_s: float = 10.0) -> Any:
    """Wait until something is true, and return it."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.005)
    return found

"""Makes a phone leg of anything that can send, receive and close text."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Iterable
from typing import Any

from flaskapp.phone.errors import LegClosed

POLL_S = 0.5
QUEUE_MESSAGES = 4096


class ScriptLeg:
    """A leg over ``send(text)``, ``receive(timeout) -> text | None`` and ``close(code)``.

    A ``send`` of somebody else's may take its time: a thread of its own does
    it, so that the call is not held up. An exception from ``receive`` means
    that the leg is closed.
    """

    def __init__(self, leg: Any) -> None:
        self.dropped = 0
        self._leg = leg
        self._closed: LegClosed | None = None
        self._outbox: queue.Queue[bytes | None] = queue.Queue()
        self._writer = threading.Thread(target=self._write, name="leg-writer", daemon=True)
        self._writer.start()

    def receive(self, timeout_s: float | None = None) -> list[bytes]:
        while self._closed is None:
            began = time.monotonic()
            try:
                text = self._leg.receive(POLL_S if timeout_s is None else timeout_s)
            except Exception as error:  # theirs: whatever it is, the leg is gone
                self._closed = LegClosed(1006, type(error).__name__)
                break
            if text is not None:
                return [text.encode() if isinstance(text, str) else bytes(text)]
            if timeout_s is not None:
                return []
            if time.monotonic() - began < POLL_S / 10:  # it does not wait: do not spin
                time.sleep(0.005)
        self._outbox.put(None)
        raise self._closed or LegClosed(1000)

    def send(self, messages: Iterable[bytes], *, droppable: bool = False) -> None:
        for message in messages:
            if droppable and self._outbox.qsize() >= QUEUE_MESSAGES:
                self.dropped += 1
            else:
                self._outbox.put(message)

    def drop_queued(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._outbox.get_nowait()

    def close(self, code: int = 1000, reason: str = "") -> None:
        if self._closed is None:
            self._closed = LegClosed(code, reason)
            self._outbox.put(None)
            self._writer.join(POLL_S)
            with contextlib.suppress(Exception):  # theirs, and it is over anyway
                self._leg.close(code)

    def tick(self, now: float) -> None:
        """Nothing to keep alive."""

    def _write(self) -> None:
        while (message := self._outbox.get()) is not None:
            try:
                self._leg.send(message.decode())
            except Exception as error:  # theirs: the leg is gone
                self._closed = self._closed or LegClosed(1006, type(error).__name__)
                return

"""Makes a phone leg of anything that can send, receive and close text."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Sequence
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
        self._over: LegClosed | None = None
        self._is_closed = False
        self._outbox: queue.Queue[bytes | None] = queue.Queue()
        self._writer = threading.Thread(target=self._write, name="leg-writer", daemon=True)
        self._writer.start()

    def receive(self, timeout_s: float | None = None) -> list[bytes]:
        while self._over is None:
            began = time.monotonic()
            try:
                text = self._leg.receive(POLL_S if timeout_s is None else timeout_s)
            except Exception as error:  # theirs: whatever it is, the leg is gone
                self._end(LegClosed(1006, type(error).__name__))
                break
            if text is not None:
                return [text.encode() if isinstance(text, str) else bytes(text)]
            if timeout_s is not None:
                return []
            if time.monotonic() - began < POLL_S / 10:  # it does not wait: do not spin
                time.sleep(0.005)
        raise self._over or LegClosed(1000)

    def send(self, messages: Sequence[bytes], *, droppable: bool = False) -> None:
        for message in messages:
            if self._over is None and droppable and self._outbox.qsize() >= QUEUE_MESSAGES:
                self.dropped += 1
            elif self._over is None:
                self._outbox.put(message)

    def drop_queued(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._outbox.get_nowait()
        if self._over is not None:  # the word that ends the writer may have been among them
            self._outbox.put(None)

    def close(self, code: int = 1000, reason: str = "") -> None:
        if not self._is_closed:  # the writer does it, after the last word
            self._is_closed = True
            self._end(LegClosed(code, reason))

    def finish(self) -> None:
        """Give the last words a moment; whoever served the call waits here, nobody else."""
        self._writer.join(POLL_S)

    def tick(self, now: float) -> None:
        """Nothing to keep alive."""

    def _end(self, over: LegClosed) -> None:
        self._over = self._over or over
        self._outbox.put(None)

    def _write(self) -> None:
        try:
            while (message := self._outbox.get()) is not None:
                self._leg.send(message.decode())
        except Exception as error:  # theirs: the leg is gone
            self._end(LegClosed(1006, type(error).__name__))
        with contextlib.suppress(Exception):  # theirs, and it is over anyway
            self._leg.close(self._over.code if self._over and self._is_closed else 1000)

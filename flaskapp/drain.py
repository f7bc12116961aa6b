"""A worker that is about to end: it takes no new calls, and hands over those that it has."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

log = logging.getLogger(__name__)

AGAIN_EVERY_S = 0.5


class Calls(Protocol):
    """The live calls of this process (``RTMTAudioHandler``)."""

    @property
    def sessions(self) -> Collection[str]:
        """Calls that are open."""

    def move_all(self, within_s: float) -> None:
        """Have every call taken up by another worker at a good moment, at the latest then."""


class Drain:
    """Whether, and how far, this process has drained.

    Args:
        calls: its live calls; None where there can be none.
        settlers: each waits for so many seconds at most until what it has to write is written, and
            says whether it is.
    """

    def __init__(self, calls: Calls | None, settlers: Sequence[Callable[[float], bool]] = ()) -> None:
        self._calls, self._settlers = calls, settlers
        self._begun = threading.Event()
        self._moving: threading.Thread | None = None

    def is_set(self) -> bool:
        """Whether no new calls are taken any more."""
        return self._begun.is_set()

    def begin(self) -> None:
        """From now on take no new calls; those that there are go on."""
        if not self._begun.is_set():
            log.info("This worker takes no more calls, and has %d", self.calls)
            self._begun.set()

    def move(self, within_s: float) -> None:
        """Hand the calls over, each at a good moment and all ``within_s``; returns at once."""
        if self._calls is None or self._moving is not None:
            return
        self._moving = threading.Thread(target=self._move, args=(within_s,), name="moving", daemon=True)
        self._moving.start()

    @property
    def calls(self) -> int:
        """How many live calls there are still."""
        return len(self._calls.sessions) if self._calls is not None else 0

    def settle(self, within_s: float) -> bool:
        """Wait until everything that this process has noted is written; whether that was in time."""
        give_up_at = time.monotonic() + within_s
        told = [settle(max(0.0, give_up_at - time.monotonic())) for settle in self._settlers]
        if not all(told):
            log.error("This worker ends with notes that are not written")
        return all(told)

    def _move(self, within_s: float) -> None:
        """Again and again, for a stream whose socket was open already may only now become a call."""
        moved_by = time.monotonic() + within_s
        try:
            while self._calls is not None:
                self._calls.move_all(max(moved_by - time.monotonic(), 0.0))
                time.sleep(AGAIN_EVERY_S)
        except Exception:  # whatever it is, the process ends soon, and must do so in order
            log.exception("Calls could not be handed over")

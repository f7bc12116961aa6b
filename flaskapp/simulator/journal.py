"""What is written down while a call goes on: requests, complaints, events."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from flaskapp.simulator.report import DialReport, Message, Problem, WebhookReport
from flaskapp.simulator.spec import CallSpec

MOST_PROBLEMS = 500


@dataclass(frozen=True)
class Uttered:
    """What began to be spoken or played ``at``, and whether only to bridge the time."""

    at: float
    what: str
    is_stopgap: bool


class Journal:
    """One call's diary; ``t0`` is when its first webhook was sent (monotonic seconds)."""

    def __init__(self, spec: CallSpec, call_sid: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.t0 = clock()
        self.call_sid = call_sid
        self.problems: list[Problem] = []
        self.webhooks: list[WebhookReport] = []
        self.said: list[str] = []
        self.uttered: list[Uttered] = []
        self.is_stopgap = False  # what is uttered now only bridges the time
        self.dialled: list[str] = []
        self.dials: list[DialReport] = []
        self.rejected = ""
        self._spec = spec
        self._once: set[int] = set()

    def now_ms(self) -> float:
        return (self.clock() - self.t0) * 1000

    def complain(self, code: int, text: str, level: Literal["error", "warning"] = "error") -> None:
        """Records a problem, up to a number that no healthy call comes near."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(Problem(code, text, level, self.now_ms()))

    def warn_once(self, code: int, text: str) -> None:
        """Records a warning unless this code has been recorded already, as Twilio does per stream."""
        if code not in self._once:
            self._once.add(code)
            self.complain(code, text, "warning")

    def requested(self, url: str, status: int, began: float, parameters: Mapping[str, str]) -> None:
        """Records one request to the application, status 0 when it did not answer."""
        at_ms = (began - self.t0) * 1000
        self.webhooks.append(WebhookReport(url, status, at_ms, self.now_ms() - at_ms, dict(parameters)))

    def utters(self, what: str) -> None:
        """Notes which words or which file the caller hears from now on."""
        self.uttered.append(Uttered(self.clock(), what, self.is_stopgap))

    def message(self, direction: Literal["sent", "received"], text: str | bytes) -> None:
        """Shows one media socket message to whoever watches the call."""
        if self._spec.watch is not None:
            self._spec.watch(Message(self.clock(), direction, text, self.call_sid))

    def event(self, what: str, **facts: Any) -> None:
        """Tells the call's progress to whoever asked to be told."""
        if self._spec.on_event is not None:
            self._spec.on_event(
                {"event": what, "call_sid": self.call_sid, "at_ms": round(self.now_ms(), 1), **facts}
            )

"""What a keeper takes from a live call, from another thread: audio, lines, what else must not be lost."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

from flaskapp.phone.audio import to_telephone
from flaskapp.phone.call import Call
from flaskapp.phone.payloads import decoded
from flaskapp.phone.transcript import Line


class Flow:
    """One leg's; ``keeps`` is called before its bridge runs, if anybody keeps anything."""

    def __init__(self, call: Call, clock: Callable[[], float]) -> None:
        self.call, self._clock = call, clock
        self._lines: deque[Line] | None = None
        self._memo: dict[str, Any] = {}

    def settle(self) -> None:
        """Let the call know all that has happened by now."""

    def keeps(self) -> None:
        """From now on what a keeper wants to have is kept until it takes it; call this before ``run``."""
        self._lines, self.call.intake.flow = deque(), deque()

    def take_audio(self) -> tuple[int, bytes] | None:
        """The caller's audio since the last time: where it begins in the call (ms), and mu-law at 8 kHz."""
        self.settle()
        intake = self.call.intake
        if not (taken := _taken(intake.flow)):
            return None
        start_ms = intake.flow_from_ms
        intake.flow_from_ms += sum([audio.duration_ms for audio in taken])
        pieces = decoded([audio.payload for audio in taken])
        return self.call.talk.base_ms + round(start_ms), to_telephone(b"".join(pieces), intake.audio_format)

    def take_lines(self) -> list[Line]:
        """The transcript's lines that are new or have changed since the last time, each as it is now."""
        return list({line.item_id: line for line in _taken(self._lines)}.values())

    def take_memo(self) -> dict[str, Any] | None:
        """What the call's next leg must know beside its lines, if that has changed since the last time."""
        memo = self.call.memo()
        if memo == self._memo:
            return None
        self._memo = memo
        return memo

    @property
    def cost_usd(self) -> float:
        """What this leg has cost so far."""
        return self.call.leg_cost_usd

    @property
    def usage(self) -> dict[str, Any]:
        """What this leg has used so far."""
        return dict(self.call.talk.usage)

    @property
    def base_ms(self) -> int:
        """Where in the call this leg begins."""
        return self.call.talk.base_ms

    @property
    def heard_until_ms(self) -> int:
        """All caller audio before this has reached a transcript, or was silence to the engine."""
        self.settle()
        return self.call.heard_until_ms(self._clock())


def _taken(flow: deque[Any] | None) -> list[Any]:
    """All that is in it, while others may add to it."""
    taken: list[Any] = []
    if flow:
        with contextlib.suppress(IndexError):  # that was all
            taken.extend(iter(flow.popleft, None))
    return taken

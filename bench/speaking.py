"""Callers who speak together: every frame at its time, and what came back of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any

from caller import FRAME_S, Caller
from tally import Histogram, Tally
from ticks import Ticks

_TICK_S = 0.0002
_MOST_IN_A_TICK = 64  # then what came back is read first
_TOO_LATE_S = 1.0
_REST_S, _STIRS_EVERY_S = 5.0, 8.0  # no carrier is silent for long: apps hang up over it
_LONGEST_S = 13.0  # from the last frame to the next one
_PERCENTS = (50, 95, 99)


class Speaking:
    """A frame of each caller in every period: absolute deadlines, the callers spread evenly over it.

    ``callers`` may have empty places, and they may be filled meanwhile. Frames that are late
    are made up for, up to a second of them; those beyond are left out and counted.
    """

    def __init__(
        self,
        callers: Sequence[Caller | None],
        lags: Histogram,
        period_s: float = FRAME_S,
        begins_in_s: float = 0.0,
    ) -> None:
        self._callers, self._lags = callers, lags
        self._step = period_s / len(callers)
        for caller in callers:
            if caller is not None:
                caller.begin_turn()
        self._began, self._count, self._left_out = monotonic() + begins_in_s, 0, 0
        self._ticks = Ticks.every(max(self._step, _TICK_S), self._speak)

    def _speak(self) -> None:
        callers, lags, began, step, count = self._callers, self._lags, self._began, self._step, self._count
        everyone, until = len(callers), monotonic()
        if until - (began + count * step) > _TOO_LATE_S:
            lags.add(until - (began + count * step))
            count = self._leave_out(count, int((until - began) / step))
        for number in range(count, count + _MOST_IN_A_TICK):
            due = began + number * step
            if due > until:
                break
            caller = callers[number % everyone]
            count = number + 1
            if caller is not None:
                now = monotonic()
                lags.add(now - due)
                caller.speak(now)
        self._count = count

    def stop(self) -> int:
        """How many frames should have left by now, and did not."""
        self._ticks.stop()
        self._leave_out(self._count, int((monotonic() - self._began) / self._step))
        return self._left_out

    def _leave_out(self, first: int, end: int) -> int:
        everyone = len(self._callers)
        self._left_out += sum(self._callers[number % everyone] is not None for number in range(first, end))
        return max(first, end)


class Choir:
    """So many places for callers, who may come one by one; counted only while it is measured.

    While they do not speak, each says a frame as it joins, or an app that owes it a greeting would take its
    engine for dead, and then one now and then, after a rest at first.
    """

    def __init__(self, places: int) -> None:
        self.places: list[Caller | None] = [None] * places
        self._waits, self._lags, self._unmeasured = Histogram(), Histogram(), Histogram()
        self._turns: list[Histogram] = []
        self._is_measured = self._is_resting = False
        self._speaking: Speaking | None = None
        self._unsent = 0

    @property
    def callers(self) -> list[Caller]:
        return [caller for caller in self.places if caller is not None]

    def join(self, place: int, caller: Caller) -> None:
        self._measure(caller)
        self.places[place] = caller
        if self._is_resting:
            caller.speak(monotonic())

    def rest(self, stirs_every_s: float = _STIRS_EVERY_S) -> None:
        """Now and then a frame."""
        self.end()
        self._is_resting = True
        if self.places:
            begins_in_s = min(_REST_S, _LONGEST_S - stirs_every_s)
            self._speaking = Speaking(self.places, Histogram(), stirs_every_s, begins_in_s)

    def begin(self, is_measured: bool) -> None:
        """All speak."""
        self.end()
        self._is_measured, self._is_resting = is_measured, False
        if is_measured:
            self._turns.append(Histogram())
        for caller in self.callers:
            self._measure(caller)
        if self.places:
            self._speaking = Speaking(self.places, self._lags if is_measured else Histogram())

    def stop(self) -> None:
        """No more of ``begin``."""
        left_out = self.end()
        self._unsent += left_out if self._is_measured else 0
        self.rest()

    def end(self) -> int:
        """Silence; how many frames should have left and did not."""
        speaking, self._speaking = self._speaking, None
        return 0 if speaking is None else speaking.stop()

    @property
    def heard(self) -> int:
        return sum(caller.heard for caller in self.callers)

    @property
    def awaited(self) -> int:
        """Frames that may still come back."""
        return sum(caller.missing for caller in self.callers if not caller.closed.is_set())

    def figures(self) -> dict[str, Any]:
        """Counts of the whole run; waits and lags of what was measured, ``turns``: the waits of each turn."""
        total = Tally()
        for caller in self.callers:
            total.add(caller.counts())
        counts = total.counts()
        lost = {"lost": counts.pop("missing"), "unsent": self._unsent}
        waits = Histogram()
        for each in (self._waits, *self._turns):
            waits.include(each)
        turns = {"turns": [each.figures("wait", _PERCENTS) for each in self._turns]}
        return counts | lost | waits.figures("wait", _PERCENTS) | self._lags.figures("lag", _PERCENTS) | turns

    def _measure(self, caller: Caller) -> None:
        is_measured = self._is_measured or caller.waits_once
        measured = self._turns[-1] if self._is_measured else self._waits
        caller.waits = measured if is_measured else self._unmeasured

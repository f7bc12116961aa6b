"""A clock that ticks more finely than an event loop's timers, which know whole milliseconds only."""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable
from typing import ClassVar

_MONOTONIC, _NONBLOCK_CLOEXEC = 1, 0o2004000
_NS = 1_000_000_000


class _Timer(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class Ticks:
    """Calls back every so many seconds (Linux: ``timerfd_create(2)``); what was missed is not made up for.

    A timer that was stopped waits for the next who needs one: no files come and go between turns.
    """

    _idle: ClassVar[list[Ticks]] = []

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._callback: Callable[[], None] = _nothing
        self._file = self._libc.timerfd_create(_MONOTONIC, _NONBLOCK_CLOEXEC)
        if self._file < 0:
            raise OSError(ctypes.get_errno(), "no timer")
        asyncio.get_running_loop().add_reader(self._file, self._tick)

    @classmethod
    def every(cls, period_s: float, callback: Callable[[], None]) -> Ticks:
        ticks = cls._idle.pop() if cls._idle else cls()
        ticks._callback = callback
        ticks._set(period_s)
        return ticks

    def stop(self) -> None:
        self._set(0)
        self._callback = _nothing
        self._idle.append(self)

    def _set(self, period_s: float) -> None:
        seconds, fraction = divmod(round(period_s * _NS), _NS)
        timer = _Timer(seconds, fraction, seconds, fraction)
        if self._libc.timerfd_settime(self._file, 0, ctypes.byref(timer), None) < 0:
            raise OSError(ctypes.get_errno(), "a timer could not be set")

    def _tick(self) -> None:
        try:
            os.read(self._file, 8)
        except BlockingIOError:  # it was set anew since it was due
            return
        self._callback()


def _nothing() -> None:
    """Nobody waits for it."""

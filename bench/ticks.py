"""A clock that ticks more finely than an event loop's timers, which know whole milliseconds only."""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable

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
    """Calls back every so many seconds (Linux: ``timerfd_create(2)``); what was missed is not made up for."""

    def __init__(self, period_s: float, callback: Callable[[], None]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._callback, self._loop = callback, asyncio.get_running_loop()
        self._file = libc.timerfd_create(_MONOTONIC, _NONBLOCK_CLOEXEC)
        seconds, fraction = divmod(round(period_s * _NS), _NS)
        timer = _Timer(seconds, fraction, seconds, fraction)
        if self._file < 0 or libc.timerfd_settime(self._file, 0, ctypes.byref(timer), None) < 0:
            raise OSError(ctypes.get_errno(), "no timer")
        self._loop.add_reader(self._file, self._tick)

    def _tick(self) -> None:
        os.read(self._file, 8)
        self._callback()

    def stop(self) -> None:
        self._loop.remove_reader(self._file)
        os.close(self._file)

"""Clocks of other processes, and figures of many values."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process, to the nanosecond (Linux); 0 of one that is gone.

    The clock of another process is named as ``clock_getcpuclockid(3)`` does it;
    ``/proc/PID/stat`` counts in ticks of 10 ms, too coarse for a frame.
    """
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return 0.0


def held_up_seconds(pid: int) -> float:
    """How long a process's main thread could have run and had no core; 0 where the kernel does not say."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def children(pid: int) -> list[int]:
    """The processes that a process started and that are still there."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def resident_mb(pid: int) -> float:
    """Resident memory in MB; 0 of a process that is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    sizes = [line.split()[1] for line in lines if line.startswith("VmRSS:")]
    return int(sizes[0]) / 1024 if sizes else 0.0


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which so many percent lie; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(round(len(ordered) * percent / 100), len(ordered) - 1)] if ordered else 0.0

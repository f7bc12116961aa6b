"""Keeps a core from falling asleep, at a priority below everything else: `python bench/awake.py CORE`.

A virtual machine that wakes a sleeping core pays for it in its own time, tens of
microseconds charged to whatever runs next. An app that is idle half the time
would be measured by its pauses.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    parent = os.getppid()
    os.sched_setaffinity(0, {int(sys.argv[1])})
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    while os.getppid() == parent:  # also when nobody stops us
        for _ in range(1_000_000):
            pass


if __name__ == "__main__":
    main()

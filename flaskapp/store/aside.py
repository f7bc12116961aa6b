"""Work in C that may take long - on a disk, at somebody's lock - done beside the event loop, not in it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, ParamSpec, TypeVar

from flaskapp.phone.waiting import is_cooperative

#: A thread of its own for each that waits at the same time, and none of those that look up names.
THREADS = 4

Given = ParamSpec("Given")
Result = TypeVar("Result")


def aside(work: Callable[Given, Result], *given: Given.args, **named: Given.kwargs) -> Result:
    """What ``work`` gives back or raises; under gevent all other greenlets go on meanwhile.

    Args:
        work: lets go of the interpreter while it takes its time. What runs in Python there takes turns
            with the event loop, five milliseconds each.
    """
    if not is_cooperative():
        return work(*given, **named)
    result: Result = _threads().apply(work, given, named)
    return result


@cache
def _threads() -> Any:
    from gevent.threadpool import ThreadPool

    return ThreadPool(THREADS)

"""Work in C that may take long - on a disk, at somebody's lock - done beside the event loop, not in it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, ParamSpec, TypeVar, cast

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
    return _done("", work, given, named)


def at_the_disk(work: Callable[Given, Result], *given: Given.args, **named: Given.kwargs) -> Result:
    """The same for the disk that sound is kept on, in threads of its own: when it hangs, others do not."""
    return _done("sound", work, given, named)


def _done(pool: str, work: Callable[..., Result], given: tuple[Any, ...], named: dict[str, Any]) -> Result:
    if not is_cooperative():
        return work(*given, **named)
    result, error = _threads(pool).apply(_tried, (work, given, named))
    if error is not None:
        raise error
    return cast(Result, result)


def _tried(
    work: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]
) -> tuple[Any, Exception | None]:
    """Of what is raised in its threads gevent prints all there is to say, whoever waits for it."""
    try:
        return work(*given, **named), None
    except Exception as error:  # whoever asked for the work knows what it means
        return None, error


@cache
def _threads(pool: str) -> Any:
    from gevent.threadpool import ThreadPool

    return ThreadPool(THREADS)

"""What may delay the frames of calls that speak: the same calls without it, then with it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from disturbances import Joining, Ringing, database_held, line_slowed
from rows import Window, fault, rows
from run import Run
from subjects import Stream, Subject

QUIET_CALLS = 60
CALLS = 50
TURN_S = 4.0
WORDS_EVERY_S = 2.0  # each says so often: the history, the feed and Redis have something to do
TOOLS_EVERY_S = 2.0
PER_S = 20  # calls that open; readers that join
DISTURBED = "product, disturbed"
SLOW_S = 0.2
HELD_S = 2.0

Found = dict[str, Any]
Disturbs = Callable[[Subject, list[Stream]], AbstractContextManager[object]]


def opening(run: Run, options: argparse.Namespace) -> Found:
    """Sixty calls on a quiet core; then fifty, while twenty more are opened every second."""
    run.say(f"{QUIET_CALLS} calls, nothing else")
    quiet = rows(run.measure("quiet", ("product", "load alone"), QUIET_CALLS, 8.0, 2.0))
    ramp = {"calls": PER_S * TURN_S, "per_s": PER_S, "in_turn": 1}
    found = _beside(run, f"{PER_S} calls a second open", _rings, ramp=ramp)
    return {"rows": quiet} | found


def viewer(run: Run, options: argparse.Namespace) -> Found:
    """Readers join the transcripts of calls on which people speak."""
    return _beside(
        run, f"{PER_S} readers a second join", lambda subject, streams: Joining(subject, streams, PER_S)
    )


def tool(run: Run, options: argparse.Namespace) -> Found:
    """Every call has a function carried out now and then, which takes half a second."""
    when = {"tools_every_s": TOOLS_EVERY_S, "tools_from_s": options.warm_up + TURN_S}
    return _beside(run, "tools are called", None, name=DISTURBED, **when)


def slow_redis(run: Run, options: argparse.Namespace) -> Found:
    """Redis answers late, whatever it is asked."""
    if run.subject(DISTURBED).line is None:
        return {"left_out": "a slow Redis needs a Redis, and there is no redis-server here"}
    what = f"Redis answers {SLOW_S * 1000:.0f} ms late"
    return _beside(run, what, lambda subject, _: line_slowed(subject.line, SLOW_S), name=DISTURBED)


def slow_database(run: Run, options: argparse.Namespace) -> Found:
    """Somebody else holds the database's lock for two seconds."""
    what = f"somebody holds the database for {HELD_S:g} s"
    return _beside(run, what, lambda subject, _: database_held(subject.database, HELD_S))


def _rings(subject: Subject, streams: list[Stream]) -> AbstractContextManager[object]:
    return Ringing(subject, PER_S)


def _beside(run: Run, what: str, disturbs: Disturbs | None, *, name: str = "product", **order: Any) -> Found:
    """The standing calls' waits in a turn without it and in one with it."""
    run.say(f"{CALLS} calls, then {what}")
    subject = run.subject(name)
    with ExitStack() as stack:

        def begin(number: int, streams: list[Stream]) -> None:
            if number == 1 and disturbs is not None:
                stack.enter_context(disturbs(subject, streams))

        order = {"words_every_s": WORDS_EVERY_S, **order}
        (window,) = run.measure(what, (name,), CALLS, 2 * TURN_S, TURN_S, on_turn=begin, **order)
    return {"what": what, "calls": CALLS} | _waits(window)


def _waits(window: Window) -> Found:
    """What became of both turns."""
    (row,) = rows([window])
    if "error" in row:
        return {"error": row["error"]}
    without, beside = window["turns"]
    return {"without": without, "with": beside, "fault": fault(row)}


DELAYS: dict[str, Callable[[Run, argparse.Namespace], Found]] = {
    "opening": opening,
    "viewer": viewer,
    "tool": tool,
    "slow-redis": slow_redis,
    "slow-database": slow_database,
}

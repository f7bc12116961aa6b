"""What is measured, one scenario after the other: each gives a dictionary for the report."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

from delays import DELAYS
from lineup import groups, has_peers
from rows import Window, fault, load_is_the_limit, ratios, rows, spread
from run import Run, of_scenario
from search import highest

P99_BELOW_MS = 20.0
HIGHEST_NAMES = ("product", "product over TLS", "floor", "floor over TLS", "FastAPI sample", "plain Flask")
HIGHEST_CAP = 1000
HIGHEST_TURN_S = 2.0
HIGHEST_SECONDS = 4.0
HIGHEST_WITHIN_S = 60.0
HIGHEST_START = 50
WORKERS_CALLS = 100
IDLE_CALLS, BESIDE_IDLE = 1000, 50

Found = dict[str, Any]


def echo(run: Run, options: argparse.Namespace) -> Found:
    """Every subject at each number of calls that it can carry."""
    left_out: dict[str, str] = {}
    for calls in options.calls:
        for _ in range(options.rounds):
            for group in groups(options.quick):
                names = [name for name in group if name not in left_out]
                if not set(names) - {"floor", "load alone"}:
                    continue
                run.say(f"echo, {calls} calls: {', '.join(names)}")
                seconds, turn_s = _paces(options, len(names))
                run.measure("echo", names, calls, seconds, turn_s, warm_up=options.warm_up)
        for row in rows(of_scenario(run.windows, "echo")):
            if row["calls"] == calls and (why := fault(row)) and row["name"] != "load alone":
                left_out.setdefault(row["name"], f"{why} at {calls} calls")
    return {"rows": rows(of_scenario(run.windows, "echo")), "left_out": left_out}


def _paces(options: argparse.Namespace, subjects: int) -> tuple[float, float]:
    """Seconds in all and in a turn: where more than two speak, each has less, or nobody would wait for it."""
    if subjects <= 2:
        return options.seconds, min(options.turn, options.seconds)
    seconds = options.seconds * 2 / 3
    return seconds, min(options.turn / 2, seconds)


def most_calls(run: Run, options: argparse.Namespace) -> Found:
    """Of each subject the highest number with added p99 below 20 ms and nothing lost."""
    return {name: _most_calls(run, name) for name in (*HIGHEST_NAMES, *(["Pipecat"] if has_peers() else []))}


def _most_calls(run: Run, name: str) -> Found:
    run.subject(name)  # its start is not search
    until = time.monotonic() + HIGHEST_WITHIN_S
    tried: list[Found] = []

    def passes(calls: int) -> bool:
        for _ in range(2):  # a machine that stood still for a moment is no subject's fault
            run.say(f"highest number of calls of {name}: {calls}")
            tried.append(_try(run, name, calls))
            if not tried[-1]["why"]:
                return True
            if tried[-1]["is_final"] or time.monotonic() > until:
                break
        return False

    start = _estimate(run, name)
    found = highest(passes, start, HIGHEST_CAP, lambda: time.monotonic() < until)
    best = max((each for each in tried if not each["why"]), key=lambda each: each["calls"], default=None)
    worst = min(
        (each for each in tried if each["calls"] == found.failed and each["why"]),
        key=lambda each: each["calls"],
        default=None,
    )
    return {
        "calls": found.passed,
        "failed_at": found.failed,
        "because": worst["why"] if worst else "",
        "is_loads_limit": bool(worst and worst["is_loads_limit"]),
        "is_capped": found.passed >= HIGHEST_CAP,
        "row": best["row"] if best else None,
    }


def _estimate(run: Run, name: str) -> int:
    """Half of what its cost says would fill the core: a number that it should carry."""
    known = [row for row in rows(of_scenario(run.windows, "echo")) if row["name"] == name]
    costs = [row["cpu_s_per_call_minute"] for row in known if "error" not in row]
    return max(min(int(30 / costs[-1] // 10 * 10), HIGHEST_CAP), 10) if costs else HIGHEST_START


def _try(run: Run, name: str, calls: int) -> Found:
    """One try: its row, and why it does not count; ``is_final``: another try would say the same."""
    names, scenario = (name, "load alone"), f"highest {name} {calls}"
    before = len(run.windows)
    run.measure(scenario, names, calls, HIGHEST_SECONDS, HIGHEST_TURN_S)
    row, base = rows(run.windows[before:])
    why, is_final, limited = fault(row), "error" in row, load_is_the_limit(base)
    if "error" not in row:
        limited = limited or load_is_the_limit(row)
        is_final = row["core"] > 0.95
        if not why and row.get("added_p99_ms", 0.0) >= P99_BELOW_MS:
            why = f"{row['added_p99_ms']:.0f} ms added at p99"
    return {"calls": calls, "row": row, "why": why, "is_final": is_final, "is_loads_limit": limited}


def workers(run: Run, options: argparse.Namespace) -> Found:
    """Two workers at half the calls each, beside one with all of them."""
    names = ("product, two workers", "product")
    if not run.subject("product").beside:
        return {"left_out": "two workers need a Redis, and there is no redis-server here"}
    run.say(f"two workers, {WORKERS_CALLS} calls together")
    windows = run.measure("workers", names, WORKERS_CALLS, max(options.seconds, 12.0), 3.0)
    return _compared(windows)


def _compared(windows: list[Window]) -> Found:
    """The first subject beside the second."""
    found = ratios(windows[:1], windows[1:2])
    return {"rows": rows(windows), **({"ratio": spread(found)} if found else {})}


def idle(run: Run, options: argparse.Namespace) -> Found:
    """Speaking calls beside a thousand that are open and silent; and what a silent one keeps."""
    names = ("product, idle calls", "product")
    with_idle = {"product, idle calls": IDLE_CALLS}
    run.say(f"{BESIDE_IDLE} calls beside {IDLE_CALLS} idle ones")
    # Of one process, with the same calls speaking: what all calls share is there already.
    (before,) = run.measure("before idle calls", names[:1], BESIDE_IDLE, 8.0, 2.0)
    windows = run.measure("idle", names, BESIDE_IDLE, 8.0, 2.0, idle=with_idle)
    # What an open call keeps, and what it takes at the most that all of them begin, and end, at once.
    kept_mb, most_mb = (windows[0][what] - before[what] for what in ("held_mb", "rss_mb"))
    return _compared(windows) | {
        "kb_per_idle_call": max(kept_mb, 0.0) * 1024 / IDLE_CALLS,
        "kb_per_idle_call_at_most": max(most_mb, 0.0) * 1024 / IDLE_CALLS,
    }


SCENARIOS: dict[str, Callable[[Run, argparse.Namespace], Found]] = {
    "echo": echo,
    "workers": workers,
    "idle": idle,
    **DELAYS,
    "highest": most_calls,
}

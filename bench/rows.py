"""Windows of counts turned into figures: what a subject cost, how late it was, what it lost."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from measure import percentile

PAIRS_PER_MINUTE = 3000
FULL_FROM = 0.95
LOAD_FULL_FROM = 0.9
LOAD_LAGS_FROM_MS = 5.0
LOSSES = ("lost", "doubled", "reordered", "ended")
COUNTED = ("sent", *LOSSES, "foreign")

Window = dict[str, Any]
Row = dict[str, Any]


def rows(windows: Sequence[Window]) -> list[Row]:
    """A row for every subject at every number of calls, in the order in which they came first.

    A window: what the load generator counted of a subject in one order, and its ``name``, ``floor``,
    ``calls``, ``order`` (which one), ``unit_us``, ``is_paced``, and its memory: ``idle_mb`` (before its
    first call), ``held_mb`` (the most while its calls are open), ``rss_mb`` (while they begin and end, too).
    """
    keys = sorted(dict.fromkeys((each["calls"], each["name"]) for each in windows), key=lambda key: key[0])
    found = []
    for calls, name in keys:
        own = [each for each in windows if (each["calls"], each["name"]) == (calls, name)]
        row = _row(own) | _beside_floor(own, windows) | _added(own, windows)
        fewer = [each for each in found if each["name"] == name and "error" not in each]
        found.append(row | _memory(row, fewer[-1] if fewer else None))
    return found


def _memory(row: Row, fewer: Row | None) -> Row:
    """What each call more takes; beside the step before, for the first call loads what all need."""
    if "error" in row:
        return {}
    base_mb, base_calls = (fewer["rss_mb"], fewer["calls"]) if fewer else (row["idle_mb"], 0)
    return {"kb_per_call": max(row["rss_mb"] - base_mb, 0.0) * 1024 / (row["calls"] - base_calls)}


def _row(own: list[Window]) -> Row:
    newest = own[-1]
    row: Row = {"name": newest["name"], "calls": newest["calls"], "is_paced": newest["is_paced"]}
    errors = [each["error"] for each in own if "error" in each]
    whole = [each for each in own if "error" not in each]
    if any(cost < 0 for cost in _costs(whole)):
        errors.append("its process ended")
    if errors or not whole:
        return row | {"error": (errors or ["nothing was counted"])[0]}
    costs = _costs(whole)
    row |= {
        "cpu_s_per_call_minute": _call_minute(statistics.median(costs)),
        "least": _call_minute(min(costs)),
        "most": _call_minute(max(costs)),
        "units": statistics.median(statistics.median(each["turns_us"]) / each["unit_us"] for each in whole),
        "core": statistics.median(share(each, "cpu_s") for each in whole),
        "held_up": max(share(each, "held_up_s") for each in whole),
        "load_held_up": max(share(each, "load_held_up_s") for each in whole),
        "load_core": max(share(each, "load_cpu_s") for each in whole),
        "idle_mb": newest["idle_mb"],
        "rss_mb": max(each["rss_mb"] for each in whole),
    }
    if beside_s := sum(each.get("beside_s", 0.0) for each in whole):
        row["redis_s_per_call_minute"] = _call_minute(beside_s / sum(each["pairs"] for each in whole) * 1e6)
    for figure in ("wait_p50_ms", "wait_p95_ms", "wait_p99_ms", "lag_p99_ms", "opened_p99_ms"):
        row[figure] = statistics.median(each[figure] for each in whole)
    for figure in COUNTED:
        row[figure] = sum(each[figure] for each in whole)
    return row


def _call_minute(us_per_pair: float) -> float:
    return us_per_pair * PAIRS_PER_MINUTE / 1e6


def share(window: Window, clock: str) -> float:
    """How much of its time a clock of this window ran."""
    return float(window[clock] / window["wall_s"]) if window["wall_s"] else 0.0


def ratios(own: Sequence[Window], others: Sequence[Window]) -> list[float]:
    """Turn by turn: turns of the same number in the same order stood side by side."""
    beside = {each["order"]: each for each in others if "error" not in each}
    return [
        mine / theirs
        for each in own
        if "error" not in each and each["order"] in beside
        for mine, theirs in zip(each["turns_us"], beside[each["order"]]["turns_us"], strict=True)
        if theirs
    ]


def spread(values: Sequence[float]) -> dict[str, float]:
    """The median, and what four of five lie between."""
    return {
        "median": statistics.median(values),
        "p10": percentile(values, 10),
        "p90": percentile(values, 90),
    }


def _beside_floor(own: list[Window], windows: Sequence[Window]) -> Row:
    floor = own[-1]["floor"]
    found = ratios(own, [each for each in windows if each["name"] == floor])
    if not found:
        return {"floor": floor}
    least = [min(_costs(each)) for each in (own, [each for each in windows if _is_beside(each, own)])]
    return {"floor": floor, "of_floor": spread(found) | {"quietest": least[0] / least[1]}}


def _is_beside(window: Window, own: list[Window]) -> bool:
    orders = {each["order"] for each in own}
    return window["name"] == own[-1]["floor"] and window["order"] in orders and "error" not in window


def _costs(windows: Sequence[Window]) -> list[float]:
    return [cost for each in windows if "error" not in each for cost in each["turns_us"]]


def _added(own: list[Window], windows: Sequence[Window]) -> Row:
    """What the load generator itself takes at that many calls is nobody's fault."""
    calls = own[-1]["calls"]
    base = [
        each
        for each in windows
        if each["name"] == "load alone" and each["calls"] == calls and "error" not in each
    ]
    whole = [each for each in own if "error" not in each]
    if not (base and whole) or own[-1]["is_paced"]:
        return {}
    added = {}
    for figure in ("p50_ms", "p95_ms", "p99_ms"):
        waited = statistics.median(each[f"wait_{figure}"] for each in whole)
        taken = statistics.median(each[f"wait_{figure}"] for each in base)
        added[f"added_{figure}"] = max(waited - taken, 0.0)
    return added


def fault(row: Row) -> str:
    """Why this subject is not measured with more calls; empty if it may be."""
    if "error" in row:
        return f"failed: {row['error']}"
    losses = ", ".join(f"{row[name]} {name}" for name in LOSSES if row[name])
    if losses:
        return losses
    return "its core is full" if row["core"] > FULL_FROM and row["name"] != "load alone" else ""


def load_is_the_limit(row: Row) -> bool:
    """Whether the load generator could not keep up: latencies mean nothing then."""
    if "error" in row:
        return False
    return bool(row["lag_p99_ms"] > LOAD_LAGS_FROM_MS or row["load_core"] > LOAD_FULL_FROM)

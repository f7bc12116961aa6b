"""The figures of a run: tables for people, a dictionary for programs."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rows import Row, fault, load_is_the_limit
from targets import targets

PACKAGES = (
    *("flask", "gevent", "gunicorn", "flask-sock", "openai", "websockets", "msgspec", "redis"),
    *("picows", "uvloop", "fastapi", "uvicorn"),
)
HELD_UP_FROM = 0.05
UNSTEADY_FROM = 1.25

Found = dict[str, Any]


def figures(
    results: dict[str, Found], windows: Sequence[Found], started: Found, units: list[float], settings: Found
) -> Found:
    """Everything that was measured, summed up; the windows that it was summed up from."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {_processor()}, {os.cpu_count()} cores",
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "settings": settings,
        "calibration_us": units,
        "started": started,
        **results,
        "targets": [asdict(each) for each in targets(results, started)],
        "windows": list(windows),
    }


def _processor() -> str:
    """As Linux names it; whoever compares machines wants to know."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


HEADS = (
    *(
        "",
        "calls",
        "CPU s/call-min",
        "Redis s",
        "of floor",
        "4 of 5",
        "quietest",
        "core %",
        "+p50 ms",
        "+p95 ms",
        "+p99 ms",
    ),
    *("kB/call", "lost", "doubled", "reordered"),
)


def printed(run: Found) -> str:
    """What people read: tables in Markdown, remarks, targets."""
    parts = []
    if "echo" in run:
        parts.append(aligned(HEADS, [_cells(row) for row in run["echo"]["rows"]]))
    if "highest" in run:
        parts.append(aligned(HIGHEST_HEADS, [_highest(*item) for item in run["highest"].items()]))
    beside = [row for name in ("workers", "idle", "opening") for row in run.get(name, {}).get("rows", ())]
    if beside:
        parts.append(aligned(HEADS, [_cells(row) for row in beside]))
    if delays := [found for found in map(run.get, DELAYS) if found and "with" in found]:
        parts.append(aligned(DELAY_HEADS, [_delay(found) for found in delays]))
    parts.append("\n".join(_remarks(run)))
    verdicts = [
        [each["what"], each["promised"], each["measured"], VERDICTS[each["is_met"]]]
        for each in run["targets"]
    ]
    parts.append(aligned(("target", "", "measured", ""), verdicts))
    return "\n\n".join(parts)


SHOWN = ("what", "promised", "measured")
VERDICTS = {True: "met", False: "MISSED", None: "not measured"}
DELAYS = ("opening", "viewer", "tool", "slow-redis", "slow-database")
DELAY_HEADS = ("a frame there and back, ms", "p50", "p99", "longest", "without it: p50", "p99", "longest")
HIGHEST_HEADS = ("highest number of calls", "", "CPU s/call-min", "core %", "+p99 ms", "what came then")


def _cells(row: Row) -> list[str]:
    if "error" in row:
        return [row["name"], str(row["calls"]), f"failed: {row['error']}", *[""] * (len(HEADS) - 3)]
    of_floor = row.get("of_floor")
    is_app = row["name"] != "load alone"
    waits = [f"{row[f'added_{each}']:.2f}" if f"added_{each}" in row and is_app else "" for each in WAITS]
    return [
        row["name"],
        str(row["calls"]),
        f"{row['cpu_s_per_call_minute']:.3f}",
        f"{row['redis_s_per_call_minute']:.3f}" if "redis_s_per_call_minute" in row else "",
        f"{of_floor['median']:.2f}" if of_floor and is_app else "",
        f"{of_floor['p10']:.2f}-{of_floor['p90']:.2f}" if of_floor and is_app else "",
        f"{of_floor['quietest']:.2f}" if of_floor and is_app else "",
        f"{row['core'] * 100:.0f}",
        *(waits if is_app else [f"({row[f'wait_{each}']:.2f})" for each in WAITS]),
        f"{row['kb_per_call']:.0f}" if is_app else "",
        *(str(row[each]) for each in ("lost", "doubled", "reordered")),
    ]


WAITS = ("p50_ms", "p95_ms", "p99_ms")


def _highest(name: str, found: Found) -> list[str]:
    row = found["row"] or {}
    more = "or more" if found["is_capped"] or found["is_loads_limit"] else ""
    then = "no more were tried" if found["is_capped"] else f"{found['failed_at']}: {found['because']}"
    if found["is_loads_limit"]:
        then += " (the load generator's limit)"
    elif not found["failed_at"] and not found["is_capped"]:
        then = "no time for more"
    return [
        name,
        f"{found['calls']} {more}".strip(),
        f"{row['cpu_s_per_call_minute']:.3f}" if row else "",
        f"{row['core'] * 100:.0f}" if row else "",
        f"{row['added_p99_ms']:.1f}" if "added_p99_ms" in row else "",
        then,
    ]


def _delay(found: Found) -> list[str]:
    """A line of the table of what delays frames."""
    waits = [found[turn][f"wait_{each}_ms"] for turn in ("with", "without") for each in ("p50", "p99", "max")]
    return [f"{found['calls']} calls, {found['what']}", *(f"{each:.1f}" for each in waits)]


def aligned(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Pipes, aligned: a terminal shows it as a page does."""
    cells = [list(heads), *map(list, lines)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(heads))]
    rule = ["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]
    shown = [
        "| " + " | ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) + " |"
        for line in cells
    ]
    return "\n".join([shown[0], "|" + "|".join(rule) + "|", *shown[1:]])


def _remarks(run: Found) -> list[str]:
    settings, units = run["settings"], run["calibration_us"]
    said = [
        f"{run['date']}, {run['machine']}, Python {run['python']}; "
        f"{'apps on one core, load on another' if settings['pinned'] else 'not pinned'}, "
        f"{settings['redis']}.",
        "A call brings 50 frames a second, and each comes back. Latencies are added to those of 'load alone'"
        " (in brackets).",
        f"Calibration (a fixed Python loop): {units[0]:.0f} us before, {units[-1]:.0f} us after,"
        f" {min(units):.0f}-{max(units):.0f} between.",
    ]
    if max(units) > min(units) * UNSTEADY_FROM:
        said.append("The machine's speed changed while it was measured: only ratios mean something.")
    for row in _all_rows(run):
        said += _about(row)
    for name, why in run.get("echo", {}).get("left_out", {}).items():
        said.append(f"{name!r} was left out above: {why}.")
    for name in ("workers", *DELAYS):
        said += [run[name][what] for what in ("left_out", "error", "fault") if run.get(name, {}).get(what)]
    return said


def _all_rows(run: Found) -> list[Row]:
    scenarios = [run.get(name, {}).get("rows", ()) for name in ("echo", "workers", "idle", "opening")]
    best = [found["row"] for found in run.get("highest", {}).values() if found["row"]]
    return [row for rows in scenarios for row in rows] + best


def _about(row: Row) -> list[str]:
    """What must be known of a row before it is believed."""
    who = f"{row['name']!r} at {row['calls']} calls"
    if "error" in row:
        return [f"{who} failed: {row['error']}"]
    said = []
    if load_is_the_limit(row):
        said.append(
            f"The load generator was the limit beside {who}: frames left {row['lag_p99_ms']:.1f} ms late at"
            f" p99, {row['load_core'] * 100:.0f} % of its core, for which it waited"
            f" {row['load_held_up'] * 100:.0f} % of the time. Latencies mean nothing there."
        )
    if row["held_up"] > HELD_UP_FROM:
        said.append(
            f"{who} had to wait for its core {row['held_up'] * 100:.0f} % of the time: others run here."
        )
    if row["foreign"]:
        said.append(
            f"{who}: {row['foreign']} messages were none of these calls' sound, as when an app speaks itself."
        )
    if why := fault(row):
        said.append(f"{who}: {why}.")
    return said

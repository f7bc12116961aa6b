"""The short table of a run for the README, between two marks: what each subject costs, carries and takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from report import aligned
from rows import Row

BEGIN, END = "<!-- bench: begin -->\n", "<!-- bench: end -->\n"


def publish(run: dict[str, Any], page: Path) -> None:
    """Put it there.

    Raises:
        ValueError: the page has no place for it.
    """
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page.name} has no place for the table: {BEGIN.strip()} and {END.strip()}")
    page.write_text(before + BEGIN + "\n" + short(run) + "\n\n" + END + after)


def short(run: dict[str, Any]) -> str:
    """A line for each subject: CPU seconds per call-minute (and how many floors) at each step."""
    steps = run.get("settings", {}).get("calls", [])
    rows = {(row["name"], row["calls"]): row for row in run.get("echo", {}).get("rows", ())}
    names = [name for name in dict.fromkeys(name for name, _ in rows) if name != "load alone"]
    heads = ("CPU s per call-minute (of floor)", *(f"{calls} calls" for calls in steps))
    usual = f"{_calls(steps)} calls"
    most = f"{max(steps, default=0)} calls"
    rest = (
        *(f"its Redis, {usual}", f"added p99, {usual}", f"memory of a call more, {most}"),
        "highest number of calls",
    )
    lines = [[name, *_line(name, rows, steps), _highest(run.get("highest", {}).get(name))] for name in names]
    when = f"{run['date']}, {run['machine']}, Python {run['python']}, one core for each."
    return f"{aligned((*heads, *rest), lines)}\n\n{when}"


def _calls(steps: list[int]) -> int:
    """At which step latency and memory are told: fifty, where everybody is still there, or the nearest."""
    return min(steps, key=lambda calls: abs(calls - 50), default=0)


def _line(name: str, rows: dict[tuple[str, int], Row], steps: list[int]) -> list[str]:
    usual = rows.get((name, _calls(steps)), {})
    late = usual.get("added_p99_ms")
    # At the last step: the first ones carry what is loaded once.
    size = rows.get((name, max(steps, default=0)), {}).get("kb_per_call")
    redis_s = usual.get("redis_s_per_call_minute")
    return [
        *(_cost(rows.get((name, calls))) for calls in steps),
        "" if redis_s is None else f"+ {redis_s:.3f}",
        "" if late is None else f"{late:.1f} ms",
        "" if size is None else f"{size:.0f} kB",
    ]


def _cost(row: Row | None) -> str:
    if row is None or "error" in row:
        return "-"
    of_floor = f" ({row['of_floor']['median']:.2f})" if "of_floor" in row else ""
    return f"{row['cpu_s_per_call_minute']:.3f}{of_floor}"


def _highest(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    return f"{found['calls']}{' or more' if found['is_capped'] or found['is_loads_limit'] else ''}"

"""``flask phone load``: many calls at once behind a progress bar, then their percentiles."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from flaskapp.simulator import process, tables
from flaskapp.simulator.orders import Order


def load(order: Order, *, as_json: bool = False) -> int:
    """Places the calls side by side and shows their figures; 0 if none failed, else 1."""
    console, errors = Console(soft_wrap=True), Console(stderr=True, soft_wrap=True)
    try:
        summary = _placed(order, errors)
    except process.SimulatorFailed as error:
        errors.print(str(error), markup=False, highlight=False)
        return 1
    if as_json:
        print(json.dumps(summary, indent=2))
    else:
        console.print(tables.figures(summary, plain=not console.is_terminal))
        console.print(
            f"calls: {summary['calls']}, failed {summary['failed']}; turns without an answer: "
            f"{summary['unanswered_turns']}; frames: {summary['frames']}, over 10 ms late "
            f"{summary['late_frames']}, lost {summary['lost_frames']}",
            highlight=False,
        )
        if order.carrier == "exotel":
            console.print(tables.rules(summary), highlight=False)
    for reason, count in summary["reasons"].items():
        errors.print(f"{count} failed: {reason}", markup=False, highlight=False)
    return 1 if summary["failed"] else 0


def _placed(order: Order, console: Console) -> dict[str, Any]:
    """Runs the calls; the bar is on stderr, so that stdout holds nothing but results."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    summary: dict[str, Any] = {}
    talking: set[str] = set()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("ringing", total=order.calls)
        for event in process.events(order):
            kind = event.get("event")
            if kind == "answered":
                talking.add(event["call_sid"])
            if kind == "ended":
                talking.discard(event["call_sid"])
            bar.update(task, advance=int(kind == "ended"), description=f"{len(talking)} talking")
            summary = event if kind == "summary" else summary
    return summary

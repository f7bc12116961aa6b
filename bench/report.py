"""The figures of a run: a table for people, a dictionary for programs."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import statistics
from typing import Any

from measure import percentile

TARGET = 0.25
PACKAGES = ("flask", "gevent", "gunicorn", "flask-sock", "openai", "websockets", "msgspec")
LAGS_FROM_MS = 5.0
FULL_FROM = 0.9
HELD_UP_FROM = 0.05

Window = dict[str, Any]


def figures(windows: dict[str, list[Window]], settings: dict[str, Any]) -> dict[str, Any]:
    """Everything that was measured, per subject and summed up."""
    rows = {name: _row(of_subject) for name, of_subject in windows.items()}
    base, plain_turns = rows["load alone"], _turns(windows["plain relay"])
    for name, row in rows.items():
        row["added_p50_ms"] = max(row["wait_p50_ms"] - base["wait_p50_ms"], 0.0)
        row["added_p99_ms"] = max(row["wait_p99_ms"] - base["wait_p99_ms"], 0.0)
        ratios = [mine / plain for mine, plain in zip(_turns(windows[name]), plain_turns, strict=True)]
        row["of_plain_relay"] = statistics.median(ratios)
        row["of_plain_relay_most"] = [percentile(ratios, 10), percentile(ratios, 90)]
        row["of_plain_relay_least"] = row["us_least"] / rows["plain relay"]["us_least"]
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "settings": settings,
        "target": TARGET,
        "is_met": rows["product"]["of_plain_relay"] <= TARGET,
        "subjects": rows,
        "windows": windows,
    }


def _turns(windows: list[Window]) -> list[float]:
    """Costs of a pair, turn by turn; turns of the same number stood side by side."""
    return [cost for each in windows for cost in each["turns_us"]]


def _row(windows: list[Window]) -> dict[str, Any]:
    costs = _turns(windows)
    row = {
        "us_per_pair": statistics.median(costs),
        "us_least": min(costs),
        "us_most": max(costs),
        "units": statistics.median(statistics.median(each["turns_us"]) / each["unit_us"] for each in windows),
        "unit_us": statistics.median(each["unit_us"] for each in windows),
        "core": statistics.median(each["cpu_s"] / each["wall_s"] for each in windows),
        "held_up": max(each["held_up_s"] / each["wall_s"] for each in windows),
        "rss_mb": windows[-1]["rss_mb"],
    }
    for name in ("wait_p50_ms", "wait_p99_ms", "lag_p99_ms"):
        row[name] = statistics.median(each[name] for each in windows)
    for name in ("sent", "lost", "doubled", "reordered", "foreign", "ended"):
        row[name] = sum(each[name] for each in windows)
    row["load_core"] = max(each["load_cpu_s"] / each["wall_s"] for each in windows)
    return row


HEADS = (
    *("µs CPU/pair", "least-most", "of plain", "of unit", "core %"),
    *("added p50 ms", "p99 ms", "lost", "doubled", "reordered", "RSS MB"),
)


def table(run: dict[str, Any]) -> str:
    """What people read."""
    lines = [["", *HEADS]]
    for name, row in run["subjects"].items():
        is_app = name != "load alone"
        wait = ("added_p50_ms", "added_p99_ms") if is_app else ("wait_p50_ms", "wait_p99_ms")
        lines.append(
            [
                name,
                f"{row['us_per_pair']:.1f}",
                f"{row['us_least']:.1f}-{row['us_most']:.1f}",
                f"{row['of_plain_relay']:.3f}" if is_app else "",
                f"{row['units']:.3f}",
                f"{row['core'] * 100:.0f}",
                *(f"{row[each]:.2f}" for each in wait),
                *(str(row[each]) for each in ("lost", "doubled", "reordered")),
                f"{row['rss_mb']:.0f}" if is_app else "",
            ]
        )
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    rows = [
        "  ".join(
            [line[0].ljust(widths[0])] + [cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True)]
        )
        for line in lines
    ]
    return "\n".join([*rows, "", *_remarks(run)])


def _remarks(run: dict[str, Any]) -> list[str]:
    rows, settings = run["subjects"], run["settings"]
    units = [each["unit_us"] for windows in run["windows"].values() for each in windows]
    said = [
        "A pair is one 20 ms frame in and one back. 'load alone' relays nothing: others add to its waits.",
        f"{settings['calls']} calls, {settings['rounds']} x {settings['seconds']:g} s each, interleaved;"
        f" unit (a fixed Python loop) {statistics.median(units):.1f} µs, {min(units):.1f}-{max(units):.1f};"
        f" {'pinned' if settings['pinned'] else 'not pinned'},"
        f" {'kept awake' if settings['awake'] else 'may fall asleep'};"
        f" Python {run['python']}, {run['machine']}.",
    ]
    for name, row in rows.items():
        if row["lag_p99_ms"] > LAGS_FROM_MS or row["load_core"] > FULL_FROM:
            said.append(
                f"The load generator lagged beside {name!r}: {row['lag_p99_ms']:.1f} ms at p99,"
                f" {row['load_core'] * 100:.0f} % of a core. Latencies mean nothing; try fewer --calls."
            )
        if row["core"] > FULL_FROM and name != "load alone":
            said.append(f"{name!r} filled its core: fewer --calls give its true latency.")
        if row["ended"]:
            said.append(
                f"{name!r} ended {row['ended']} calls itself: a machine that stood still? Run it again."
            )
        if row["foreign"]:
            said.append(f"{name!r}: {row['foreign']} frames came back on a wrong call or changed.")
        if row["held_up"] > HELD_UP_FROM:
            said.append(
                f"{name!r} had to wait for its core {row['held_up'] * 100:.0f} % of the time: others run"
                " here, too. They spoil its caches and latencies."
            )
    product, verdict = rows["product"], "met" if run["is_met"] else "MISSED"
    least, most = product["of_plain_relay_most"]
    said.append(
        f"Target {verdict}: the product costs {product['of_plain_relay']:.3f} of the plain relay, at most"
        f" {TARGET} (four turns of five: {least:.3f}-{most:.3f};"
        f" each at its quietest: {product['of_plain_relay_least']:.3f})."
    )
    return said

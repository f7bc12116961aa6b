"""Draws the curves of a run: `python bench/curves.py instance/bench.json --to FOLDER`.

Two pictures: CPU per call-minute, and the latency that is added at p99, each
over the number of calls, a line for every subject.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INCHES, DOTS_PER_INCH = (7.2, 4.2), 90
NO_FRAME = ("top", "right")
#: One look in both pictures, told apart without colours, too.
LOOKS = {
    "product": ("#b3261e", "o", "-"),
    "product over TLS": ("#b3261e", "s", "--"),
    "product, Exotel": ("#e08a00", "D", "-"),
    "plain Flask": ("#6a4fa3", "v", "-"),
    "FastAPI sample": ("#1f6fb2", "^", "-"),
    "Pipecat": ("#7a7a7a", "P", "-"),
    "floor": ("#2e7d32", "o", "-"),
    "floor over TLS": ("#2e7d32", "s", "--"),
}
PLAIN_LOOK = ("#444444", "x", ":")


@dataclass(frozen=True)
class Picture:
    """What a picture shows, and of which figure of a row; ``limit``: a line that is promised, 0: none."""

    file: str
    title: str
    unit: str
    figure: str
    limit: float = 0.0


PICTURES = (
    Picture(
        "bench-cpu.png", "What a call costs", "CPU seconds per call-minute (log)", "cpu_s_per_call_minute"
    ),
    Picture("bench-latency.png", "How late a frame is", "added at p99, ms (log)", "added_p99_ms", limit=20.0),
)
LEAST_SHOWN = 0.02

Points = dict[str, list[tuple[int, float]]]


def points(run: dict[str, Any], figure: str) -> Points:
    """Subject -> (calls, value) by rising calls: every step, and the highest number, if it was found."""
    rows = list(run.get("echo", {}).get("rows", ()))
    rows += [found["row"] for found in run.get("highest", {}).values() if found["row"]]
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        if row["name"] != "load alone" and figure in row and not row["is_paced"] | ("error" in row):
            found.setdefault(row["name"], {}).setdefault(row["calls"], row[figure])
    return {name: sorted(values.items()) for name, values in found.items()}


def draw(run: dict[str, Any], folder: Path) -> list[Path]:
    """Every picture that has something to show; the files."""
    folder.mkdir(parents=True, exist_ok=True)
    shown = [(picture, points(run, picture.figure)) for picture in PICTURES]
    return [_draw(picture, lines, run, folder) for picture, lines in shown if lines]


def _draw(picture: Picture, lines: Points, run: dict[str, Any], folder: Path) -> Path:
    plot = _matplotlib()
    figure, axes = plot.subplots(figsize=INCHES)
    for name, line in lines.items():
        colour, marker, dashes = LOOKS.get(name, PLAIN_LOOK)
        values = [max(value, LEAST_SHOWN) for _, value in line]
        axes.plot(
            [calls for calls, _ in line],
            values,
            color=colour,
            marker=marker,
            linestyle=dashes,
            label=name,
            markersize=5,
            linewidth=1.6,
        )
    if picture.limit:
        axes.axhline(picture.limit, color="#999999", linewidth=1, linestyle=":")
    _label(axes, picture, lines)
    figure.text(0.99, 0.01, f"{run['date']}, {run['machine']}", ha="right", fontsize=7, color="#777777")
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    file = folder / picture.file
    figure.savefig(file, dpi=DOTS_PER_INCH)
    plot.close(figure)
    return file


def _label(axes: Any, picture: Picture, lines: Points) -> None:
    steps = sorted({calls for line in lines.values() for calls, _ in line})
    axes.set_title(picture.title, loc="left", fontsize=12)
    axes.set_xlabel("calls at once, 50 frames a second each way (log)")
    axes.set_ylabel(picture.unit)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(_apart(steps))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_locator(_ticker().LogLocator(subs=(1.0, 2.0, 5.0), numticks=20))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.grid(color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in NO_FRAME:
        axes.spines[side].set_visible(False)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _apart(steps: list[int]) -> list[int]:
    """Numbers that stand far enough from each other to be read."""
    kept: list[int] = []
    for step in steps:
        if not kept or step >= kept[-1] * 1.25:
            kept.append(step)
    return kept


def _ticker() -> Any:
    import matplotlib.ticker

    return matplotlib.ticker


def _matplotlib() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot

    return matplotlib.pyplot


def main(say: Callable[[str], None] = print) -> int:
    parser = argparse.ArgumentParser(
        prog="curves.py", description="Draws the curves of a run of side_by_side.py."
    )
    parser.add_argument("file", type=Path, help="what the run wrote, JSON")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="where the pictures go (beside the file)")
    wanted = parser.parse_args()
    try:
        _matplotlib()
    except ImportError:
        say("No curves are drawn: matplotlib is not installed (make bench installs it).")
        return 0
    for file in draw(json.loads(wanted.file.read_text()), wanted.to or wanted.file.parent):
        say(f"{file}, {file.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())

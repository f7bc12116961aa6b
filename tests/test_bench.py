"""The measuring stick itself: it runs, loses nothing, prints whole tables. No figure is held to a limit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
BENCH = PROJECT / "bench"

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory):
    """What a short run printed, its figures, and where they are."""
    file = tmp_path_factory.mktemp("bench") / "figures.json"
    done = subprocess.run(
        [sys.executable, str(BENCH / "side_by_side.py"), "--quick", "--calls", "3,4", "--json", str(file)],
        capture_output=True,
        text=True,
        timeout=270,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(file.read_text()), file.parent


def test_the_table_has_a_row_for_everything_measured_and_a_verdict(quick_run):
    printed, _, _ = quick_run
    for name in ("product", "floor", "load alone"):
        rows = [line for line in printed.splitlines() if line.startswith(f"| {name} ")]
        assert len(rows) == 2
    assert "| met |" in printed.replace("  ", "") or "MISSED |" in printed


def test_no_frame_is_lost_or_doubled(quick_run):
    for row in quick_run[1]["echo"]["rows"]:
        assert row["sent"] >= row["calls"] * 25
        assert [row[name] for name in ("lost", "doubled", "reordered", "ended")] == [0] * 4


def test_cost_stands_beside_the_calibration_and_the_floor(quick_run):
    for window in quick_run[1]["windows"]:
        assert window["pairs"] > 0
        assert min(window["turns_us"]) > 0
        assert window["unit_us"] > 0
    product = next(row for row in quick_run[1]["echo"]["rows"] if row["name"] == "product")
    assert product["of_floor"]["median"] > 0
    assert product["rss_mb"] >= product["idle_mb"] > 0


def test_the_curves_are_drawn_and_small(quick_run):
    pytest.importorskip("matplotlib")
    for name in ("bench-cpu.png", "bench-latency.png"):
        picture = quick_run[2] / name
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size < 60_000


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--calls", "0"], "--calls must be more than nothing"),
        (["--seconds", "0"], "--seconds must be more than nothing"),
        (["--turn", "9"], "--turn must be at most 6"),
        (["--only", "echoes"], "no scenario: echoes"),
    ],
)
def test_wrong_options_are_said_in_a_line(options, said):
    wrong = [sys.executable, str(BENCH / "side_by_side.py"), *options]
    done = subprocess.run(wrong, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert said in done.stderr

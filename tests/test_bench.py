"""The measuring stick itself: it runs, loses nothing, prints a whole table. No figure is held to a limit."""

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
    """What a short run printed, and its figures."""
    file = tmp_path_factory.mktemp("bench") / "figures.json"
    options = ["--quick", "--calls", "4", "--seconds", "1", "--rounds", "1", "--json", str(file)]
    done = subprocess.run(
        [sys.executable, str(BENCH / "frame_path.py"), *options],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(file.read_text())


def test_the_table_has_a_row_for_everything_measured_and_a_verdict(quick_run):
    printed, _ = quick_run
    for name in ("product", "plain relay", "load alone"):
        assert any(line.startswith(name) for line in printed.splitlines())
    assert "Target met" in printed or "Target MISSED" in printed


def test_no_frame_is_lost_doubled_or_on_a_wrong_call(quick_run):
    product = quick_run[1]["subjects"]["product"]
    assert product["sent"] >= 4 * 50
    assert [product[name] for name in ("lost", "doubled", "reordered", "foreign", "ended")] == [0] * 5


def test_cost_stands_beside_the_calibration(quick_run):
    for windows in quick_run[1]["windows"].values():
        for window in windows:
            assert window["pairs"] > 0
            assert min(window["turns_us"]) > 0
            assert window["unit_us"] > 0


def test_wrong_options_are_said_in_a_line():
    wrong = [sys.executable, str(BENCH / "frame_path.py"), "--calls", "0"]
    done = subprocess.run(wrong, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "--calls must be more than nothing" in done.stderr

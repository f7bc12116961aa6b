"""A background worker that is killed costs no caller's words: the bench, briefly."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import PROJECT, environment_of

pytestmark = pytest.mark.system

KILLS = 6


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """What a short run printed, and its figures."""
    folder = tmp_path_factory.mktemp("kills")
    command = [sys.executable, str(PROJECT / "bench" / "worker_kills.py"), "--sqlite", "--seed", "11"]
    done = subprocess.run(
        [*command, "--kills", str(KILLS), "--within", "60", "--json", str(folder / "figures.json")],
        env=environment_of(folder, {"LOCAL": "1"}),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, json.loads((folder / "figures.json").read_text())


def test_every_recording_is_processed_exactly_once(killed):
    _, figures = killed
    assert figures["recordings"] > KILLS
    assert figures["wrong"] == []
    assert figures["work_begun"] >= figures["recordings"]  # on some days no kill meets a job that was begun
    assert sum(figures["ends"].values()) == figures["recordings"]


def test_whatever_a_killed_worker_had_in_hand_is_taken_up_again(killed):
    printed, figures = killed
    again = [each for values in figures["again_s"].values() for each in values]
    assert again, printed
    assert "taken up again" in printed

"""After calls of every kind nothing of them stays in Redis: the bench, briefly."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import PROJECT, environment_of

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def passed(tmp_path_factory):
    """What a short run printed, and its figures."""
    folder = tmp_path_factory.mktemp("left")
    command = [sys.executable, str(PROJECT / "bench" / "nothing_left.py"), "--seed", "11", "--memory-s", "5"]
    done = subprocess.run(
        [*command, "--calls", "25", "--json", str(folder / "figures.json")],
        env=environment_of(folder, {"LOCAL": "1"}),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, json.loads((folder / "figures.json").read_text())


def test_every_key_of_a_call_has_a_lifetime_and_none_outlives_it(passed):
    printed, figures = passed
    assert figures["wrong"] == [], printed
    assert figures["left"]["at once"], "there was nothing to be left"
    assert figures["left"]["in the end"] == {}


def test_calls_of_every_kind_were_placed(passed):
    kinds = passed[1]["kinds"]
    assert min(kinds.values()) > 0
    assert {"live", "live_and_lost", "answered", "vanished", "doubled", "message_left"} <= kinds.keys()


def test_a_minute_of_a_call_takes_little_more_than_its_sound(passed):
    sound_kib = 60 * 8000 / 1024
    assert sound_kib < passed[1]["minute_kib"] < 1.25 * sound_kib

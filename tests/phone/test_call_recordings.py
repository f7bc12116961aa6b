"""Recorded conversations, each replayed: what a call commands at every moment, first to last."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.phone.recorded_calls import RECORDINGS, Replay, read


@pytest.mark.parametrize("name", sorted(path.stem for path in RECORDINGS.glob("*.jsonl")))
def test_a_recorded_conversation_goes_as_it_went(name):
    scene, *lines = read(name)
    Replay(scene).play(lines)


def bent(name: str, kind: str, change: Any) -> list[dict[str, Any]]:
    """A recording in which the first expected command of this kind is another."""
    lines = copy.deepcopy(read(name))
    expected = [each for line in lines for each in line.get("commands", ()) if each["type"] == kind]
    expected[0].update(change)
    return lines


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("RunTool", {"arguments": "{}"}),
        ("AnswerTool", {"output": "ten to six"}),
        ("Reply", {"instructions": "Say goodbye."}),
        ("Play", {"payload": "sound-3"}),
        ("OpenEngine", {"type": "CloseEngine"}),
    ],
)
def test_a_recording_that_says_otherwise_is_found_out(kind, change):
    scene, *lines = bent("tool_used", kind, change)
    with pytest.raises(AssertionError, match="expected"):
        Replay(scene).play(lines)


@pytest.mark.parametrize("kept", [1, 2, -1], ids=["the beginning", "some", "all but the last"])
def test_a_recording_that_leaves_commands_out_is_found_out(kept):
    scene, *lines = read("tool_used")
    without = [line for line in lines if "commands" not in line]
    with_some = [line for line in lines if "commands" in line][:kept]
    with pytest.raises(AssertionError, match="expected"):
        Replay(scene).play(sorted([*without, *with_some], key=lambda line: line["at"]))


def test_every_recording_says_what_it_is_about():
    abouts = [read(path.stem)[0]["about"] for path in RECORDINGS.glob("*.jsonl")]
    assert len(set(abouts)) == len(abouts) > 80
    assert all(about.endswith(".") for about in abouts)

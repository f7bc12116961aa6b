"""Recorded conversations, each replayed: what a call commands at every moment, first to last."""

from __future__ import annotations

import pytest

from tests.phone.recorded_calls import RECORDINGS, Replay, read


@pytest.mark.parametrize("name", sorted(path.stem for path in RECORDINGS.glob("*.jsonl")))
def test_a_recorded_conversation_goes_as_it_went(name):
    scene, *lines = read(name)
    Replay(scene).play(lines)

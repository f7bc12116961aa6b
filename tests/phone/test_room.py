"""The doorway: a few streams come in at the same time, all others in the order in which they came."""

from __future__ import annotations

import threading

import pytest

from flaskapp.phone.room import Doorway
from tests.servers import wait_until


@pytest.fixture
def door() -> Doorway:
    """Two at a time; whoever is inside stays."""
    return Doorway(at_once=2, inside_s=600.0)


def knock(door: Doorway, call_sid: str, came: list[str], within_s: float = 60.0) -> None:
    def come() -> None:
        door.enter(call_sid, within_s)
        came.append(call_sid)

    waiting = len(door._waiting)
    thread = threading.Thread(target=come, daemon=True)
    thread.start()
    wait_until(lambda: call_sid in came or len(door._waiting) > waiting, "nobody is at the door")


def test_so_many_come_in_at_once_and_the_next_when_one_has(door):
    came: list[str] = []
    for call_sid in ("CA1", "CA2", "CA3", "CA4"):
        knock(door, call_sid, came)
    assert came == ["CA1", "CA2"]
    door.leave("CA2")
    wait_until(lambda: came[2:] == ["CA3"], "the third does not come in")
    door.leave("CA1")
    wait_until(lambda: came[3:] == ["CA4"], "the fourth does not come in")


def test_whoever_waits_for_others_is_in_nobodys_way():
    came: list[str] = []
    door = Doorway(at_once=1, inside_s=0.2)
    for call_sid in ("CA1", "CA2", "CA3"):
        knock(door, call_sid, came)
    wait_until(lambda: came == ["CA1", "CA2", "CA3"], "somebody stays at the door")


def test_nobody_stands_at_the_door_for_ever(door):
    came: list[str] = []
    knock(door, "CA1", came)
    knock(door, "CA2", came)
    knock(door, "CA3", came, within_s=0.1)
    wait_until(lambda: "CA3" in came, "the third stays at the door")
    assert not door._waiting


def test_one_that_leaves_twice_makes_room_once(door):
    came: list[str] = []
    for call_sid in ("CA1", "CA2", "CA3", "CA4"):
        knock(door, call_sid, came)
    door.leave("CA1")
    door.leave("CA1")
    wait_until(lambda: came[2:] == ["CA3"], "the third does not come in")
    assert came == ["CA1", "CA2", "CA3"]

"""Calls that arrive together at a worker that has room for one."""

from __future__ import annotations

import pytest

from flaskapp.simulator.person import Script, Utterance
from flaskapp.simulator.sounds import tone

pytestmark = pytest.mark.system

#: The one who is live speaks until the last of them has arrived, on a slow machine, too.
CHAT = Script((Utterance(tone(5.0, 300), name="line"),), quiet_ms=500, greeting_wait_s=20, reply_wait_s=20)


@pytest.mark.parametrize("busy", ["record", "reject"])
def test_of_five_calls_at_once_one_is_live_and_nobody_meets_a_dead_line(rescue, busy):
    office = rescue({"MAX_CALLS": "1", "BUSY": busy})
    reports = office.exchange.place_calls([office.spec(script=CHAT, seconds=30)] * 5)
    live = [each for each in reports if each.streams and not each.recordings]
    recorded = [each for each in reports if each.recordings]  # who goes live after all when there is room
    rejected = [each for each in reports if each.rejected]
    assert len(live) == 1
    assert len(live) + len(recorded) + len(rejected) == 5
    assert not rejected or busy == "reject"

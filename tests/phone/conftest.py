"""What several files of tests about a call's two lanes share."""

from __future__ import annotations

import pytest

from tests.phone.lanes import SLICES, Lane
from tests.phone.sayings import START, delta, reply_begins


@pytest.fixture
def lane():
    lane = Lane(is_told=True)
    lane.goes_live(START)
    yield lane
    lane.ends()


@pytest.fixture
def speaking(lane):
    """The agent speaks; its first audio has left."""
    lane.engine_says(reply_begins(), delta(SLICES[0]))
    lane.works_off()
    lane.phone.writes.clear()
    return lane

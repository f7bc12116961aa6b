"""What the next stream of a call is told, and what of it is written down when its worker died."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from flaskapp.phone.resumption import UNHEARD_MS, past_of, take_up, write_down
from flaskapp.phone.transcript import AGENT, CALLER, Line
from flaskapp.store.audio import AudioBuffer
from flaskapp.store.history import OpenLinesWithdrawn, TurnSaved
from flaskapp.store.live import LiveStore, connect

BEGAN = 1_000_000.0
SECOND = 8000


class House:
    """A call in Redis, thirty seconds old, and what is noted of it."""

    def __init__(self) -> None:
        connections = connect("")
        self.now = BEGAN
        self.live, self.audio = LiveStore(connections, lambda: self.now), AudioBuffer(connections)
        self.noted: list = []
        self.withdrawn: list = []
        self.live.begin("CA1")
        self.live.remember("CA1", state="live", called="+2")
        self.now = BEGAN + 30

    def said(self, *lines: Line, mode: str = "live") -> None:
        self.live.keep_lines("CA1", [{**asdict(line), "mode": mode} for line in lines])

    def seen(self, at_ms: int) -> None:
        """The last sign of life of the call's worker."""
        self.live.touch("CA1", BEGAN + at_ms / 1000)

    def past(self):
        return past_of("CA1", self.live, self.audio, self.now)

    def write_down(self) -> None:
        write_down("CA1", self.live, self._note)

    def take_up(self) -> None:
        take_up("CA1", self.live, self._note)

    def _note(self, *entries) -> None:
        self.noted += [entry for entry in entries if isinstance(entry, TurnSaved)]
        self.withdrawn += [entry for entry in entries if isinstance(entry, OpenLinesWithdrawn)]


@pytest.fixture
def house() -> House:
    return House()


def test_a_first_stream_has_no_past(house):
    house.live.remember("CA1", state="ringing")
    house.now = BEGAN + 1.5
    past = house.past()
    assert (past.lines, past.base_ms, past.unheard, past.memo) == ((), 1500, b"", {})
    assert (past.cost_usd, past.note) == (0.0, "")


def test_an_unknown_call_has_no_past_at_all(house):
    past = past_of("CAother", house.live, house.audio, house.now)
    assert past.base_ms == 0


def test_what_the_agent_was_saying_was_heard_until_its_worker_died(house):
    words = "one two three four five six seven eight nine ten"
    house.said(Line("a", 0, AGENT, words, 10_000, 20_000))
    house.seen(14_200)
    (line,) = house.past().lines
    assert (line.text, line.interrupted, line.is_final) == ("one two three four", True, True)
    assert (line.start_ms, line.end_ms) == (10_000, 14_200)


@pytest.mark.parametrize(("seen_ms", "text"), [(9_000, None), (20_000, "all of it"), (25_000, "all of it")])
def test_a_reply_was_heard_not_at_all_or_whole(house, seen_ms, text):
    house.said(Line("a", 0, AGENT, "all of it", 10_000, 20_000))
    house.seen(seen_ms)
    assert [line.text for line in house.past().lines] == ([] if text is None else [text])


def test_what_the_caller_was_saying_is_withdrawn_for_its_audio_is_heard_again(house):
    house.said(Line("a", 0, AGENT, "Hello.", 0, 900, True), Line("c", 1, CALLER, "I would", 10_000, 11_000))
    house.seen(12_000)
    house.live.remember("CA1", heard_until_ms="10000")
    for second in range(8, 12):
        house.audio.append("CA1", second * 1000, bytes([second]) * SECOND)
    past = house.past()
    assert [line.text for line in past.lines] == ["Hello."]
    assert past.unheard == bytes([10]) * SECOND + bytes([11]) * SECOND
    house.write_down()
    assert [(line["text"], line["is_final"]) for line in house.live.lines("CA1")] == [
        ("Hello.", True),
        ("", True),
    ]
    assert [(entry.item, entry.text, entry.is_final) for entry in house.noted] == [
        ("a", "Hello.", True),
        ("c", "", True),
    ]


def test_a_line_that_was_recorded_is_as_it_is(house):
    house.said(Line("r", 0, CALLER, "words", 0, 900), mode="recorded")
    house.seen(1000)
    assert [line.text for line in house.past().lines] == ["words"]
    house.write_down()
    assert house.noted == [], "its job writes it"


def test_only_the_latest_of_what_was_not_understood_is_heard_again(house):
    for second in range(40):
        house.audio.append("CA1", second * 1000, bytes([second]) * SECOND)
    unheard = house.past().unheard
    assert len(unheard) == UNHEARD_MS * 8
    assert unheard[-1] == 39


@pytest.mark.parametrize("state", ["ended", "ringing"])
def test_audio_that_is_a_recorded_turn_already_is_not_heard_again(house, state):
    house.live.remember("CA1", state=state)
    house.audio.append("CA1", 0, bytes(SECOND))
    past = house.past()
    assert past.unheard == b""


def test_a_call_that_was_handed_over_goes_on(house):
    house.live.remember("CA1", state="moving", memo='{"agent": {"keys": "12"}}', heard_until_ms="500")
    house.audio.append("CA1", 0, bytes(SECOND))
    past = house.past()
    assert past.memo == {"agent": {"keys": "12"}}
    assert len(past.unheard) == SECOND // 2
    assert past.base_ms == 30_000


@pytest.mark.parametrize("memo", ["{broken", "[]"])
def test_a_memo_that_cannot_be_read_is_none(house, memo):
    house.live.remember("CA1", memo=memo)
    assert house.past().memo == {}


def test_what_the_leg_that_broke_off_has_cost_is_added_once(house):
    house.live.remember("CA1", cost_usd="0.25", leg_cost="0.5")
    assert house.past().cost_usd == 0.75
    house.take_up()
    house.take_up()
    assert house.live.recall("CA1")["cost_usd"] == "0.75"
    assert house.past().cost_usd == 0.75


def test_a_note_for_the_engine_is_told_once(house):
    house.live.remember("CA1", note="Nobody answered.")
    assert house.past().note == "Nobody answered."
    house.take_up()
    assert house.past().note == ""


def test_a_stream_that_comes_without_anybody_having_asked_mends_what_was_open(house):
    house.said(Line("a", 0, AGENT, "Hello.", 0, 900, True), Line("c", 1, CALLER, "I", 1000, 1100))
    house.take_up()
    assert len(house.noted) == 2
    house.take_up()
    assert len(house.noted) == 2, "nothing is open any more"


def test_asking_changes_nothing(house):
    house.said(Line("c", 0, CALLER, "I", 1000, 1100))
    house.live.remember("CA1", note="n", leg_cost="0.5")
    before = house.live.recall("CA1"), house.live.lines("CA1")
    house.past()
    assert before == (house.live.recall("CA1"), house.live.lines("CA1"))

"""What is done for a call whose live leg is gone: its words, its turn, its books."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from flaskapp.phone.leftovers import Leftovers
from flaskapp.phone.listener import CallEnded
from flaskapp.phone.transcript import AGENT, CALLER, Line
from flaskapp.store.audio import AudioBuffer
from flaskapp.store.history import CallChanged, TurnSaved
from flaskapp.store.live import LiveStore, connect
from flaskapp.store.turns import TurnBook

VOICE = bytes((40 if at % 20 < 10 else 168) for at in range(24_000))  # three loud seconds


class Desk:
    """Leftovers, and whom they told what."""

    def __init__(self) -> None:
        connections = connect("")
        self.live, self.audio, self.book = (
            LiveStore(connections),
            AudioBuffer(connections),
            TurnBook(connections),
        )
        self.submitted: list[tuple[str, ...]] = []
        self.noted: list = []
        self.over: list[str] = []
        self.leftovers = Leftovers(self.book, self.audio, self.live, self, self._note)
        self.leftovers.over = self.over.append
        self.live.begin("CA1")

    def submit(self, *what: str) -> None:
        self.submitted.append(what)

    def _note(self, *entries) -> None:
        self.noted += entries

    def broke_off(self, state: str, **known: str) -> None:
        """A call whose worker is gone, with a line that was left open and three seconds unheard."""
        lines = [Line("a", 0, AGENT, "Hello.", 0, 900, True), Line("c", 1, CALLER, "I wo", 1000, 1100)]
        self.live.keep_lines("CA1", [{**asdict(line), "mode": "live"} for line in lines])
        self.live.at_least_position("CA1", 2)
        self.live.remember("CA1", state=state, heard_until_ms="1000", **known)
        self.audio.append("CA1", 1000, VOICE)

    def endings(self) -> list[dict]:
        return [entry.fields for entry in self.noted if isinstance(entry, CallChanged)]


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.mark.parametrize("state", ["live", "moving", "transferring"])
def test_a_call_that_nobody_takes_up_has_its_books_closed(desk, state):
    desk.broke_off(state, leg_cost="0.25")
    desk.leftovers.abandoned("CA1")
    saved = [(entry.item, entry.text) for entry in desk.noted if isinstance(entry, TurnSaved)]
    assert saved == [("a", "Hello."), ("c", "")]
    (ending,) = desk.endings()
    assert (ending["ended_reason"], ending["cost_usd"]) == ("worker_lost", 0.25)
    assert [what[:2] for what in desk.submitted] == [("turn", "CA1")]
    turn = desk.book.find("CA1", desk.submitted[0][2])
    assert (turn.from_ms, turn.to_ms, turn.wants_reply, turn.position) == (1000, 4000, False, 2)
    assert desk.live.recall("CA1")["state"] == "ended"
    assert desk.over == ["CA1"]


def test_what_the_worker_that_is_gone_used_is_told(desk):
    desk.broke_off("live")
    desk.live.add_usage("CA1", {"input_tokens": 7}, "leg-0")
    desk.live.add_usage("CA1", {"input_tokens": 5}, "leg-4000")
    desk.leftovers.abandoned("CA1")
    assert desk.endings()[0]["usage"] == {"input_tokens": 12}


def test_what_it_used_is_told_too_when_the_call_goes_on_recorded(desk):
    desk.broke_off("live")
    desk.live.add_usage("CA1", {"input_tokens": 7}, "leg-0")
    desk.leftovers.fall("CA1", desk.live.recall("CA1"))
    assert desk.endings() == [{"usage": {"input_tokens": 7}}]


@pytest.mark.parametrize("state", ["ended", "ringing"])
def test_a_call_that_waits_for_nobody_is_left_alone(desk, state):
    desk.broke_off(state)
    desk.leftovers.abandoned("CA1")
    assert (desk.noted, desk.submitted, desk.over) == ([], [], [])


@pytest.mark.parametrize(("waits_s", "endings"), [(290, []), (301, [("caller_hung_up", "failed")])])
def test_a_stream_that_never_comes_is_waited_for_as_long_as_its_ticket_is_good(desk, waits_s, endings):
    desk.live.remember("CA1", state="ringing", path="live", joined_at=repr(desk.live.now() - waits_s))
    desk.leftovers.abandoned("CA1")
    assert [(ending["ended_reason"], ending["status"]) for ending in desk.endings()] == endings
    assert desk.over == ["CA1"] * len(endings)
    desk.leftovers.abandoned("CA1")
    assert len(desk.endings()) == len(endings), "once"


def test_a_stream_that_broke_and_was_never_followed_keeps_its_own_reason(desk):
    desk.broke_off("moving", reason="carrier_lost")
    desk.leftovers.abandoned("CA1")
    (ending,) = desk.endings()
    assert ending["ended_reason"] == "carrier_lost"
    assert ending["ended_at"], "a leg that may be followed by another has told of no end"
    assert (desk.live.recall("CA1")["reason"], desk.over) == ("carrier_lost", ["CA1"])


def test_a_caller_who_hung_up_meanwhile_did(desk):
    desk.broke_off("moving", reason="carrier_lost")
    desk.leftovers.abandoned("CA1", "caller_hung_up")
    assert desk.endings()[0]["ended_reason"] == "caller_hung_up"


@pytest.mark.parametrize(
    ("ended", "is_left"),
    [
        (CallEnded("CA1", "moved", False, 4000, moves=True, heard_until_ms=1000), True),
        (CallEnded("CA1", "carrier_lost", False, 4000, heard_until_ms=1000), True),
        (CallEnded("CA1", "goodbye", False, 4000, heard_until_ms=1000), False),
        (CallEnded("CA1", "engine_lost", True, 4000, heard_until_ms=1000), False),
    ],
)
def test_what_the_next_leg_will_hear_is_no_turn(desk, ended, is_left):
    desk.broke_off("live")
    assert (desk.leftovers.live_ended(ended) == "") is is_left
    assert desk.audio.held("CA1").bytes == len(VOICE), "nothing of it goes before it was heard"


@pytest.mark.parametrize("how", [{"reason": "carrier_lost"}, {"reason": "moved", "moves": True}])
def test_of_a_caller_who_is_gone_there_is_no_next_leg(desk, how):
    desk.broke_off("live", is_over="1")
    key = desk.leftovers.live_ended(
        CallEnded("CA1", needs_fallback=False, duration_ms=1, heard_until_ms=1000, **how)
    )
    assert desk.book.find("CA1", key) is not None


def test_a_leg_that_broke_off_and_cannot_be_followed_leaves_a_turn(desk):
    desk.broke_off("moving")
    key = desk.leftovers.fall("CA1", desk.live.recall("CA1"))
    assert desk.book.find("CA1", key).wants_reply
    known = desk.live.recall("CA1")
    assert (known["state"], known["needs_fallback"], known["pending_turn"]) == ("ended", "1", key)
    assert [line["text"] for line in desk.live.lines("CA1")] == ["Hello.", ""]
    assert known["falls"] == "1"

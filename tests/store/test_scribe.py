"""The scribe: notes in, history out; no note is lost to an outage, and none holds up the others."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy.exc import DataError, OperationalError

from flaskapp.metrics import Metrics
from flaskapp.phone.commands import TellLine
from flaskapp.phone.directives import Message
from flaskapp.phone.events import StreamStarted
from flaskapp.phone.listener import CallEnded
from flaskapp.phone.transcript import Line
from flaskapp.store.feed import Feed
from flaskapp.store.history import CallChanged, CallOpened
from flaskapp.store.live import LiveStore, connect
from flaskapp.store.scribe import Scribe


class Shelf:
    """A history that refuses what it is told to refuse."""

    def __init__(self) -> None:
        self.written: list[Any] = []
        self.outages = 0
        self.indigestible = ""

    def write(self, entries: list[Any]) -> None:
        if self.outages:
            self.outages -= 1
            raise OperationalError("insert", {}, Exception("connection refused"))
        if any(entry.call_sid == self.indigestible for entry in entries):
            raise DataError("insert", {}, Exception("integer out of range"))
        self.written += entries


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def scribe(shelf) -> Scribe:
    return Scribe(shelf, Metrics(), LiveStore(connect("")), "openai", "m")


def opened(call_sid: str) -> CallOpened:
    return CallOpened(call_sid, "twilio", "+1", "+2", "live", datetime.now(UTC))


def line(text: str, is_final: bool = False) -> TellLine:
    return TellLine("item", 0, "agent", text, 0, 10, is_final)


def test_an_outage_delays_notes_and_loses_none(scribe, shelf):
    shelf.outages = 1
    scribe.note(opened("CA1"), opened("CA2"))
    assert scribe.settle(20)
    assert [entry.call_sid for entry in shelf.written] == ["CA1", "CA2"]


def test_a_note_that_no_database_takes_is_dropped_alone(scribe, shelf, caplog):
    shelf.indigestible = "CAbad"
    scribe.note(opened("CA1"), opened("CAbad"), opened("CA2"))
    assert scribe.settle(20)
    assert [entry.call_sid for entry in shelf.written] == ["CA1", "CA2"]
    assert "cannot be written" in caplog.text


def test_a_line_that_grew_is_written_as_it_stands(scribe, shelf):
    for text in ("We", "We are", "We are open"):
        scribe.line("CA1", line(text))
    scribe.line("CA1", line("We are open.", is_final=True))
    assert scribe.settle(20)
    assert [entry.text for entry in shelf.written] == ["We are open."]


def test_how_a_call_ended_is_known_before_its_notes_are_written(scribe, shelf):
    shelf.outages = 1
    scribe.call_started("CA1", StreamStarted("MZ1", "CA1", "audio/pcmu"))
    scribe.call_ended(CallEnded("CA1", "engine_lost", True, 1000))
    live = scribe._live.recall("CA1")
    assert (live["state"], live["reason"], live["needs_fallback"]) == ("ended", "engine_lost", "1")
    assert scribe.settle(20)
    assert isinstance(shelf.written[-1], CallChanged)
    assert shelf.written[-1].fields["ended_reason"] == "engine_lost"


def test_what_happens_to_a_stranger_is_counted_but_not_written(scribe, shelf):
    scribe.fault("CAstranger", 0, "not_admitted", "forged")
    assert scribe.settle(20)
    assert shelf.written == []
    assert 'phone_faults_total{kind="not_admitted"} 1.0' in scribe._metrics.render()[0].decode()


# ---------------------------------------------------------------------- legs that end, and calls that do not


def started(scribe: Scribe, call_sid: str = "CA1") -> None:
    scribe._live.begin(call_sid)
    scribe.call_started(call_sid, StreamStarted("MZ1", call_sid, "audio/pcmu"))


def known(scribe: Scribe) -> dict[str, str]:
    return scribe._live.recall("CA1")


def figures(scribe: Scribe) -> str:
    return scribe._metrics.render()[0].decode()


@pytest.fixture
def told(scribe) -> list[str]:
    """Calls that were told to be over for good."""
    over: list[str] = []
    scribe.over = over.append
    return over


def waits_for_somebody(scribe: Scribe) -> bool:
    return scribe._live.untouched_since(time.time() + 60) == ["CA1"]


def test_a_leg_that_moves_is_no_ended_call(scribe, shelf, told):
    started(scribe)
    scribe.call_ended(CallEnded("CA1", "moved", False, 9000, moves=True, cost_usd=0.5, memo={"keys": "1"}))
    live = known(scribe)
    assert (live["state"], live["needs_fallback"], live["cost_usd"]) == ("moving", "0", "0.5")
    assert json.loads(live["memo"]) == {"keys": "1"}
    assert "forgotten" not in live
    assert waits_for_somebody(scribe)
    assert told == []
    assert "phone_calls_total{" not in figures(scribe)
    assert "phone_fallbacks_total{" not in figures(scribe)
    assert 'phone_active_calls{carrier="twilio"} 0.0' in figures(scribe)
    assert scribe.settle(20)
    changes = [entry.fields for entry in shelf.written if isinstance(entry, CallChanged)]
    assert changes[-1]["cost_usd"] == 0.5
    assert not any("ended_at" in fields or "ended_reason" in fields for fields in changes)


def test_a_stream_that_broke_may_be_taken_up_again(scribe, told):
    started(scribe)
    scribe.call_ended(CallEnded("CA1", "carrier_lost", False, 9000))
    assert (known(scribe)["state"], told) == ("moving", [])
    assert waits_for_somebody(scribe)
    started(scribe)
    assert known(scribe)["state"] == "live"


def test_a_caller_who_shall_be_joined_to_a_person_is_still_on_the_line(scribe, told):
    started(scribe)
    scribe.call_ended(CallEnded("CA1", "transferred", False, 9000, destination="sales"))
    live = known(scribe)
    assert (live["state"], live["destination"], told) == ("transferring", "sales", [])
    assert "forgotten" not in live


def test_a_call_that_is_over_is_told_to_be_and_forgotten_soon(scribe, told):
    started(scribe)
    scribe.call_ended(CallEnded("CA1", "goodbye", False, 9000))
    assert (known(scribe)["state"], told) == ("ended", ["CA1"])
    assert known(scribe)["forgotten"] == "1"
    assert 'ended="goodbye"' in figures(scribe)


def test_a_worker_that_dies_while_a_leg_ends_leaves_the_call_to_the_sweeper(scribe):
    def killed(ended: CallEnded) -> str:
        raise SystemExit

    scribe.left_over = killed
    started(scribe)
    with pytest.raises(SystemExit):
        scribe.call_ended(CallEnded("CA1", "goodbye", False, 9000))
    assert known(scribe)["state"] == "live"
    assert waits_for_somebody(scribe)


@pytest.mark.parametrize("reason", ["goodbye", "engine_lost", "transferred"])
def test_a_call_whose_leg_ended_in_order_is_not_swept(scribe, reason):
    started(scribe)
    scribe.call_ended(CallEnded("CA1", reason, reason == "engine_lost", 9000))
    assert not waits_for_somebody(scribe)


def test_a_call_that_falls_back_is_not_over(scribe, told):
    started(scribe)
    scribe.call_ended(CallEnded("CA1", "engine_lost", True, 9000))
    assert (known(scribe)["state"], known(scribe)["needs_fallback"], told) == ("ended", "1", [])


@pytest.mark.parametrize(("reason", "moves"), [("moved", True), ("carrier_lost", False)])
def test_the_carrier_said_that_it_is_over_while_its_leg_moved(scribe, shelf, told, reason, moves):
    started(scribe)
    scribe._live.remember("CA1", is_over="1")
    scribe.call_ended(CallEnded("CA1", reason, False, 9000, moves=moves))
    assert (told, known(scribe)["state"]) == (["CA1"], "ended")
    assert scribe.settle(20)
    assert shelf.written[-1].fields["ended_reason"] == "caller_hung_up", "nobody else says so"


def test_a_leg_that_learns_late_that_its_stream_is_dead_takes_nothing_from_the_next(scribe, shelf, told):
    """Two workers, one Redis: the carrier is on its second stream before the first worker knows."""
    other = Scribe(shelf, scribe._metrics, scribe._live, "openai", "m")
    started(scribe)
    started(other)
    line = Line("a", 4, "agent", "Hello.", 0, 900, True)
    scribe.call_ended(CallEnded("CA1", "carrier_lost", False, 9000, lines=(line,), heard_until_ms=5))
    assert known(scribe)["state"] == "live"
    assert known(scribe).get("heard_until_ms") != "5"
    assert [each["text"] for each in scribe._live.lines("CA1")] == ["Hello."], "its words stay all the same"
    assert scribe._live.next_position("CA1") == 5
    other.call_ended(CallEnded("CA1", "goodbye", False, 9000))
    assert (known(scribe)["state"], told) == ("ended", [])


def test_what_a_leg_used_replaces_what_was_kept_of_it_while_it_lived(scribe):
    started(scribe)
    scribe._live.add_usage("CA1", {"input_tokens": 7}, "leg-4000")
    scribe.call_ended(CallEnded("CA1", "moved", False, 9000, {"input_tokens": 9}, moves=True, base_ms=4000))
    assert scribe._live.usage("CA1") == {"input_tokens": 9}


def test_a_stream_that_was_replaced_ends_no_call(scribe, told):
    started(scribe)
    scribe.call_ended(CallEnded("CA1", "replaced", False, 9000))
    assert (known(scribe)["state"], told) == ("live", [])


def test_streams_that_lived_do_not_count_as_those_that_never_did(scribe):
    scribe._live.count("CA1", "streams")
    started(scribe)
    assert known(scribe)["streams"] == "0"


def test_a_message_is_in_the_books_at_once(scribe, shelf):
    scribe.message("CA1", Message("Please call back.", "Ann", "0123"))
    assert json.loads(known(scribe)["message"])["text"] == "Please call back."
    assert scribe.settle(20)
    assert shelf.written[-1].fields["message"] == {
        "text": "Please call back.",
        "name": "Ann",
        "callback": "0123",
    }


def test_readers_have_a_line_as_final_when_all_of_it_is_said_and_the_history_when_it_was_heard(shelf):
    told = []

    class Told(Feed):
        def line(self, call_sid, item, position, speaker, transcript, is_final):
            told.append((transcript, is_final))

    scribe = Scribe(shelf, Metrics(), LiveStore(connect("")), "openai", "m", Told())
    scribe.line("CA1", TellLine("a1", 0, "agent", "Good", 0, 500, False))
    scribe.line("CA1", TellLine("a1", 0, "agent", "Good day.", 0, 900, False, is_said=True))
    assert told == [("Good", False), ("Good day.", True), ("Good day.", False)]  # the last one comes too late

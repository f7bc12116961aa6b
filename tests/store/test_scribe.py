"""The scribe: notes in, history out; no note is lost to an outage, and none holds up the others."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy.exc import DataError, OperationalError

from flaskapp.metrics import Metrics
from flaskapp.phone.commands import TellLine
from flaskapp.phone.events import StreamStarted
from flaskapp.phone.listener import CallEnded
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
    return Scribe(shelf, Metrics(), LiveStore(connect("")), "twilio", "openai", "m")


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

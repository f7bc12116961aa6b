"""What takes its time on a call is done elsewhere, and whatever becomes of it is reported."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from queue import Queue

import pytest

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev
from flaskapp.phone.errands import Errands
from tests.phone.callers import eventually

ASKED = do.RunTool("c1", "opening_hours", "{}")
DIAL = do.TransferCaller("sales", "+15551234567")


def test_a_tool_is_carried_out_with_all_that_was_asked():
    used = []

    def use(tool_call_id: str, name: str, arguments: str, done: Callable[[ev.ToolAnswered], None]) -> None:
        used.append((tool_call_id, name, arguments))
        done(ev.ToolAnswered(tool_call_id, "nine"))

    told: list[ev.Event] = []
    Errands(use=use).run(ASKED, told.append)
    assert used == [("c1", "opening_hours", "{}")]
    assert told == [ev.ToolAnswered("c1", "nine")]


def test_a_tool_that_nobody_has_is_answered_all_the_same():
    told: list[ev.Event] = []
    Errands().run(ASKED, told.append)
    assert [(each.tool_call_id, each.is_error) for each in told] == [("c1", True)]


def test_a_transfer_is_asked_for_in_another_thread_and_nothing_is_reported_when_the_carrier_will():
    asked: Queue[tuple[str, bool]] = Queue()
    told: list[ev.Event] = []

    def transfer(number: str) -> bool:
        asked.put((number, threading.current_thread() is threading.main_thread()))
        return True

    Errands(transfer=transfer).run(DIAL, told.append)
    assert asked.get(timeout=20) == ("+15551234567", False)
    assert told == []


def breaks(number: str) -> bool:
    raise ConnectionError(number)


@pytest.mark.parametrize(
    ("transfer", "reason"),
    [(None, ""), (lambda number: False, "the carrier was not told"), (breaks, "the carrier was not told")],
    ids=["nobody", "refuses", "breaks"],
)
def test_a_transfer_that_cannot_be_had_is_reported_once(transfer, reason, caplog):
    told: list[ev.Event] = []
    Errands("CA1", transfer=transfer).run(DIAL, told.append)
    assert eventually(lambda: told, 20) == [ev.TransferFailed(reason)]
    assert "+1555" not in caplog.text


def test_asking_for_a_transfer_waits_for_nobody():
    goes_on, told = threading.Event(), []
    Errands(transfer=lambda number: not goes_on.wait(60)).run(DIAL, told.append)
    assert told == []  # we are here, and the carrier has not answered
    goes_on.set()
    assert eventually(lambda: told, 20)


def test_a_greeting_is_put_away_as_the_sound_that_it_is():
    kept: Queue[bytes] = Queue()
    pieces = tuple(base64.b64encode(piece) for piece in (b"good", b" d", b"ay"))  # each padded by itself
    Errands(keep_greeting=kept.put).run(do.KeepGreeting(pieces), lambda event: None)
    assert kept.get(timeout=20) == b"good day"


def test_a_greeting_that_nobody_keeps_is_no_trouble(monkeypatch):
    failed: list = []
    monkeypatch.setattr(threading, "excepthook", failed.append)  # it is put away in a thread of its own
    before = set(threading.enumerate())
    Errands().run(do.KeepGreeting((b"AAAA",)), lambda event: None)
    for errand in set(threading.enumerate()) - before:
        errand.join(20)
    assert failed == []

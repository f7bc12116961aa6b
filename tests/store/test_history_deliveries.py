"""What is to be told about calls that are over, on SQLite and PostgreSQL: noted once, claimed by one."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from flask_migrate import upgrade
from sqlalchemy.exc import OperationalError

from flaskapp.store.history import CallChanged, CallOver

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
A_SECOND = timedelta(seconds=1)


@pytest.fixture
def history(bare_app):
    upgrade()
    return bare_app.extensions["history"]


def over(call_sid: str = "CA1", event_id: str = "evt_1", due_at: datetime = NOON) -> CallOver:
    return CallOver(call_sid, event_id, NOON - A_SECOND, due_at)


def test_the_first_to_say_that_a_call_is_over_is_right(history):
    history.write([over(), over(event_id="evt_2", due_at=NOON + A_SECOND)])
    row = history.deliveries.of("CA1")
    assert (row["event_id"], row["due_at"], row["attempts"]) == ("evt_1", NOON, 0)
    assert history.call("CA1")["status"] == "queued", "one that nobody opened is known now"
    assert history.deliveries.of("CA2") is None


def test_those_are_due_whose_time_has_come_the_longest_due_first(history):
    times = {"CA1": NOON, "CA2": NOON - A_SECOND, "CA3": NOON + A_SECOND}
    history.write([over(sid, f"evt_{sid}", at) for sid, at in times.items()])
    assert history.deliveries.due(NOON) == [("CA2", NOON - A_SECOND), ("CA1", NOON)]
    assert history.deliveries.due(NOON, limit=1) == [("CA2", NOON - A_SECOND)]


def test_what_is_accepted_or_given_up_is_never_due_again(history):
    history.write([over(), over("CA2", "evt_2")])
    kept = history.deliveries
    kept.accepted(kept.claim("CA1", NOON), NOON)
    kept.given_up(kept.claim("CA2", NOON), "HTTP 410", NOON)
    assert kept.due(NOON + timedelta(days=365)) == []
    history.write([over(), over("CA2", "evt_2")])
    assert kept.due(NOON + timedelta(days=365)) == []
    assert (kept.of("CA1")["accepted_at"], kept.of("CA2")["given_up_at"]) == (NOON, NOON)
    assert kept.of("CA2")["last_error"] == "HTTP 410"


def test_of_many_who_claim_at_once_one_has_it(history):
    history.write([over()])
    claims, start = [], threading.Barrier(8)

    def claim() -> None:
        start.wait(30)
        for _ in range(20):  # a busy machine may be too slow to connect in time
            with suppress(OperationalError):
                claims.append(history.deliveries.claim("CA1", NOON))
                return

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(claims) == 8
    assert len([each for each in claims if each]) == 1


def test_a_claim_that_ran_out_is_somebody_elses_and_says_nothing_more(history):
    history.write([over()])
    kept = history.deliveries
    first = kept.claim("CA1", NOON)
    assert kept.claim("CA1", NOON + 59 * A_SECOND) is None
    second = kept.claim("CA1", NOON + 60 * A_SECOND)
    assert (second.event_id, second.attempts) == ("evt_1", 0)
    kept.failed(first, "HTTP 500", NOON)
    kept.postpone(first, NOON)
    kept.given_up(first, "HTTP 410", NOON)
    row = kept.of("CA1")
    assert (row["due_at"], row["attempts"], row["last_error"]) == (second.until, 0, None)
    kept.accepted(first, NOON)
    assert kept.of("CA1")["due_at"] is None, "but accepted is accepted"


def test_an_attempt_in_vain_is_counted_and_another_day_is_not(history):
    history.write([over()])
    kept = history.deliveries
    kept.failed(kept.claim("CA1", NOON), "HTTP 500", NOON)
    kept.postpone(kept.claim("CA1", NOON), NOON)
    again = kept.claim("CA1", NOON)
    assert (again.attempts, again.last_error, again.created_at) == (1, "HTTP 500", NOON - A_SECOND)


def test_a_calls_outcome_message_and_cost_are_in_its_row(history):
    message = {"text": "Call me\0", "name": "", "callback": "+1"}
    history.write([CallChanged("CA1", {"outcome": "message", "message": message, "cost_usd": 0.25})])
    row = history.call("CA1")
    assert (row["outcome"], row["cost_usd"]) == ("message", 0.25)
    assert row["message"] == {"text": "Call me", "name": "", "callback": "+1"}
    history.write([CallChanged("CA1", {"message": None})])
    assert history.call("CA1")["message"] is None

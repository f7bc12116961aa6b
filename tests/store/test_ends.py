"""The end of a call outlives whoever noted it, is written once, and turns nothing back."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask_migrate import upgrade
from redis.exceptions import ConnectionError as RedisIsAway
from sqlalchemy.exc import OperationalError

from flaskapp.metrics import Metrics
from flaskapp.phone.listener import CallEnded
from flaskapp.phone.transcript import AGENT, CALLER, Line
from flaskapp.store import ends, keys
from flaskapp.store.ends import Ends
from flaskapp.store.history import CallChanged, CallOpened, CallOver, EventHappened, TurnSaved
from flaskapp.store.live import LiveStore, connect
from flaskapp.store.restore import OTHERS_WRITE_WITHIN_S, Restorer
from flaskapp.store.scribe import Scribe
from flaskapp.store.tables import db
from tests import servers
from tests.store.conftest import history_app

THEN = datetime(2026, 3, 1, 12, 0, 0, 250, tzinfo=UTC)
LATER = THEN + timedelta(minutes=5)
LATE_S = OTHERS_WRITE_WITHIN_S + 1


class NoDatabase:
    """A history that is away."""

    def write(self, entries: Any) -> None:
        raise OperationalError("insert", {}, Exception("connection refused"))

    def call(self, call_sid: str) -> Any:
        self.write([])


@pytest.fixture
def live() -> LiveStore:
    return LiveStore(connect(""))


@pytest.fixture
def history(tmp_path):
    app = history_app(f"sqlite:///{tmp_path}/calls.sqlite3")
    with app.app_context():
        upgrade()
        yield app.extensions["history"]
        db.engine.dispose()


def a_scribe(live: LiveStore, history: Any) -> Scribe:
    made = Scribe(history, Metrics(), live, "openai", "m")
    made.over = lambda sid: made.note(over(sid))
    return made


def over(call_sid: str = "CA1") -> CallOver:
    return CallOver(call_sid, f"evt_{call_sid}", THEN, LATER)


def ended(reason: str = "goodbye", at: datetime = THEN, **more: Any) -> CallChanged:
    return CallChanged("CA1", {"ended_reason": reason, "ended_at": at, **more})


def waiting(live: LiveStore) -> list[Any]:
    return [ends.entry_of(mark) for mark in Ends(live.redis).unwritten(time.time() + 60, 100)]


def call_without_a_database(live: LiveStore) -> None:
    """A call from its first second to its last, on a worker that could write nothing of it."""
    scribe = a_scribe(live, NoDatabase())
    live.begin("CA1")
    live.remember("CA1", caller="+1", called="+2", path="live")
    lines = (
        Line("i1", 0, CALLER, "Are you open?", 100, 900, True),
        Line("i2", 1, AGENT, "We are.", 1000, 1900, True),
    )
    scribe.call_ended(
        CallEnded("CA1", "goodbye", False, 2000, {"input_tokens": 7}, lines=lines, cost_usd=0.25)
    )


def test_an_entry_comes_back_as_it_was(live):
    entries = [
        CallOpened("CA1", "twilio", "+1", "+2", "rejected", THEN),
        ended(usage={"a": 1.5}, message={"text": "ä\n", "name": "", "callback": ""}),
        CallChanged("CA1", {"status": "completed"}, THEN),
        over(),
    ]
    marks = Ends(live.redis).keep(entries)
    assert all(marks)
    assert waiting(live) == entries
    assert 0 < live.redis.ttl(keys.ENDED_CALLS) <= keys.TURN_KEPT_S


def test_only_what_is_about_an_end_is_kept(live):
    others = [
        CallOpened("CA1", "twilio", "+1", "+2", "live", THEN),
        CallChanged("CA1", {"status": "in-progress"}),
        CallChanged("CA1", {"message": None}),
        EventHappened("CA1", 0, "connected"),
    ]
    assert Ends(live.redis).keep(others) == [""] * 4
    assert waiting(live) == []


def test_what_the_scribe_has_written_is_kept_no_longer(live, history):
    scribe = a_scribe(live, history)
    scribe.note(ended(), over())
    assert scribe.settle(20)
    assert waiting(live) == []
    assert not live.redis.exists(keys.ENDED_CALLS)


def test_what_a_scribe_could_not_write_another_process_writes(live, history):
    call_without_a_database(live)
    Restorer(live, history).restore(time.time() + LATE_S)
    row = history.call("CA1")
    assert (row["caller"], row["called"], row["mode"], row["ended_reason"]) == ("+1", "+2", "live", "goodbye")
    assert (row["usage"], row["cost_usd"], row["duration_ms"]) == ({"input_tokens": 7}, 0.25, 2000)
    assert [turn["text"] for turn in history.turns("CA1")] == ["Are you open?", "We are."]
    assert history.deliveries.of("CA1")["event_id"] == "evt_CA1"
    assert waiting(live) == []


@pytest.mark.parametrize(("needs_fallback", "told"), [("0", ["CA1"]), ("1", [])])
def test_that_it_is_over_is_said_where_a_worker_died_before_it_could(live, history, needs_fallback, told):
    live.remember("CA1", state="ended", needs_fallback=needs_fallback)
    Ends(live.redis).keep([ended()])
    over_for_good: list[str] = []
    Restorer(live, history, over_for_good.append).restore(time.time() + LATE_S)
    assert over_for_good == told


def test_a_writer_that_lives_is_given_its_time(live, history):
    call_without_a_database(live)
    Restorer(live, history).restore(time.time() + OTHERS_WRITE_WITHIN_S - 4)
    assert history.call("CA1") is None
    assert waiting(live) != []


def test_a_later_end_and_a_message_are_not_turned_back(live, history):
    history.write([ended("max_cost", LATER, message={"text": "second"}, cost_usd=0.5)])
    Ends(live.redis).keep(
        [ended("goodbye", THEN, message={"text": "first"}, cost_usd=0.1, status="completed")]
    )
    Restorer(live, history).restore(time.time() + LATE_S)
    row = history.call("CA1")
    assert (row["ended_reason"], row["ended_at"], row["cost_usd"]) == ("max_cost", LATER, 0.5)
    assert (row["message"], row["status"]) == ({"text": "second"}, "completed")


def test_a_message_that_the_history_has_stays(live, history):
    history.write([CallChanged("CA1", {"message": {"text": "second"}})])
    Ends(live.redis).keep([CallChanged("CA1", {"message": {"text": "first"}})])
    Restorer(live, history).restore(time.time() + LATE_S)
    assert history.call("CA1")["message"] == {"text": "second"}


def test_what_was_used_after_the_end_stays_counted(live, history):
    call_without_a_database(live)
    at = waiting(live)[0].fields["ended_at"]
    history.write([ended(at=at, usage={"input_tokens": 9}, cost_usd=0.5)])
    Restorer(live, history).restore(time.time() + LATE_S)
    row = history.call("CA1")
    assert (row["usage"], row["cost_usd"]) == ({"input_tokens": 9}, 0.5)


def test_a_delivery_that_is_under_way_is_not_begun_again(live, history):
    history.write([CallOver("CA1", "evt_first", THEN, THEN)])
    history.deliveries.accepted(history.deliveries.claim("CA1", LATER), LATER)
    Ends(live.redis).keep([over()])
    Restorer(live, history).restore(time.time() + LATE_S)
    row = history.deliveries.of("CA1")
    assert (row["event_id"], row["accepted_at"], row["due_at"]) == ("evt_first", LATER, None)


def test_lines_of_a_call_that_goes_on_are_left_to_whoever_has_it(live, history):
    call_without_a_database(live)
    live.remember("CA1", state="live")
    live.keep_lines(
        "CA1",
        [{"item_id": "i3", "position": 2, "speaker": CALLER, "text": "And", "start_ms": 1, "end_ms": 2,
          "is_final": False, "mode": "live"}],
    )  # fmt: skip
    history.write([TurnSaved("CA1", "i3", 2, CALLER, "And", 1, 2, "live", False, False)])
    Restorer(live, history).restore(time.time() + LATE_S)
    assert [(turn["text"], turn["is_final"]) for turn in history.turns("CA1")] == [("And", False)]


def test_what_cannot_be_written_is_dropped_alone(live, history, caplog):
    Ends(live.redis).keep([CallChanged("CA1", {"ended_at": THEN, "no_such_column": 1}), over()])
    live.redis.zadd(keys.ENDED_CALLS, {'CA2 ["NoSuchKind", {}]': 1.0 + time.time()})
    Restorer(live, history).restore(time.time() + LATE_S + 2)
    assert history.deliveries.of("CA1") is not None
    assert waiting(live) == []
    assert "cannot be written" in caplog.text
    assert "cannot be read" in caplog.text


def test_one_calls_trouble_is_not_the_others(live, history):
    live.remember("CA0", state="ended")
    live.keep_lines("CA0", [{"item_id": "i1", "position": 0, "mode": "live"}])
    Ends(live.redis).keep([CallChanged("CA0", {"ended_at": THEN}), ended()])
    Restorer(live, history).restore(time.time() + LATE_S)
    assert history.call("CA1")["ended_at"] == THEN
    assert [entry.call_sid for entry in waiting(live)] == ["CA0"]


def test_what_is_of_no_use_any_more_is_dropped(live):
    Ends(live.redis, lambda: time.time() - keys.TURN_KEPT_S - 10).keep([ended()])
    assert Ends(live.redis).unwritten(time.time(), 10) == []
    assert not live.redis.exists(keys.ENDED_CALLS)


def test_without_a_database_a_call_is_not_forgotten():
    with servers.redis_server() as url:
        live = LiveStore(connect(url))
        call_without_a_database(live)
        names = (keys.call("CA1"), keys.lines("CA1"))
        for name in names:
            assert live.redis.expire(name, 5)
        restorer = Restorer(live, NoDatabase())
        with pytest.raises(OperationalError):
            restorer.restore(time.time() + LATE_S)
        for name in names:
            assert 5 < live.redis.ttl(name) <= keys.FORGOTTEN_S
        assert waiting(live) != []


def test_a_call_that_goes_on_is_not_forgotten_sooner_for_that(live):
    live.begin("CA1")
    live.remember("CA1", path="live")
    Ends(live.redis).keep([ended()])
    with pytest.raises(OperationalError):
        Restorer(live, NoDatabase()).restore(time.time() + LATE_S)
    assert live.redis.ttl(keys.call("CA1")) > keys.FORGOTTEN_S


def test_a_redis_that_is_away_stops_no_note(live, history, monkeypatch):
    scribe = a_scribe(live, history)

    def away(*_: Any, **__: Any) -> None:
        raise RedisIsAway

    monkeypatch.setattr(live.redis, "pipeline", away)
    monkeypatch.setattr(live.redis, "zrem", away)
    scribe.note(ended(), over())
    assert scribe.settle(20)
    assert history.call("CA1")["ended_reason"] == "goodbye"

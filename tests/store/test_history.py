"""The history, on SQLite and on PostgreSQL: what is written once, twice, out of order, or while locked."""

from __future__ import annotations

import sqlite3
import threading
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from flask_migrate import upgrade
from sqlalchemy import text
from sqlalchemy.dialects import sqlite

from flaskapp.store.history import (
    CallChanged,
    CallOpened,
    EventHappened,
    OpenLinesWithdrawn,
    RecordingChanged,
    TurnSaved,
)
from flaskapp.store.statements import statements
from flaskapp.store.tables import db
from tests.store.conftest import history_app

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
OPENED = CallOpened("CA1", "twilio", " 1234567890", "+0987654321", "live", NOON)


def turn(item: str = "a", position: int = 0, **fields) -> TurnSaved:
    words = {"speaker": "caller", "text": "hello", "start_ms": 0, "end_ms": 900, "mode": "live"}
    return TurnSaved("CA1", item, position, **words | {"interrupted": False, "is_final": True} | fields)


@pytest.fixture
def history(bare_app):
    upgrade()
    return bare_app.extensions["history"]


def test_a_call_is_remembered_as_it_was_given(history):
    history.write([OPENED])
    call = history.call("CA1")
    assert {name: call[name] for name in ("carrier", "caller", "called", "mode", "status", "started_at")} == {
        "carrier": "twilio",
        "caller": " 1234567890",
        "called": "+0987654321",
        "mode": "live",
        "status": "ringing",
        "started_at": NOON,
    }
    assert history.call("CA2") is None


def test_times_come_back_in_utc_whatever_zone_they_were_given_in(history):
    plus_two = timezone(timedelta(hours=2))
    history.write([CallChanged("CA1", {"ended_at": datetime(2026, 11, 21, 14, tzinfo=plus_two)})])
    assert history.call("CA1")["ended_at"] == NOON
    assert history.call("CA1")["ended_at"].utcoffset() == timedelta(0)


def test_writing_the_same_again_changes_nothing(history):
    entries = [
        OPENED,
        turn(),
        EventHappened("CA1", 10, "dtmf", {"digit": "1"}),
        CallChanged("CA1", {"status": "completed", "usage": {"input_audio": 3}}),
    ]
    history.write(entries)
    before = history.call("CA1"), history.turns("CA1"), history.events("CA1")
    history.write(entries)
    assert (history.call("CA1"), history.turns("CA1"), history.events("CA1")) == before


def test_turns_are_told_in_order_with_their_fields(history):
    answer = turn("b", 1, speaker="agent", text="hi", engine_ms=400, bridge_ms=3)
    history.write([OPENED, answer, turn("a", 0)])
    first, second = history.turns("CA1")
    assert (first["item"], first["engine_ms"]) == ("a", None)
    assert second == {
        **{"position": 1, "speaker": "agent", "text": "hi", "item": "b", "start_ms": 0, "end_ms": 900},
        **{"mode": "live", "interrupted": False, "is_final": True, "engine_ms": 400, "bridge_ms": 3},
        **{"heard_ms": None, "noticed_ms": None, "words_ms": None, "generated": ""},
    }


def test_a_growing_turn_keeps_its_row_and_a_final_one_stays_final(history):
    history.write([turn(text="hel", is_final=False, engine_ms=5), turn(text="hello there")])
    history.write([turn(text="hel", is_final=False)])
    assert [(each["text"], each["is_final"], each["engine_ms"]) for each in history.turns("CA1")] == [
        ("hello there", True, 5)
    ]
    history.write([turn(text="hello", interrupted=True)])
    assert history.turns("CA1")[0]["interrupted"] is True


def test_lines_that_a_dead_worker_left_open_are_withdrawn_but_for_those_that_others_know(history):
    history.write(
        [OPENED, turn("done", 0), turn("known", 1, is_final=False), turn("lost", 2, is_final=False)]
    )
    history.write([OpenLinesWithdrawn("CA1", ("known",)), turn("known", 1, text="hello the")])
    told = [(line["item"], line["text"], line["is_final"]) for line in history.turns("CA1")]
    assert told == [("done", "hello", True), ("known", "hello the", True)]


def test_words_of_an_unknown_call_make_the_call_known(history):
    history.write([turn(), EventHappened("CA9", 5, "fault", {"kind": "odd"})])
    assert history.call("CA1")["status"] == "queued"
    assert history.events("CA9") == [{"at_ms": 5, "kind": "fault", "detail": {"kind": "odd"}}]
    history.write([OPENED])
    assert (history.call("CA1")["carrier"], history.call("CA1")["status"]) == ("twilio", "ringing")


@pytest.mark.parametrize(
    ("arriving", "left"),
    [
        (["queued", "initiated", "ringing", "in-progress", "completed"], "completed"),
        (["completed", "in-progress", "ringing"], "completed"),
        (["in-progress", "ringing", "initiated"], "in-progress"),
        (["busy", "completed"], "busy"),
    ],
)
def test_a_status_only_rises(history, arriving, left):
    for status in arriving:
        history.write([CallChanged("CA1", {"status": status})])
    assert history.call("CA1")["status"] == left


def test_a_webhook_that_comes_again_opens_nothing_new(history):
    history.write([OPENED, CallChanged("CA1", {"status": "in-progress", "mode": "recorded"})])
    history.write([CallOpened("CA1", "twilio", "+1", "+2", "live", NOON + timedelta(minutes=1))])
    call = history.call("CA1")
    assert (call["status"], call["mode"], call["started_at"]) == ("in-progress", "recorded", NOON)
    assert call["caller"] == " 1234567890"


def test_the_status_sequence_only_rises(history):
    for number in (2, 5, 3):
        history.write([CallChanged("CA1", {"status_sequence": number})])
    assert history.call("CA1")["status_sequence"] == 5


def test_calls_are_paged_newest_first(history):
    history.write([CallChanged(f"CA{number}", {}) for number in range(5)])
    first = history.calls(limit=2)
    assert [call["call_sid"] for call in first] == ["CA4", "CA3"]
    assert [call["call_sid"] for call in history.calls(after="CA3")] == ["CA2", "CA1", "CA0"]


def test_a_field_that_calls_do_not_have_is_refused_and_nothing_is_written(history):
    with pytest.raises(ValueError, match="calls have no colour"):
        history.write([OPENED, CallChanged("CA1", {"colour": "red"})])
    with pytest.raises(ValueError, match="no status of a call"):
        history.write([OPENED, CallChanged("CA1", {"status": "odd"})])
    assert history.call("CA1") is None


def test_characters_that_no_database_keeps_are_left_out(history):
    history.write([CallOpened("CA1", "twilio", "+1\0", "\ud800", "live", NOON), turn(text="a\0b")])
    assert (history.call("CA1")["caller"], history.turns("CA1")[0]["text"]) == ("+1", "ab")


def test_many_writers_at_once_lose_nothing(history):
    def write(number: int) -> None:
        for item in range(10):
            history.write(
                [turn(f"{number}-{item}", number * 10 + item), CallChanged("CA1", {"status": "ringing"})]
            )

    writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [each["position"] for each in history.turns("CA1")] == list(range(80))


def test_a_locked_database_is_waited_for(tmp_path):
    path = tmp_path / "calls.sqlite3"
    app = history_app(f"sqlite:///{path}")
    with app.app_context():
        upgrade()
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.5, other.execute, ["COMMIT"])
    release.start()
    began = time.monotonic()
    app.extensions["history"].write([OPENED])
    assert 0.4 < time.monotonic() - began < 5
    release.join()
    other.close()


def test_sqlite_is_opened_for_readers_beside_a_writer(tmp_path):
    app = history_app(f"sqlite:///{tmp_path}/deep/er/calls.sqlite3")
    with app.app_context(), db.engine.connect() as connection:
        asked = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        told = {name: connection.execute(text(f"PRAGMA {name}")).scalar() for name in asked}
    assert told == {"journal_mode": "wal", "synchronous": 1, "foreign_keys": 1, "busy_timeout": 20}


def recorded(**fields) -> RecordingChanged:
    return RecordingChanged("CA1", "RE1", fields)


CLAIM = {"status": "claimed", "source": "recording", "account_sid": "AC1", "position": 2, "at_ms": 500}


def test_a_recording_is_remembered_with_its_call(history):
    history.write([OPENED, recorded(**CLAIM, duration_ms=1500)])
    row = history.recording("RE1")
    assert row.pop("created_at") <= datetime.now(UTC)
    assert row == {
        **CLAIM,
        **{"recording_sid": "RE1", "call_sid": "CA1", "called": "+0987654321", "duration_ms": 1500},
        **{"error": None, "attempts": None, "next_try_at": None},
    }
    assert history.recording("RE2") is None
    assert history.recordings("CA1") == [history.recording("RE1")]
    assert history.recordings("CA2") == []


@pytest.mark.parametrize(
    ("arriving", "left"),
    [
        (["claimed", "waiting", "claimed", "answered"], "answered"),
        (["answered", "waiting", "claimed"], "answered"),
        (["absent", "answered"], "absent"),
        (["waiting", "waiting"], "waiting"),
    ],
)
def test_a_recordings_status_only_rises_and_its_last_one_stays(history, arriving, left):
    for number, status in enumerate(arriving):
        history.write([recorded(status=status, attempts=number)])
    assert history.recording("RE1")["status"] == left
    assert history.recording("RE1")["attempts"] == max(
        at for at, status in enumerate(arriving) if status == left
    )


def test_an_echo_adds_what_was_unknown_and_takes_nothing_back(history):
    history.write([recorded(**CLAIM, error="unavailable: AI is away", next_try_at=NOON)])
    done = {
        "status": "answered",
        "source": "recording",
        "duration_ms": None,
        "error": None,
        "next_try_at": None,
    }
    history.write([recorded(**done), recorded(duration_ms=1500), recorded(duration_ms=None)])
    history.write([recorded(**CLAIM, error="echo")])
    row = history.recording("RE1")
    assert (row["status"], row["duration_ms"], row["account_sid"]) == ("answered", 1500, "AC1")
    assert (row["error"], row["next_try_at"]) == (None, None)


def test_of_two_who_write_at_once_the_later_one_adds_what_it_alone_knows(history):
    history.write([recorded(status="waiting", source="recording", error="unavailable", next_try_at=NOON)])
    place = {"account_sid": "AC1", "position": 4, "at_ms": 2500}
    history.write([recorded(status="claimed", source="buffer", **place)])
    row = history.recording("RE1")
    assert {name: row[name] for name in place} == place
    assert (row["status"], row["source"]) == ("waiting", "recording")
    assert (row["error"], row["next_try_at"]) == ("unavailable", NOON)


def test_open_recordings_are_those_that_are_due(history):
    history.write(
        [
            RecordingChanged("CA1", "REnew", {"status": "claimed"}),
            RecordingChanged("CA1", "REdue", {"status": "waiting", "next_try_at": NOON}),
            RecordingChanged(
                "CA1", "RElater", {"status": "waiting", "next_try_at": NOON + timedelta(minutes=1)}
            ),
            RecordingChanged("CA1", "REdone", {"status": "silent"}),
        ]
    )
    assert [row["recording_sid"] for row in history.open_recordings(NOON)] == ["REnew", "REdue"]
    assert [row["recording_sid"] for row in history.open_recordings(NOON, limit=1)] == ["REnew"]


def test_a_recording_of_a_call_that_nobody_knows_makes_it_known(history):
    history.write([RecordingChanged("CA9", "RE9", {})])
    assert history.call("CA9")["status"] == "queued"
    assert history.recording("RE9")["status"] == "claimed"
    history.write([RecordingChanged("CA9", "RE9", {})])
    assert len(history.recordings("CA9")) == 1


def test_a_status_that_recordings_do_not_have_is_refused(history):
    with pytest.raises(ValueError, match="no status of a recording"):
        history.write([recorded(status="odd")])
    with pytest.raises(ValueError, match="recordings have no call_id"):
        history.write([recorded(call_id=3)])


def test_a_line_that_was_withdrawn_is_no_turn(history):
    history.write([OPENED, turn("a", 0, text="half a", is_final=False), turn("b", 1)])
    history.write([turn("a", 0, text="")])
    assert [one["item"] for one in history.turns("CA1")] == ["b"]


def test_what_every_call_needs_is_written_by_statements_that_are_made_once():
    lines = [TurnSaved(f"CA{at}", f"i{at}", at, "agent", "yes", 0, 1, "live", False, True) for at in range(2)]
    events = [EventHappened(f"CA{at}", at, "dtmf", {"digit": str(at)}) for at in range(2)]
    opened = [CallOpened(f"CA{at}", "twilio", str(at), "", "live", datetime.now(UTC)) for at in range(2)]
    changed = [CallChanged(f"CA{at}", {"status": "completed", "duration_ms": at}) for at in range(2)]
    ended = [CallChanged(f"CA{at}", {"duration_ms": at}, datetime.now(UTC)) for at in range(2)]
    for first, second in (lines, events, opened, changed, ended):
        made = [[statement for statement, _ in statements(sqlite.insert, each)] for each in (first, second)]
        assert all(one is other for one, other in zip(*made, strict=True))

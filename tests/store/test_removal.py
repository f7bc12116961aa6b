"""Calls that are over are removed, all of them and nothing else; those that go on are left alone."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest

from flaskapp.phone.transcript import Line
from flaskapp.store import keys
from flaskapp.store.audio import AudioBuffer
from flaskapp.store.audio_parts import CALLER, Piece
from flaskapp.store.call_audio import CallAudio
from flaskapp.store.history import (
    CallChanged,
    CallOpened,
    CallOver,
    EventHappened,
    History,
    RecordingChanged,
    TurnSaved,
)
from flaskapp.store.live import LiveStore, connect
from flaskapp.store.removal import GOES_ON, UNDERSTOOD, UNTOLD, Removal
from flaskapp.store.sealing import Seal
from flaskapp.store.tables import db
from flaskapp.store.turns import Turn, TurnBook

NOW = datetime(2026, 6, 1, tzinfo=UTC)
TABLES = ("calls", "turns", "events", "recordings", "traces", "deliveries")
SETTLED_S = 30.0


class Archive:
    """A history, a Redis and a folder, with calls of any age in them."""

    def __init__(self, app, folder) -> None:
        db.create_all()
        self.connections = connect("")
        self.history: History = app.extensions["history"]
        self.live, self.book = LiveStore(self.connections), TurnBook(self.connections)
        self.audio = CallAudio(folder, Seal())
        self.removal = Removal(self.history, self.audio, self.live, 30, NOW.timestamp)

    def call(self, call_sid: str, days_ago: float, *, is_over: bool = True) -> None:
        """A call with something in every place where calls are kept."""
        began = NOW - timedelta(days=days_ago)
        ended = [CallChanged(call_sid, {"ended_at": began, "status": "completed"})] if is_over else []
        self.history.write(
            [
                CallOpened(call_sid, "twilio", "+1555", "+1666", "live", began),
                TurnSaved(call_sid, "a", 0, "caller", "canary", 0, 9, "live", False, True),
                EventHappened(call_sid, 5, "barge_in"),
                RecordingChanged(call_sid, f"RE{call_sid}", {"status": "answered"}),
                *ended,
            ]
        )
        self.live.keep_lines(call_sid, [vars_of(Line("a", 0, "caller", "canary"))])
        AudioBuffer(self.connections).append(call_sid, 0, bytes(800))
        self.audio.keep(call_sid, "a", [Piece(CALLER, 0, bytes(800))])
        assert self.audio.settle(SETTLED_S)

    def rows(self) -> dict[str, int]:
        with db.engine.connect() as connection:
            count = {name: f"select count(*) from {name}" for name in TABLES}
            return {name: connection.exec_driver_sql(query).scalar() for name, query in count.items()}

    def names(self) -> set[str]:
        return set(self.connections.text.keys("*"))


def vars_of(line: Line) -> dict:
    return {name: getattr(line, name) for name in line.__slots__}


@pytest.fixture
def archive(bare_app, tmp_path) -> Archive:
    return Archive(bare_app, tmp_path / "audio")


def test_all_of_a_call_is_removed_and_nothing_of_another(archive):
    archive.call("CA1", 40)
    archive.call("CA2", 40)
    before = archive.names()
    removed = archive.removal.remove("CA1")
    assert (removed.call_sid, removed.rows, removed.bytes > 800) == ("CA1", 4, True)
    assert archive.rows() == dict.fromkeys(TABLES, 1) | {"traces": 0, "deliveries": 0}
    assert archive.names() == {name for name in before if "CA1" not in name}
    assert archive.audio.open("CA1") is None
    assert archive.audio.open("CA2") is not None


def test_what_is_old_is_removed_and_what_is_not_stays(archive):
    for number, days_ago in enumerate((100, 31, 29, 1)):
        archive.call(f"CA{number}", days_ago)
    archive.removal.sweep()
    assert [row["call_sid"] for row in archive.history.calls()] == ["CA3", "CA2"]
    assert [call_sid for call_sid, _ in archive.audio.calls()] == ["CA2", "CA3"]


def test_without_a_limit_everything_stays(archive):
    archive.call("CA1", 10_000)
    archive.removal.retention_days = 0
    archive.removal.sweep()
    assert archive.history.call("CA1") is not None


def test_a_removal_that_was_interrupted_is_finished_by_the_next(archive):
    archive.call("CA1", 40)
    archive.audio.delete("CA1")
    keys.erase(archive.live.redis, "CA1")  # and there the process was killed
    archive.removal.sweep()
    assert archive.history.calls() == []
    assert archive.removal.remove("CA1").rows == 0


def test_sound_without_a_call_is_found_too(archive):
    archive.call("CA1", 40)
    archive.history.erase("CA1")
    archive.removal.sweep()
    assert archive.audio.open("CA1") is not None, "something was added just now"
    old = (NOW - timedelta(days=40)).timestamp()
    for part in archive.audio.folder.glob("CA1/*"):
        os.utime(part, (old, old))
    archive.removal.sweep()
    assert archive.audio.open("CA1") is None


def test_a_call_without_a_time_is_as_old_as_those_around_it(archive):
    archive.history.write([TurnSaved("CA1", "a", 0, "caller", "canary", 0, 9, "recorded", False, True)])
    archive.call("CA2", 40)
    archive.history.write([TurnSaved("CA3", "a", 0, "caller", "canary", 0, 9, "recorded", False, True)])
    archive.removal.sweep()
    assert [row["call_sid"] for row in archive.history.calls()] == ["CA3"]


def test_a_call_that_goes_on_is_left_alone(archive):
    archive.call("CA1", 0.5, is_over=False)
    assert archive.removal.why_not("CA1") == GOES_ON
    archive.call("CA2", 40)
    archive.live.touch("CA2", NOW.timestamp())
    assert archive.removal.why_not("CA2") == GOES_ON
    archive.call("CA3", 40)
    archive.live.begin("CA3")
    assert archive.removal.why_not("CA3") == GOES_ON
    archive.live.forget_soon("CA3")
    assert archive.removal.why_not("CA3") == ""
    archive.removal.sweep()
    assert [row["call_sid"] for row in archive.history.calls()] == ["CA2", "CA1"]


def test_a_call_that_nobody_ended_is_over_some_day(archive):
    archive.call("CA1", 40, is_over=False)
    assert archive.removal.why_not("CA1") == ""


def test_words_that_are_still_to_be_understood_are_kept(archive):
    archive.call("CA1", 40)
    archive.book.claim(Turn("CA1", "RE9", "recording"))
    assert archive.removal.why_not("CA1") == UNDERSTOOD
    archive.call("CA2", 40)
    archive.history.write([RecordingChanged("CA2", "RE8", {"status": "waiting"})])
    assert archive.removal.why_not("CA2") == UNDERSTOOD


def test_a_call_of_which_somebody_is_still_to_be_told_is_kept(archive):
    archive.call("CA1", 40)
    archive.history.write([CallOver("CA1", "evt", NOW, NOW)])
    assert archive.removal.why_not("CA1") == UNTOLD

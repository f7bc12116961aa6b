"""`flask phone purge`: what a person is asked, what is removed, what is said."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from flaskapp.store.audio_parts import CALLER, Piece
from flaskapp.store.history import CallChanged, CallOpened, TurnSaved
from flaskapp.store.sealing import Seal


@pytest.fixture
def config(config, tmp_path):
    return {**config, "AUDIO_DIR": str(tmp_path / "audio")}


@pytest.fixture
def calls(app):
    """Two calls: one of yesterday, one of forty days ago."""
    history, audio = app.extensions["history"], app.extensions["call_audio"]
    for call_sid, days_ago in (("CAold", 40), ("CAnew", 1)):
        then = datetime.now(UTC) - timedelta(days=days_ago)
        history.write(
            [
                CallOpened(call_sid, "twilio", "+1555", "+1666", "live", then),
                TurnSaved(call_sid, "a", 0, "caller", "canary", 0, 9, "live", False, True),
                CallChanged(call_sid, {"ended_at": then, "status": "completed"}),
            ]
        )
        audio.keep(call_sid, "a", [Piece(CALLER, 0, bytes(8000))])
    assert audio.settle(30)


def kept(app) -> list[str]:
    return [row["call_sid"] for row in app.extensions["history"].calls()]


def purge(runner, *arguments, answer=None):
    return runner.invoke(args=["phone", "purge", *arguments], input=answer)


def test_what_is_older_is_removed_once_somebody_agreed(app, runner, calls):
    done = purge(runner, "--older-than", "30", answer="y\n")
    assert (done.exit_code, kept(app)) == (0, ["CAnew"])
    assert "Remove 1 call, 0.0 MB of sound?" in done.output
    assert "Removed 1 call, 2 rows" in done.output
    assert app.extensions["call_audio"].open("CAold") is None


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_who_does_not_agree_keeps_everything(app, runner, calls, answer):
    assert purge(runner, "--older-than", "30", answer=answer).exit_code == 1
    assert len(kept(app)) == 2


def test_what_would_be_removed_is_told_and_stays(app, runner, calls):
    done = purge(runner, "--older-than", "0", "--dry-run", "--json")
    assert json.loads(done.stdout) == {"calls": 2, "rows": 0, "bytes": 16_032, "kept": [], "dry_run": True}
    assert len(kept(app)) == 2


def test_one_call_is_removed_whatever_its_age(app, runner, calls):
    done = purge(runner, "--call", "CAnew", "--yes", "--json")
    told = json.loads(done.stdout)
    assert (told["calls"], told["rows"], kept(app)) == (1, 2, ["CAold"])
    again = purge(runner, "--call", "CAnew", "--yes")
    assert again.exit_code == 1
    assert "Nothing is kept of a call CAnew" in again.output


def test_a_call_that_goes_on_stays_and_it_is_said_why(app, runner, calls):
    app.extensions["live_store"].begin("CAnew")
    done = purge(runner, "--call", "CAnew", "--yes")
    assert done.exit_code == 1
    assert "CAnew stays: it is still going on." in done.output
    assert len(kept(app)) == 2


def test_without_an_age_the_setting_counts(config, app, runner, calls):
    refused = purge(runner)
    assert refused.exit_code == 2
    assert "RETENTION_DAYS is not set" in refused.output
    app.extensions["removal"].retention_days = 30
    assert purge(runner, "--yes").exit_code == 0
    assert kept(app) == ["CAnew"]


@pytest.mark.parametrize("days", ["36501", "1e7", "99999999999", "inf", "nan", "-1"])
@pytest.mark.parametrize("more", [["--dry-run"], ["--yes"]])
def test_an_age_that_no_call_has_is_refused(app, runner, calls, days, more):
    refused = purge(runner, "--older-than", days, *more)
    assert (refused.exit_code, len(kept(app))) == (2, 2)
    assert "Invalid value for '--older-than'" in refused.output
    assert "36500 at most" in purge(runner, "--help").output


def test_the_highest_age_is_none_too_many(runner, calls):
    assert purge(runner, "--older-than", "36500", "--dry-run").exit_code == 0


def test_nothing_to_remove_is_no_failure_and_nobody_is_asked(runner, calls):
    done = purge(runner, "--older-than", "365")
    assert (done.exit_code, done.output) == (0, "Removed 0 calls, 0 rows, 0.0 MB of sound.\n")


def test_a_new_data_key_is_one(runner):
    key = runner.invoke(args=["phone", "data-key"]).output.strip()
    assert Seal([key]).open(Seal([key]).close(b"sound")) == b"sound"


def test_the_sweeper_removes_what_is_too_old(config, calls, app):
    app.extensions["removal"].retention_days = 30
    app.extensions["jobs"].perform["purge"]()
    assert kept(app) == ["CAnew"]

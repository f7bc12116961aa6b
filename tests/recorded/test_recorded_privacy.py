"""What is kept of recorded turns: their sound in its place, their numbers masked."""

from __future__ import annotations

import pytest

from tests.recorded.calls import eventually, followed, post, recorded, rows, said, statuses


@pytest.fixture
def config(config, tmp_path):
    own = {"RECORD_CALLS": "1", "AUDIO_DIR": str(tmp_path / "audio"), "REDACT_DIGITS": "1"}
    return {**config, **own}


def test_a_turn_s_sound_is_kept_where_it_was_said(app, client, host, mind):
    post(client, "/phone/incoming-call")
    followed(client, recorded(client, host))
    eventually(lambda: statuses(app) == [("RE1", "answered")])
    (turn,) = [row for row in rows(app, "turns") if row["speaker"] == "caller"]
    (heard_ms, _, _), *_ = mind.asked
    kept = app.extensions["call_audio"].open("CA1")
    assert kept.duration_ms == pytest.approx(turn["start_ms"] + heard_ms, abs=2)
    assert len(list(app.extensions["call_audio"].folder.glob("CA1/*"))) == 1


def test_numbers_are_spoken_to_the_caller_and_masked_in_what_is_kept(app, client, host, mind):
    mind.words, mind.response = "My card is 4111 1111 1111 1111.", "Your number is 4711."
    post(client, "/phone/incoming-call")
    answer = followed(client, recorded(client, host))
    assert said(answer) == "Your number is 4711."
    assert [turn["text"] for turn in rows(app, "turns")] == [
        "My card is •••• •••• •••• ••••.",
        "Your number is ••••.",
    ]
    live = app.extensions["live_store"]
    assert {line["text"] for line in live.lines("CA1")} == {turn["text"] for turn in rows(app, "turns")}
    feed = live.redis.lrange("feed:CA1", 0, -1)
    assert feed
    assert not [each for each in feed if "4111" in each or "4711" in each]

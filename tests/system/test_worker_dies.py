"""`kill -9` of one of two workers: its callers go on live, and no old word is lost or doubled."""

from __future__ import annotations

import os
import signal
import time

import pytest

from flaskapp.simulator.person import Script, Utterance
from tests import servers
from tests.fakes import tone
from tests.system import ledger

pytestmark = pytest.mark.system

CALLS = 6
SECONDS = 45
TURNS = (
    "select turns.*, call_sid from turns join calls on calls.id = turns.call_id order by call_id, position"
)


@pytest.fixture
def crowd(office, redis_of_our_own):
    """Two workers with callers who chat; how it went is told when they hang up."""
    place = office({"WEB_CONCURRENCY": "2", "REDIS_URL": redis_of_our_own, "AGENT_GREETING": "Hello."})
    place.engine.behaviour.reply_ms = 1200
    place.engine.behaviour.numbers_replies = True
    spec = place.spec(
        script=Script((Utterance(tone(900, 16, seed=3), name="chat"),), repeat=True, quiet_ms=500),
        seconds=SECONDS,
        fallback_url=place.app.url + "/phone/fallback",
    )
    futures = [place.exchange.start(spec) for _ in range(CALLS)]

    def has_turned(times: int) -> bool:
        sessions = place.engine.sessions
        return len(sessions) >= CALLS and all(session.replies >= times for session in sessions[:CALLS])

    servers.wait_until(lambda: has_turned(2), "they do not talk", 120)
    return place, futures


def test_callers_of_a_worker_that_is_killed_go_on_live(crowd):
    place, futures = crowd
    victim, _ = ledger.workers_of(place.app.process.pid)
    killed_at = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    reports = [future.result(SECONDS + 120) for future in futures]

    assert [report.reason for report in reports if report.failed] == []
    moved = [report for report in reports if len(report.stream_sids) > 1]
    assert moved, "nobody was on that worker"
    assert not any(report.recordings for report in reports), "somebody was recorded"
    for report in reports:
        assert len(report.turns) >= 4, "nobody listens any more"
    servers.wait_until(lambda: _is_written(place, reports), "the history is not complete", 60)
    rows = place.rows(TURNS)
    assert ledger.lost(place.engine, rows, killed_at) == []
    assert ledger.doubled(rows) == []
    assert [row["text"] for row in rows if not row["is_final"]] == []
    assert not [session.offences for session in place.engine.sessions if session.offences]
    for report in moved:
        kept = [row for row in rows if row["call_sid"] == report.call_sid]
        assert [row["position"] for row in kept] == sorted({row["position"] for row in kept})
        greetings = [row for row in kept if row["speaker"] == "agent"][:1]
        assert greetings, "a call that lost its beginning"
    print("longest silence:", max(report.longest_silence_ms for report in moved), "ms")


def _is_written(place, reports) -> bool:
    ended = place.rows("select call_sid, ended_reason from calls where ended_at is not null")
    return {row["call_sid"] for row in ended} >= {report.call_sid for report in reports}

"""A worker dies, or is told to end, under calls over Exotel: its flow brings the callers back."""

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

CALLS = 4
SECONDS = 28
TURNS = (
    "select turns.*, call_sid from turns join calls on calls.id = turns.call_id order by call_id, position"
)


@pytest.mark.parametrize("word", [signal.SIGKILL, signal.SIGTERM])
def test_callers_of_a_worker_that_goes_come_back_live(office, redis_of_our_own, word):
    place = office({"WEB_CONCURRENCY": "2", "REDIS_URL": redis_of_our_own, "AGENT_GREETING": "Hello."})
    place.engine.behaviour.reply_ms = 1200
    place.engine.behaviour.numbers_replies = True
    spec = place.spec(
        url=place.app.url,
        status_callback="",
        carrier="exotel",
        sample_rate_hz=16_000,
        script=Script((Utterance(tone(900, 16, seed=3), name="chat"),), repeat=True, quiet_ms=500),
        seconds=SECONDS,
    )
    futures = [place.exchange.start(spec) for _ in range(CALLS)]

    def has_turned() -> bool:
        sessions = place.engine.sessions
        return len(sessions) >= CALLS and all(session.replies >= 2 for session in sessions[:CALLS])

    servers.wait_until(has_turned, "they do not talk", 120)
    victim = max(ledger.workers_of(place.app.process.pid), key=_streams_of)
    ended_at = time.monotonic()
    os.kill(victim, word)
    reports = [future.result(SECONDS + 120) for future in futures]

    moved = [report for report in reports if len(report.stream_sids) > 1]
    assert moved, "nobody was on that worker"
    assert not any(report.violations for report in reports)
    assert not any(report.recordings for report in reports), "somebody was sent to the voicemail"
    for report in reports:
        assert len(report.turns) >= 4, "nobody listens any more"

    def is_written() -> bool:
        ended = place.rows("select call_sid from calls where ended_at is not null")
        return {row["call_sid"] for row in ended} >= {report.call_sid for report in reports}

    servers.wait_until(is_written, "the history is not complete", 60)
    rows = place.rows(TURNS)
    assert ledger.lost(place.engine, rows, ended_at) == []
    assert ledger.doubled(rows) == []
    assert [row["text"] for row in rows if not row["is_final"]] == []
    assert not [session.offences for session in place.engine.sessions if session.offences]
    print("longest silence:", max(report.longest_silence_ms for report in moved), "ms")


def _streams_of(pid: int) -> int:
    """How many sockets a worker has: the more, the more calls."""
    return sum("socket" in os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))

"""SIGTERM under calls: whoever is told to end hands its calls over, and is gone in time."""

from __future__ import annotations

import http.client
import os
import signal
import time
from pathlib import Path

import pytest

from flaskapp.phone.audio import MULAW_BYTES_PER_MS
from flaskapp.simulator.person import Script, Utterance
from flaskapp.simulator.report import CallReport
from flaskapp.store import audio_parts
from flaskapp.store.audio_parts import AGENT, CALLER, Record
from flaskapp.store.call_audio import CallAudio
from flaskapp.store.sealing import Seal
from tests import servers
from tests.fakes import tone
from tests.system import ledger
from tests.system.proxy import nginx

pytestmark = pytest.mark.system

CALLS = 5
SECONDS = 45
GONE_WITHIN_S = 25
FRAME_MS = 20
#: What the caller said into a stream that was being closed just then is lost.
ON_ITS_WAY_MS = 1000
TURNS = "select turns.*, call_sid from turns join calls on calls.id = call_id order by call_id, position"
FORM = "CallSid=CA1&From=%2B15550001111&To=%2B15552223333"
FORM_TYPE = {"Content-Type": "application/x-www-form-urlencoded"}


def is_alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def gone_after_s(pid: int, since: float) -> float:
    servers.wait_until(lambda: not is_alive(pid), f"{pid} stays", 60)
    return time.monotonic() - since


def place_calls(place, url: str, **wanted):
    """Callers who chat, all of whom have been answered."""
    place.engine.behaviour.reply_ms = 1200
    place.engine.behaviour.numbers_replies = True
    spec = place.spec(
        url=url + "/phone/incoming-call-streaming",
        status_callback=url + "/phone/call-status",
        fallback_url=url + "/phone/fallback",
        script=Script((Utterance(tone(900, 16, seed=3), name="chat"),), repeat=True, quiet_ms=500),
        seconds=SECONDS,
        **wanted,
    )
    futures = [place.exchange.start(spec) for _ in range(CALLS)]

    def has_turned() -> bool:
        sessions = place.engine.sessions
        return len(sessions) >= CALLS and all(session.replies >= 2 for session in sessions[:CALLS])

    servers.wait_until(has_turned, "they do not talk", 120)
    return futures


def assert_nothing_happened(place, reports, ended_at: float, moved_at_least: int) -> None:
    """To the callers, that is."""
    assert [report.reason for report in reports if report.failed] == []
    moved = [report for report in reports if len(report.stream_sids) > 1]
    assert len(moved) >= moved_at_least
    assert not any(report.recordings for report in reports), "somebody was recorded"
    codes = [problem.text for report in reports for problem in report.problems]
    assert not any("1006" in text for text in codes), "a stream was closed without a word"

    def is_written() -> bool:
        ended = place.rows("select call_sid from calls where ended_at is not null")
        return {row["call_sid"] for row in ended} >= {report.call_sid for report in reports}

    servers.wait_until(is_written, "the history is not complete", 60)
    rows = place.rows(TURNS)
    assert ledger.lost(place.engine, rows, ended_at) == []
    assert ledger.doubled(rows) == []
    assert [row["text"] for row in rows if not row["is_final"]] == []
    log = place.app.log.read_text()
    assert "Traceback" not in log
    assert "not written" not in log
    print("longest silence:", max(report.longest_silence_ms for report in reports), "ms")


def test_calls_of_a_worker_that_is_told_to_end_go_on_in_its_sibling(office, redis_of_our_own, tmp_path):
    kept = CallAudio(tmp_path / "kept", Seal())
    keeps = {"RECORD_CALLS": "1", "AUDIO_DIR": str(kept.folder)}
    place = office(
        {"WEB_CONCURRENCY": "2", "REDIS_URL": redis_of_our_own, "AGENT_GREETING": "Hello.", **keeps}
    )
    futures = place_calls(place, place.app.url)
    leaver, _ = ledger.workers_of(place.app.process.pid)
    ended_at = time.monotonic()
    os.kill(leaver, signal.SIGTERM)
    assert gone_after_s(leaver, ended_at) < GONE_WITHIN_S
    reports = [future.result(SECONDS + 120) for future in futures]
    assert_nothing_happened(place, reports, ended_at, moved_at_least=1)
    for report in reports:
        if len(report.stream_sids) > 1:
            assert_kept_in_one_piece(kept, report)


def assert_kept_in_one_piece(kept: CallAudio, report: CallReport) -> None:
    """Of what was sent and heard nothing is missing, and the hand-over has no more room than it took time."""
    records = audio_parts.records_of(kept.folder, report.call_sid)
    assert len({each.path for each in records}) == len(report.streams), "each leg has a part"
    callers = [each for each in records if each.track == CALLER]
    kept_ms = audible_ms(callers)
    assert kept_ms >= report.pacing.frames * FRAME_MS - ON_ITS_WAY_MS
    assert audible_ms([each for each in records if each.track == AGENT]) >= sum(
        turn.heard_ms for turn in report.turns
    )
    first, *_, last = report.streams
    holes_ms = (callers[-1].end - callers[0].first) // MULAW_BYTES_PER_MS - kept_ms
    assert holes_ms <= last.started_ms - first.ended_ms + ON_ITS_WAY_MS
    sound = kept.open(report.call_sid)
    assert sound is not None
    assert sound.duration_ms == max(each.end for each in records) // MULAW_BYTES_PER_MS


def audible_ms(records: list[Record]) -> int:
    return sum(each.end - each.first for each in records) // MULAW_BYTES_PER_MS


def test_new_workers_take_over_the_calls_of_old_ones(office, redis_of_our_own):
    place = office({"WEB_CONCURRENCY": "2", "REDIS_URL": redis_of_our_own, "AGENT_GREETING": "Hello."})
    futures = place_calls(place, place.app.url)
    old = ledger.workers_of(place.app.process.pid)
    ended_at = time.monotonic()
    place.app.process.send_signal(signal.SIGHUP)
    for worker in old:
        assert gone_after_s(worker, ended_at) < GONE_WITHIN_S + 5, "the new ones are there first"
    reports = [future.result(SECONDS + 120) for future in futures]
    assert_nothing_happened(place, reports, ended_at, moved_at_least=CALLS)


# ---------------------------------------------------------------------- two servers


def test_calls_of_a_server_that_ends_go_on_in_another(office, redis_of_our_own, tmp_path):
    port = servers.free_port()
    url = f"http://127.0.0.1:{port}"
    shared = {
        "REDIS_URL": redis_of_our_own,
        "WEB_CONCURRENCY": "2",
        "AGENT_GREETING": "Hello.",
        "FLASK_BASE_URL": url,
    }
    leaver, stayer = office(shared), office(shared)
    behind = [int(each.app.url.rpartition(":")[2]) for each in (leaver, stayer)]
    with nginx(tmp_path, port, behind):
        futures = place_calls(stayer, url)
        ended_at = time.monotonic()
        leaver.app.process.send_signal(signal.SIGTERM)
        assert gone_after_s(leaver.app.process.pid, ended_at) < GONE_WITHIN_S
        reports = [future.result(SECONDS + 120) for future in futures]
        assert_nothing_happened(stayer, reports, ended_at, moved_at_least=1)
    assert "Traceback" not in leaver.app.log.read_text()


# ---------------------------------------------------------------------- a server that ends, by itself


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: str = ""):
    connection.request(method, path, body, FORM_TYPE if body else {})
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), answer.headers.get("Connection", "")


def test_a_server_that_ends_says_so_while_it_still_answers(gunicorn_app):
    app = gunicorn_app({"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"})
    host = app.url.removeprefix("http://")
    kept = http.client.HTTPConnection(host, timeout=30)
    assert ask(kept, "GET", "/ready")[0] == 200
    app.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    servers.wait_until(lambda: app.get("/ready")[0] == 503, "it is ready for ever")
    status, document, connection = ask(kept, "POST", "/phone/incoming-call-streaming", FORM)
    assert (status, connection) == (200, "close")
    assert "incoming-call-streaming?wait=1</Redirect>" in document
    assert app.process.wait(30) == 0
    assert time.monotonic() - began < 15, "it has no calls to wait for"


def test_a_signal_to_the_whole_process_group_drains_too(gunicorn_app):
    """Hosts do that, and the master tells its workers a second time then."""
    app = gunicorn_app({"DRAIN_SECONDS": "20"})
    (worker,) = ledger.workers_of(app.process.pid)
    for pid in (worker, app.process.pid):
        os.kill(pid, signal.SIGTERM)
    servers.wait_until(lambda: app.get("/ready")[0] == 503, "it does not drain")
    assert app.process.wait(30) == 0
    assert "This worker takes no more calls" in app.log.read_text()

"""Faults and attacks on the recording path, on the running system: what the caller hears, what is kept.

One town for all of them: gunicorn, Redis behind a line that can hang, a background worker, batch AI behind
a door that can be shut, a recording host that does what it is told, and signed webhooks.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from redis import Redis

from tests import servers
from tests.conftest import PROJECT, RunningApp, environment_of, flask
from tests.fake_recordings import RecordingHost, plain, redirect
from tests.fake_turns import FakeTurns, Fault
from tests.front_door import FrontDoor
from tests.hand_carrier import HandCarrier, Shelf, Told, number_of, sid, sound
from tests.stalling import StallingLine
from tests.system.conftest import ACCOUNT, TOKEN, Office
from tests.system.fates import ELSEWHERE, FATES, PAGE, PASSES, Fate

pytestmark = pytest.mark.system

#: "One second or less, always": on machines whose speed varies tenfold this much is let pass.
WEBHOOK_S = 3.0
HANGING_S = 5.0
NOTICE_S = 20.0
RECORDINGS = f"/2010-04-01/Accounts/{ACCOUNT.sid}/Recordings"


@dataclass
class Town:
    """The running system and those around it."""

    office: Office
    carrier: HandCarrier
    shelf: Shelf
    batch: FakeTurns
    door: FrontDoor
    line: StallingLine
    redis: Redis
    trap: RecordingHost
    _calls: int = 0
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def call(self, path: str = "/phone/incoming-call") -> tuple[str, int]:
        """A call that has begun, and the number of its first recording."""
        with self._guard:
            self._calls += 1
            number = self._calls
        call_sid = f"CAfault{number:04d}"
        self.carrier.post(path, call_sid)
        return call_sid, 10 * number

    def ends(self, call_sid: str, *statuses: str, within_s: float = 60.0) -> list[tuple[str, str]]:
        """A call's recordings, once they have come to these ends."""
        servers.wait_until(
            lambda: [status for _, status in self.office.recordings(call_sid)] == list(statuses),
            f"recordings of {call_sid} are {self.office.recordings(call_sid)}, not {statuses}",
            within_s,
        )
        return self.office.recordings(call_sid)

    def errors(self, call_sid: str) -> list[str]:
        query = "select error from recordings join calls on calls.id = recordings.call_id where call_sid = ?"
        return [row["error"] or "" for row in self.office.rows(query, call_sid)]

    def said(self, call_sid: str, speaker: str = "caller") -> list[str]:
        return [turn["text"] for turn in self.office.turns(call_sid) if turn["speaker"] == speaker]


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    folder = tmp_path_factory.mktemp("town")
    with ExitStack() as stack:
        redis_url = stack.enter_context(servers.redis_server())
        line = stack.enter_context(StallingLine(urlsplit(redis_url).port).running())
        shelf, trap = stack.enter_context(Shelf(())), stack.enter_context(RecordingHost((PAGE,)))
        batch = stack.enter_context(FakeTurns().running())
        batch.heard = lambda wav: f"message {number_of(wav)}"
        batch.answers = ["Answer."]
        door = stack.enter_context(FrontDoor(batch.origin, batch.origin).running())
        environment = environment_of(
            folder,
            {
                "PORT": str(servers.free_port()),
                "WEB_CONCURRENCY": "2",
                "REDIS_URL": f"redis://127.0.0.1:{line.port}/0",
                "OPENAI_BASE_URL": door.base_url,
                "OPENAI_API_KEY": "sk-test",
                "TWILIO_ACCOUNT_SID": ACCOUNT.sid,
                "TWILIO_AUTH_TOKEN": TOKEN,
                "TWILIO_API_BASE_URL": shelf.url,
            },
        )
        assert flask("db", "upgrade", environment=environment, cwd=folder).returncode == 0
        web = ("gunicorn", "-c", str(PROJECT / "gunicorn.conf.py"), "wsgi:app")
        processes = []
        for name, command in (("web", web), ("worker", ("flaskapp.worker",))):
            log = stack.enter_context((folder / f"{name}.log").open("ab"))
            where = {"env": environment, "cwd": folder, "stdout": log, "stderr": log}
            processes.append(subprocess.Popen([sys.executable, "-m", *command], **where))
            stack.callback(servers.stop, processes[-1], patience_s=60)
        url = f"http://127.0.0.1:{environment['PORT']}"
        app = RunningApp(url, folder / "web.log", processes[0], environment)
        servers.wait_until(app.is_healthy, "no /health")
        worker_log = folder / "worker.log"
        servers.wait_until(lambda: "Waiting for jobs" in worker_log.read_text(), "no background worker")
        carrier = HandCarrier(url, shelf.url, ACCOUNT.sid, TOKEN)
        redis = Redis.from_url(redis_url, decode_responses=True)
        yield Town(Office(app, None, None), carrier, shelf, batch, door, line, redis, trap)


# ---------------------------------------------------------------------- row 30: Redis hangs


@pytest.fixture(scope="module")
def hanging(town):
    """Calls while Redis hangs: what each webhook was told; it is well again afterwards."""
    known, number = town.call()
    waiting, other = town.call()
    town.batch.always = {"transcribe": Fault(pause_s=3.0)}
    asked = town.carrier.bring(waiting, sid(other))
    town.line.stall()
    told = {
        "polled": town.carrier.post(asked.asks_again, waiting),
        "brought": town.carrier.bring(known, sid(number)),
        "message": town.carrier.bring(known, sid(number + 1), query="?message=1"),
        "begun": town.carrier.post("/phone/incoming-call", "CAnew1"),
        "streaming": town.carrier.post("/phone/incoming-call-streaming", "CAnew2"),
        "stream ended": town.carrier.post("/phone/stream-ended/CAnew2", "CAnew2"),
        "fallback": town.carrier.post("/phone/fallback", "CAnew3"),
        "silence": town.carrier.post("/phone/process-voice/CAnew1?silences=1", "CAnew1"),
        "recording status": town.carrier.recording_status("CAnew1", sid(9)),
        "over": town.carrier.over(known),
    }
    town.line.resume()
    town.batch.always = {}
    return SimpleNamespace(told=told, known=known, number=number, waiting=waiting, other=other)


def test_no_webhook_waits_long_for_a_redis_that_hangs(hanging):
    for name, told in hanging.told.items():
        assert told.took_s < HANGING_S, name
        if name in ("recording status", "over"):
            assert told.status == 204
        else:
            assert told.status == 200, name
            assert told.tags, name


def test_a_caller_who_waits_is_asked_for_patience_while_redis_hangs(town, hanging):
    assert hanging.told["polled"].asks_again
    told = town.carrier.follow(hanging.waiting, hanging.told["polled"])
    assert "Record" in told.tags
    town.ends(hanging.waiting, "answered")


# ---------------------------------------------------------------------- rows 31-35, security 12, 31


@pytest.fixture(scope="module")
def fates(town, hanging):
    """All of them at once, each on a call of its own: what the caller heard, and how long he waited."""
    town.carrier.took.clear()

    def suffer(name: str, fate: Fate) -> SimpleNamespace:
        call_sid, number = town.call()
        answers = fate.answers or (redirect(f"{town.trap.url}{RECORDINGS}/{sid(number)}.wav"),)
        after = (plain(body=sound(number)),) if name in PASSES else ()
        town.shelf.at[f"{RECORDINGS}/{sid(number)}.wav"] = (*answers, *after)
        began = time.monotonic()
        told = town.carrier.follow(call_sid, town.carrier.bring(call_sid, sid(number)))
        return SimpleNamespace(call_sid=call_sid, number=number, told=told, took_s=time.monotonic() - began)

    with ThreadPoolExecutor(len(FATES)) as lines:
        found: dict[str, Future] = {name: lines.submit(suffer, name, fate) for name, fate in FATES.items()}
    return found


@pytest.mark.parametrize("name", [name for name in FATES if "every second" not in name])
def test_what_becomes_of_a_faulty_recording(town, fates, name):
    fate, one = FATES[name], fates[name].result()
    assert "Record" in one.told.tags
    assert fate.hears in one.told.said
    assert one.took_s < NOTICE_S + 5
    assert town.ends(one.call_sid, fate.status, within_s=fate.waits_s) == [(sid(one.number), fate.status)]
    assert len(town.said(one.call_sid)) == fate.lines
    assert fate.error in town.errors(one.call_sid)[0]


def test_redirects_lead_nowhere_else(town, fates):
    for each in fates.values():
        each.result()
    assert town.trap.connections == 0


def test_what_is_absent_or_failed_is_not_asked_for(town):
    for status in ("absent", "failed"):
        call_sid, number = town.call()
        assert town.carrier.recording_status(call_sid, sid(number), status).status == 204
        town.ends(call_sid, status)
        assert not [each for each in town.shelf.asked if sid(number) in each.path]
        assert status in town.errors(call_sid)[0]


# ---------------------------------------------------------------------- security 11


@pytest.mark.parametrize("address", ELSEWHERE)
def test_an_address_that_is_not_the_carriers_is_not_connected_to(town, address):
    call_sid, number = town.call()
    path = f"{RECORDINGS}/{sid(number)}"
    names = {"trap": town.trap.port, "api": town.shelf.url, "path": path, "sid": sid(number)}
    told = town.carrier.bring(call_sid, sid(number), RecordingUrl=address.format(**names))
    told = town.carrier.follow(call_sid, told)
    assert told.tags[-2:] == ["Record", "Redirect"]
    assert "once more" in told.said
    town.ends(call_sid, "blocked_url")
    assert town.errors(call_sid)[0]
    assert town.trap.connections == 0
    assert not [each for each in town.shelf.asked if sid(number) in each.path]


# ---------------------------------------------------------------------- rows 27-29


def test_webhooks_that_come_three_times_at_once_are_answered_alike_and_done_once(town):
    town.batch.always = {"transcribe": Fault(pause_s=2.0)}
    with ThreadPoolExecutor(3) as lines:

        def thrice(send) -> list[Told]:
            return [each.result() for each in [lines.submit(send) for _ in range(3)]]

        greeted = thrice(lambda: town.carrier.post("/phone/incoming-call", "CAthrice"))
        brought = thrice(lambda: town.carrier.bring("CAthrice", sid(7)))
        thrice(lambda: town.carrier.recording_status("CAthrice", sid(7)))
        town.ends("CAthrice", "answered")
        answered = thrice(lambda: town.carrier.post(brought[0].asks_again, "CAthrice"))
    town.batch.always = {}
    for each in (greeted, brought, answered):
        assert len({told.body for told in each}) == 1
    assert "Answer." in answered[0].said
    assert town.said("CAthrice") == ["message 7"]
    assert town.said("CAthrice", "agent") == ["Answer."]
    assert len(town.office.rows("select * from calls where call_sid = 'CAthrice'")) == 1
    assert [number_of(each.file) for each in town.batch.of_kind("transcribe")].count(7) == 1


def test_statuses_in_any_order_only_ever_rise(town):
    call_sid, _ = town.call()
    for number, status in ((3, "completed"), (0, "initiated"), (2, "in-progress"), (1, "ringing")):
        about = {"CallStatus": status, "SequenceNumber": str(number)}
        assert town.carrier.post("/phone/call-status", call_sid, **about).status == 204
    query = "select status, status_sequence from calls where call_sid = ? and status_sequence = 3"
    assert [tuple(row) for row in town.office.rows(query, call_sid, at_least=1)] == [("completed", 3)]


def test_a_call_that_comes_again_when_redis_has_forgotten_it_changes_nothing(town):
    def call() -> list[tuple]:
        town.carrier.post("/phone/incoming-call", "CAagain")
        town.carrier.follow("CAagain", town.carrier.bring("CAagain", sid(8)))
        town.carrier.recording_status("CAagain", sid(8))
        assert town.carrier.over("CAagain").status == 204
        town.ends("CAagain", "answered")
        servers.wait_until(lambda: not town.redis.zscore("open-turns", f"CAagain {sid(8)}"), "open", 30)
        return [
            tuple(row)
            for query in (
                "select * from calls where call_sid = ? and ended_at is not null",
                "select r.* from recordings r join calls on calls.id = r.call_id where call_sid = ?",
                "select t.* from turns t join calls on calls.id = t.call_id where call_sid = ?",
            )
            for row in town.office.rows(query, "CAagain", at_least=1)
        ]

    first = call()
    long_ago = "update calls set started_at = datetime(started_at, '-1 day') where call_sid = 'CAagain'"
    assert_changed(town, long_ago)
    first[0] = tuple(town.office.rows("select * from calls where call_sid = 'CAagain'")[0])
    for name in town.redis.scan_iter("*CAagain*"):
        town.redis.delete(name)
    town.batch.answers = ["Another answer."]
    assert call() == first
    town.batch.answers = ["Answer."]


def assert_changed(town, statement: str) -> None:
    import sqlite3

    path = town.office.app.environment["DATABASE_URL"].removeprefix("sqlite:///")
    with sqlite3.connect(path, timeout=20) as database:
        assert database.execute(statement).rowcount == 1


# ---------------------------------------------------------------------- row 56


def test_with_ai_down_throughout_the_message_is_kept_and_understood_when_ai_returns(town, fates):
    call_sid, number = town.call()
    town.door.shut()
    town.door.hang_up()
    began = time.monotonic()
    told = town.carrier.follow(call_sid, town.carrier.bring(call_sid, sid(number)))
    assert time.monotonic() - began < NOTICE_S
    assert "cannot answer right now" in told.said
    action = next(verb.get("action") for verb in told.verbs if verb.tag == "Record")
    kept = town.carrier.bring(call_sid, sid(number + 1), query="?" + urlsplit(action).query)
    assert kept.tags[-1] == "Hangup"
    town.carrier.over(call_sid)
    statuses = {status for _, status in town.office.recordings(call_sid)}
    town.door.reopen()
    assert statuses <= {"claimed", "waiting"}
    town.ends(call_sid, "understood", "understood")
    assert sorted(town.said(call_sid)) == [f"message {number}", f"message {number + 1}"]
    assert town.said(call_sid, "agent") == []


# ---------------------------------------------------------------------- what took its time


def test_what_was_said_while_redis_hung_is_understood_when_it_is_back(town, hanging):
    town.ends(hanging.known, "understood", "understood", within_s=120)
    assert sorted(town.said(hanging.known)) == [f"message {hanging.number + at}" for at in (0, 1)]
    town.ends("CAnew1", "understood", within_s=120)


def test_a_recording_that_drips_is_given_up_after_two_minutes(town, fates):
    name = "33 a byte every second"
    one = fates[name].result()
    assert FATES[name].hears in one.told.said
    town.ends(one.call_sid, "too_large", within_s=FATES[name].waits_s)
    assert FATES[name].error in town.errors(one.call_sid)[0]


def test_no_webhook_was_slow(town, fates):
    slow = [(path, seconds) for path, seconds in town.carrier.took if seconds > WEBHOOK_S]
    assert slow == []

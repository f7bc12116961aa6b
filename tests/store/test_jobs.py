"""Background work: taken at once by patient workers, gently ended, once in the queue."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis
from rq import Worker

from flaskapp.store import jobs
from flaskapp.store.jobs import Jobs
from flaskapp.store.live import connect
from flaskapp.store.turns import Outcome, Turn, TurnBook
from tests import servers
from tests.conftest import PROJECT, environment_of

pytestmark = pytest.mark.system

#: RQ's note of a job that a thread was just about to begin when another one looked for lost jobs, as all do
#: when they start: it goes by itself, after a day.
FIRST_SEEN = ":intermediate:first_seen:"

KILLED_THREADS = 2

#: A worker with jobs of its own: they tell a list in Redis what they did.
SCRIPT = """
import signal, sys, threading, time
from flaskapp.observability import configure_logging
from flaskapp.store import jobs, takers
from flaskapp.store.live import connect
from flaskapp.store.turns import Outcome, TurnBook

connections = connect(sys.argv[1])
book = TurnBook(connections)
tell = lambda what: connections.text.rpush("told", what)

def nap(seconds):
    tell("asleep")
    time.sleep(float(seconds))
    tell("awake")

def fail():
    tell("failing")
    raise ValueError("odd")

def turn(call_sid, key):
    with book.holding(call_sid, key) as is_ours:
        if is_ours:
            time.sleep(0.3)
            if book.finish(call_sid, key, Outcome("answered")):
                tell(f"{call_sid} {key}")
            book.close(call_sid, key)

configure_logging("INFO", "plain")
jobs.bind({"say": tell, "nap": nap, "fail": fail, "turn": turn})
stopped = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stopped.set())
takers.serve(sys.argv[1], int(sys.argv[2]), stopped)
"""


@dataclass
class RunningWorker:
    """A worker, and what it wrote."""

    process: subprocess.Popen
    log: Path

    def said(self, text: str) -> None:
        """Wait until it says something."""
        servers.wait_until(lambda: text in self.read(), f"{text!r} not in {self.log}")

    def read(self) -> str:
        assert self.process.poll() is None, self.log.read_text()
        return self.log.read_text()


@contextmanager
def running(folder, *command: str, **settings):
    """A process that must end with 0 when it is told to."""
    log = folder / "worker.log"
    with log.open("wb") as output:
        environment = environment_of(folder, settings)
        process = subprocess.Popen(
            [sys.executable, *command], cwd=folder, env=environment, stdout=output, stderr=output
        )
    try:
        yield RunningWorker(process, log)
    finally:
        code = servers.stop(process)
    assert code == 0, log.read_text()


def worker(folder, url: str, at_once: int = 8):
    """A worker with the jobs of SCRIPT."""
    return running(folder, "-c", SCRIPT, url, str(at_once))


@pytest.fixture
def url(redis_server) -> str:
    Redis.from_url(redis_server).flushall()
    return redis_server


def told(url: str) -> list[str]:
    return connect(url).text.lrange("told", 0, -1)


def wait_for(url: str, *what: str) -> None:
    servers.wait_until(lambda: told(url) == list(what), f"{told(url)} is not {what}")


def test_without_redis_it_stays_and_says_why_there_is_nothing_to_do(tmp_path):
    with running(tmp_path, "-m", "flaskapp.worker") as process:
        process.said("REDIS_URL is empty")
    assert "Traceback" not in process.log.read_text()


def test_while_redis_is_away_it_waits_and_keeps_the_password_to_itself(tmp_path):
    settings = {"REDIS_URL": "redis://:canary-password@127.0.0.1:1/0"}
    with running(tmp_path, "-m", "flaskapp.worker", **settings) as process:
        process.said("Redis does not answer (ConnectionError)")
    assert "canary" not in process.log.read_text()
    assert "Traceback" not in process.log.read_text()


def test_wrong_settings_are_named_in_a_line(tmp_path):
    environment = environment_of(tmp_path, {"REDIS_URL": "odd"})
    command = [sys.executable, "-m", "flaskapp.worker"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("REDIS_URL")
    assert "Traceback" not in done.stderr


def test_the_apps_own_worker_takes_turns(tmp_path, url):
    """Its turn has no recording that could be had: that is what the history says."""
    connections = connect(url)
    with running(tmp_path, "-m", "flaskapp.worker", REDIS_URL=url) as process:
        process.said("Waiting for jobs on queue phone")
        book = TurnBook(connections)
        book.claim(Turn("CA1", "RE1", "recording", refused="another host", claimed_at=time.time()))
        Jobs(url, connections, {}).submit("turn", "CA1", "RE1")
        servers.wait_until(lambda: book.outcome("CA1", "RE1") is not None, "nobody took it")
        assert book.outcome("CA1", "RE1").kind == "blocked_url"


def test_it_does_jobs_and_leaves_nothing_of_them_behind(tmp_path, url):
    submit = Jobs(url, connect(url), {}).submit
    with worker(tmp_path, url) as process:
        process.said("Waiting for jobs on queue phone")
        for number in range(20):
            submit("say", str(number))
        servers.wait_until(lambda: len(told(url)) == 20, "they were not done")
        redis = connect(url).text
        servers.wait_until(lambda: not list(redis.scan_iter("rq:job:*")), "jobs stay")

        def is_clean() -> bool:  # a queue's own key may outlive its last job for a moment
            names = [name for name in redis.scan_iter("rq:*") if FIRST_SEEN not in name]
            left = {name.split(":")[1] for name in names}
            return left <= {"workers", "worker", "queues", "clean_registries"}

        servers.wait_until(is_clean, "something of them stays")
        assert all(redis.ttl(name) > 0 for name in redis.scan_iter(f"*{FIRST_SEEN}*"))
    assert sorted(told(url), key=int) == [str(number) for number in range(20)]


def test_as_many_as_configured_are_done_at_once(tmp_path, url):
    submit = Jobs(url, connect(url), {}).submit
    with worker(tmp_path, url, at_once=3) as process:
        process.said("Waiting for jobs")
        for number in range(4):
            submit("nap", f"1.{number}")
        servers.wait_until(lambda: len(told(url)) == 8, "they were not done")
        assert told(url)[:3] == ["asleep"] * 3
        assert told(url)[3] == "awake"


def test_a_job_that_is_queued_is_not_queued_again(url):
    submit = Jobs(url, connect(url), {}).submit
    for _ in range(3):
        submit("say", "once")
        submit("say", "twice")
    assert jobs.queue(connect(url).raw).count == 2


def test_a_job_that_many_submit_at_the_same_moment_is_queued_once(url):
    many = [Jobs(url, connect(url), {}) for _ in range(8)]
    for each in many:
        each.prepare()
    for number in range(20):
        start = threading.Barrier(len(many))

        def submit(each: Jobs, start=start, number=number) -> None:
            start.wait()
            each.submit("turn", "CA1", f"RE{number}")

        threads = [threading.Thread(target=submit, args=(each,)) for each in many]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert Redis.from_url(url).llen("rq:queue:phone") == 20


def test_a_job_that_was_begun_may_be_queued_again(tmp_path, url):
    """Whether its worker is still at it, or was killed, cannot be told."""
    submit = Jobs(url, connect(url), {}).submit
    with worker(tmp_path, url) as process:
        process.said("Waiting for jobs")
        submit("nap", "2")
        wait_for(url, "asleep")
        submit("nap", "2")
        submit("nap", "2")
        servers.wait_until(lambda: told(url).count("awake") >= 2, "they were not done")
        redis = connect(url).text
        servers.wait_until(lambda: not list(redis.scan_iter("rq:job:*")), "jobs stay")
    assert told(url).count("asleep") in (2, 3)


def test_a_job_that_fails_is_told_in_a_line_and_the_next_one_is_done(tmp_path, url):
    submit = Jobs(url, connect(url), {}).submit
    with worker(tmp_path, url, at_once=1) as process:
        process.said("Waiting for jobs")
        submit("fail")
        submit("unheard of")
        submit("say", "hello")
        wait_for(url, "failing", "hello")
        process.said("Job fail: ValueError: odd")
        process.said("Nobody here knows how to do 'unheard of'")
        servers.wait_until(lambda: not list(connect(url).text.scan_iter("rq:job:*")), "jobs stay")
    assert "Traceback" not in process.log.read_text()


def test_a_job_that_takes_too_long_is_ended(tmp_path, url, monkeypatch):
    monkeypatch.setattr(jobs, "TIMEOUT_S", 1)
    submit = Jobs(url, connect(url), {}).submit
    with worker(tmp_path, url, at_once=1) as process:
        process.said("Waiting for jobs")
        submit("nap", "3")
        submit("say", "next")
        wait_for(url, "asleep", "next")
        process.said("JobTimeoutException")


def test_it_comes_back_with_redis(tmp_path):
    port = servers.free_port()
    url = f"redis://127.0.0.1:{port}/0"
    with worker(tmp_path, url, at_once=2) as process:
        process.said("Redis does not answer")
        with servers.redis_server(port):
            process.said("Waiting for jobs on queue phone")
            connection = Redis.from_url(url)
            servers.wait_until(lambda: Worker.count(connection=connection) == 2, "they do not register")


def test_it_stops_when_told_though_redis_is_gone(tmp_path):
    port = servers.free_port()
    with worker(tmp_path, f"redis://127.0.0.1:{port}/0") as process:
        with servers.redis_server(port):
            process.said("Waiting for jobs on queue phone")
        process.said("Redis went away")
    assert "Traceback" not in process.log.read_text()


def test_redis_may_restart_beneath_it(tmp_path):
    port = servers.free_port()
    url = f"redis://127.0.0.1:{port}/0"
    with worker(tmp_path, url) as process:
        with servers.redis_server(port):
            process.said("Waiting for jobs on queue phone")
        process.said("Redis went away")
        with servers.redis_server(port):
            Jobs(url, connect(url), {}).submit("say", "back")
            wait_for(url, "back")


def test_a_job_in_hand_is_finished_before_it_stops(tmp_path, url):
    with worker(tmp_path, url) as process:
        process.said("Waiting for jobs on queue phone")
        Jobs(url, connect(url), {}).submit("nap", "2")
        wait_for(url, "asleep")
    assert told(url) == ["asleep", "awake"]


def test_turns_of_a_killed_worker_are_done_once_by_the_next(tmp_path, url):
    """The sweeper's part is played by hand: what is due is submitted again."""
    connections = connect(url)
    book, submit = TurnBook(connections), Jobs(url, connections, {}).submit
    every = [f"RE{number}" for number in range(12)]
    for key in every:
        book.claim(Turn("CA1", key, "recording", claimed_at=time.time()))
        submit("turn", "CA1", key)

    def swept() -> bool:
        for call_sid, key in book.due(time.time(), 99):
            book.postpone(call_sid, key, 1)
            submit("turn", call_sid, key)
        return all(book.outcome("CA1", key) == Outcome("answered") for key in every)

    for number in range(3):
        log = tmp_path / f"killed-{number}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", SCRIPT, url, str(KILLED_THREADS)],
                cwd=PROJECT,
                stdout=output,
                stderr=output,
            )
        already = len(told(url))
        servers.wait_until(lambda begun=already: len(told(url)) > begun, "it does nothing")
        os.kill(process.pid, signal.SIGKILL)
        process.wait(60)
    with worker(tmp_path, url):
        servers.wait_until(swept, "some are never done")
        servers.wait_until(lambda: not book.due(time.time() + 99, 9), "some stay open")
    done = told(url)
    assert len(done) == len(set(done)), "a turn was done twice"
    # A worker that is killed between the deed and its word has done it all the same.
    assert set(done) <= {f"CA1 {key}" for key in every}
    assert len(done) >= len(every) - 3 * KILLED_THREADS

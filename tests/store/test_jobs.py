"""The background worker as the Procfile starts it: patient with Redis, gentle with jobs."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager

import pytest
from redis import Redis
from rq import Queue, Worker

from tests import servers
from tests.conftest import environment_of

pytestmark = pytest.mark.system


@contextmanager
def worker(folder, **settings):
    """A running worker and its log; it must end with 0 when it is told to."""
    log = folder / "worker.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "flaskapp.store.jobs"]
        environment = environment_of(folder, settings)
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)

    def said(text: str) -> bool:
        assert process.poll() is None, log.read_text()
        return text in log.read_text()

    try:
        yield lambda text: servers.wait_until(lambda: said(text), f"{text!r} not in {log}")
    finally:
        code = servers.stop(process)
    assert code == 0, log.read_text()


def test_without_redis_it_stays_and_says_why_there_is_nothing_to_do(tmp_path):
    with worker(tmp_path) as said:
        said("REDIS_URL is empty")
    assert "Traceback" not in (tmp_path / "worker.log").read_text()


def test_while_redis_is_away_it_waits_and_keeps_the_password_to_itself(tmp_path):
    with worker(tmp_path, REDIS_URL="redis://:canary-password@127.0.0.1:1/0") as said:
        said("Redis does not answer (ConnectionError)")
    assert "canary" not in (tmp_path / "worker.log").read_text()


def test_it_takes_jobs(tmp_path, redis_server):
    queue = Queue("phone", connection=Redis.from_url(redis_server))
    with worker(tmp_path, REDIS_URL=redis_server) as said:
        said("Waiting for jobs on queue phone")
        job = queue.enqueue("operator.add", 2, 3)
        servers.wait_until(lambda: job.get_status(refresh=True) == "finished", "the job was not done")
        assert job.return_value() == 5


def test_it_comes_back_with_redis(tmp_path):
    port = servers.free_port()
    with worker(tmp_path, REDIS_URL=f"redis://127.0.0.1:{port}/0") as said:
        said("Redis does not answer")
        with servers.redis_server(port):
            said("Waiting for jobs on queue phone")
            assert Worker.count(connection=Redis.from_url(f"redis://127.0.0.1:{port}/0")) == 1


def test_it_stops_when_told_though_redis_is_gone(tmp_path):
    port = servers.free_port()
    with worker(tmp_path, REDIS_URL=f"redis://127.0.0.1:{port}/0") as said:
        with servers.redis_server(port):
            said("Waiting for jobs on queue phone")
        said("Redis")
    assert "Traceback" not in (tmp_path / "worker.log").read_text()


def test_redis_may_restart_beneath_it(tmp_path):
    port = servers.free_port()
    url = f"redis://127.0.0.1:{port}/0"
    with worker(tmp_path, REDIS_URL=url) as said:
        with servers.redis_server(port):
            said("Waiting for jobs on queue phone")
        said("Redis")
        with servers.redis_server(port):
            queue = Queue("phone", connection=Redis.from_url(url))
            job = queue.enqueue("operator.add", 2, 3)
            servers.wait_until(lambda: job.get_status(refresh=True) == "finished", "the job was not done")
            assert job.return_value() == 5


def test_a_job_in_hand_is_finished_before_it_stops(tmp_path, redis_server):
    queue = Queue("phone", connection=Redis.from_url(redis_server))
    with worker(tmp_path, REDIS_URL=redis_server) as said:
        said("Waiting for jobs on queue phone")
        job = queue.enqueue("time.sleep", 2)
        servers.wait_until(lambda: job.get_status(refresh=True) == "started", "the job was not begun")
    assert job.get_status(refresh=True) == "finished"

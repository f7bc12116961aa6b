"""The app as it is served: gunicorn, gevent, real Redis, real PostgreSQL, real processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import servers
from tests.conftest import environment_of

PROJECT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.system


def gunicorn(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """gunicorn, expected to give up."""
    command = [sys.executable, "-m", "gunicorn", "-c", str(PROJECT / "gunicorn.conf.py"), "wsgi:app"]
    environment = environment_of(folder, {"PORT": str(servers.free_port()), **settings})
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What it said beside its greeting."""
    return [line for line in (done.stdout + done.stderr).splitlines() if "Starting gunicorn" not in line]


def test_gunicorn_serves_health_readiness_and_figures(gunicorn_app):
    app = gunicorn_app()
    assert app.get("/health")[0] == 200
    assert app.get("/ready")[0] == 200
    figures = ""
    servers.wait_until(lambda: "worker_rss_bytes{" in app.get("/metrics")[1], "no figures of the worker")
    status, figures = app.get("/metrics")
    assert status == 200
    assert "phone_loop_lag_seconds_bucket" in figures
    assert "MonkeyPatchWarning" not in app.log.read_text()


def test_two_workers_share_redis_and_postgres_and_are_counted_together(
    gunicorn_app, redis_server, postgres_database
):
    settings = {"WEB_CONCURRENCY": "2", "REDIS_URL": redis_server, "DATABASE_URL": postgres_database}
    app = gunicorn_app(settings)
    assert app.get("/ready")[0] == 200

    def workers() -> int:
        return app.get("/metrics")[1].count("phone_worker_rss_bytes{")

    servers.wait_until(lambda: workers() == 2, "not the figures of two workers")


def test_a_worker_that_dies_is_replaced_and_its_gauges_go(gunicorn_app, redis_server):
    app = gunicorn_app({"WEB_CONCURRENCY": "2", "REDIS_URL": redis_server})
    servers.wait_until(lambda: app.get("/metrics")[1].count("phone_worker_rss_bytes{") == 2, "no two workers")
    old = children_of(app.process.pid)
    os.kill(old[0], signal.SIGKILL)

    def replaced() -> bool:
        shown = app.get("/metrics")[1]
        return f'pid="{old[0]}"' not in shown and shown.count("phone_worker_rss_bytes{") == 2

    servers.wait_until(replaced, "the dead worker's gauges stayed")
    assert old[0] not in children_of(app.process.pid)


def test_an_earlier_servers_figures_are_not_counted(gunicorn_app, tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "counter_1.db").write_bytes(bytes(1024))
    app = gunicorn_app({"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "figures")})
    assert app.get("/metrics")[0] == 200
    assert not (tmp_path / "figures" / "counter_1.db").exists()


def test_sighup_brings_new_workers_and_keeps_serving(gunicorn_app):
    app = gunicorn_app()
    old = children_of(app.process.pid)
    app.process.send_signal(signal.SIGHUP)
    servers.wait_until(lambda: not set(old) & set(children_of(app.process.pid)), "the old worker stayed")
    servers.wait_until(app.is_healthy, "nobody serves")
    assert "phone_worker_rss_bytes" in app.get("/metrics")[1]


def test_sigterm_ends_it_at_once_though_a_proxy_keeps_its_connection(gunicorn_app):
    app = gunicorn_app()
    host, port = app.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as idle:
        idle.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in idle.recv(4096)
        began = time.monotonic()
        assert servers.stop(app.process) == 0
    assert time.monotonic() - began < 10


def test_tickets_in_paths_never_reach_the_log(gunicorn_app):
    app = gunicorn_app(arguments=("--access-logfile", "-"))
    app.get("/phone/stream-audio/CA1/canary-ticket-1?ticket=canary-ticket-2")
    servers.wait_until(lambda: "/phone/stream-audio/CA1/<redacted>" in app.log.read_text(), "no access line")
    assert "canary" not in app.log.read_text()


def test_an_empty_database_is_one_line(tmp_path):
    done = gunicorn(tmp_path)
    assert done.returncode == 1
    assert said(done) == ["The database is empty or older than the app: run `flask db upgrade`"]


def test_a_database_that_is_away_is_one_line_without_its_password(tmp_path):
    done = gunicorn(tmp_path, DATABASE_URL="postgres://user:canary-password@127.0.0.1:1/calls")
    assert done.returncode == 1
    (line,) = said(done)
    assert line.startswith("The database does not answer")
    assert line.endswith("start it, or correct DATABASE_URL")
    assert "canary" not in line


def test_wrong_settings_are_a_line_each(tmp_path):
    done = gunicorn(tmp_path, WEB_CONCURRENCY="2", LOG_LEVEL="loud", TWILIO_ACCOUNT_SID="AC1")
    assert done.returncode == 1
    assert sorted(line.split()[0] for line in said(done)) == ["LOG_LEVEL", "REDIS_URL", "TWILIO_AUTH_TOKEN"]


def test_a_port_that_is_taken_is_one_line_with_another_port(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = gunicorn(tmp_path, PORT=str(port))
    assert done.returncode == 1
    assert said(done) == [
        f"Port {port} on 127.0.0.1 is taken: stop what listens there, or try PORT={port + 1}"
    ]


def test_wrong_settings_are_a_line_each_for_commands_too(tmp_path):
    command = [sys.executable, "-m", "flask", "db", "upgrade"]
    environment = environment_of(tmp_path, {"PORT": "five", "LOG_LEVEL": "loud"})
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert sorted(line.split()[0] for line in said(done)) == ["LOG_LEVEL", "PORT"]


def children_of(pid: int) -> list[int]:
    """Processes that it started."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

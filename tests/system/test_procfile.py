"""The Procfile as it stands, run by honcho: two workers, real Redis, real PostgreSQL, a call answered."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests import servers
from tests.conftest import PROJECT, environment_of, flask

pytestmark = pytest.mark.system


@contextmanager
def honcho(environment: dict[str, str], port: int, log: Path) -> Iterator[subprocess.Popen]:
    """All of it, `release` too: honcho starts that beside the others."""
    command = [sys.executable, "-m", "honcho", "--no-colour", "start", "-p", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, cwd=PROJECT)
    try:
        servers.wait_until(lambda: servers.answers(port), f"nobody answers; see {log}")
        servers.wait_until(
            lambda: "Waiting for jobs on queue phone" in log.read_text(), f"no worker; see {log}"
        )
        yield process
    finally:
        servers.stop(process, patience_s=60)


def test_the_procfile_answers_a_signed_call_and_stops_when_told(
    tmp_path, redis_server, postgres_database, engine, signed
):
    port, log = servers.free_port(), tmp_path / "honcho.log"
    stores = {"REDIS_URL": redis_server, "DATABASE_URL": postgres_database, "WEB_CONCURRENCY": "2"}
    served = {"OPENAI_BASE_URL": engine.base_url, "OPENAI_API_KEY": "sk-test", **signed}
    environment = environment_of(tmp_path, stores | served)
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    with honcho(environment, port, log):
        url = f"http://127.0.0.1:{port}"
        dialled = flask("phone", "dial", url, "--out", "call", environment=environment, cwd=tmp_path)
        assert dialled.returncode == 0, dialled.stdout + dialled.stderr + log.read_text()
        assert (tmp_path / "call" / "call.wav").stat().st_size > 44
    servers.wait_until(lambda: not servers.answers(port), "web outlived honcho")
    assert "Traceback" not in log.read_text()
    with psycopg.connect(postgres_database) as connection:
        rows = connection.execute("SELECT status, ended_reason FROM calls").fetchall()
        turns = connection.execute("SELECT DISTINCT speaker FROM turns ORDER BY 1").fetchall()
    assert len(rows) == 1
    assert rows[0][0] == "completed"
    assert turns == [("agent",), ("caller",)]

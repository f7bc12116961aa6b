"""Private Redis and PostgreSQL servers on free loopback ports, for as long as the tests run."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

FIRST_PORT, LANES, LANE_PORTS = 10_100, 10, 2000
PATIENCE_S = 60
POSTGRES_FOLDERS = ("/usr/lib/postgresql", "/usr/local/lib/postgresql", "/opt/homebrew/opt")


def free_port() -> int:
    """A port that nobody listens on, below those that outgoing connections take.

    Tests that run side by side, each in a process of its own, look in different places.
    """
    lane = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % LANES
    while True:
        port = FIRST_PORT + lane * LANE_PORTS + random.randrange(LANE_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def find_program(name: str) -> str | None:
    """A program on PATH, or where Debian hides PostgreSQL's."""
    folders = [
        str(each) for root in POSTGRES_FOLDERS for each in sorted(Path(root).glob("*/bin"), reverse=True)
    ]
    return shutil.which(name, path=os.pathsep.join(folders)) or shutil.which(name)


def wait_until(ready: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Asks until the answer is yes.

    Raises:
        TimeoutError: naming what did not happen.
    """
    give_up_at = time.monotonic() + patience_s
    while not ready():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"{what} after {patience_s} s")
        time.sleep(0.05)


def answers(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def redis_server(port: int | None = None) -> Iterator[str]:
    """A Redis without persistence; yields its URL."""
    program, port = find_program("redis-server"), port or free_port()
    assert program, "no redis-server here; `make test` says how to get it"
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        server = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
        try:
            wait_until(lambda: answers(port), "no Redis")
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            stop(server)


@contextmanager
def postgres_server() -> Iterator[str]:
    """A PostgreSQL cluster of its own; yields the URL of its database `postgres`.

    PostgreSQL refuses to run as root: then it runs as the user `postgres` that its package made.
    """
    port = free_port()
    initdb, server_program = find_program("initdb"), find_program("postgres")
    assert initdb, "no PostgreSQL here; `make test` says how to get it"
    assert server_program
    identity = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as folder:
        if identity:
            shutil.chown(folder, "postgres", "postgres")
        where = {"cwd": folder, "stdout": subprocess.DEVNULL, **identity}
        make = [
            initdb,
            "--pgdata=data",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-sync",
        ]
        subprocess.run([*make, "--locale=C"], check=True, timeout=PATIENCE_S, **where)
        options = ["-D", "data", "-p", str(port), "-h", "127.0.0.1", "-k", folder, "-F"]
        server = subprocess.Popen([server_program, *options], stderr=subprocess.DEVNULL, **where)
        try:
            wait_until(lambda: _accepts(port), "no PostgreSQL")
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            # SIGINT is PostgreSQL's "fast": it does not wait for connections that tests forgot.
            stop(server, signal.SIGINT)


def _accepts(port: int) -> bool:
    import psycopg

    try:
        psycopg.connect(
            f"host=127.0.0.1 port={port} user=postgres dbname=postgres", connect_timeout=2
        ).close()
    except psycopg.OperationalError:
        return False
    return True


def stop(process: subprocess.Popen, how: signal.Signals = signal.SIGTERM, patience_s: float = 30) -> int:
    """Asks, waits, insists; gives the exit code."""
    if process.poll() is None:
        process.send_signal(how)
    try:
        return process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait(patience_s)

"""The server as a process: how it starts, what it tells, and that nothing of it is left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.localai.caller import Caller
from tests.localai.conftest import ROOT, start_server


def run(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flaskapp.localai", *options],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def fetched(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=10) as response:
        return json.load(response)


def children(pid: int) -> list[int]:
    """The process ids of a process's children, and of theirs."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it ended meanwhile
            continue
        if parent == pid:
            found += [int(stat.parent.name), *children(int(stat.parent.name))]
    return found


def running(pids: list[int]) -> list[int]:
    def is_running(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    return [pid for pid in pids if is_running(pid)]


def gone_within(pids: list[int], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while running(pids) and time.monotonic() < end:
        time.sleep(0.05)
    return not running(pids)


def test_help_says_that_it_is_a_stand_in():
    shown = run("--help")

    assert shown.returncode == 0
    assert "stand-in" in shown.stdout


def test_a_taken_port_is_told_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = run("--port", str(port))

    assert refused.returncode == 1
    assert refused.stdout == ""
    assert refused.stderr.splitlines() == [
        f"localai: cannot listen on 127.0.0.1 port {port}: Address already in use"
    ]


def test_a_missing_package_is_told_with_its_remedy(tmp_path: Path):
    hide = "import importlib.util as u; f = u.find_spec\n"
    hide += "u.find_spec = lambda name, package=None: None if name == 'pocketsphinx' else f(name, package)\n"
    (tmp_path / "sitecustomize.py").write_text(hide)

    refused = run("--port", "0", PYTHONPATH=str(tmp_path))

    assert refused.returncode == 1
    assert refused.stderr.splitlines() == [
        "localai needs pocketsphinx: pip install -r requirements-local.txt"
    ]


def test_health_and_timings_are_told(server: str, caller: Caller):
    assert fetched(server.replace("/v1", "/health"))["status"] == "ok"

    before = time.monotonic()
    caller.ask("goodbye")
    timings = fetched(f"{server}/local/timings")
    turn = timings["turns"][-1]
    moments = [
        turn[name] for name in ("voice_ended_at", "decided_at", "heard_at", "first_audio_at", "done_at")
    ]
    assert moments == sorted(moments)
    assert before < moments[0] < moments[-1] <= timings["now"]
    assert turn["status"] == "completed"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_its_workers(signum: signal.Signals):
    process, address = start_server()
    workers = children(process.pid)
    assert len(workers) >= 3

    with Caller(address):
        process.send_signal(signum)
        assert process.wait(20) == 0
    assert gone_within(workers, 10)


def test_its_workers_end_even_if_it_is_killed():
    process, _ = start_server()
    workers = children(process.pid)

    process.kill()
    process.wait(10)

    assert gone_within(workers, 15)


def test_a_worker_that_dies_is_replaced():
    process, address = start_server()
    try:
        for worker in children(process.pid):
            os.kill(worker, signal.SIGKILL)
        with Caller(address) as caller:
            caller.update(audio=Caller.TELEPHONE)
            caller.say("goodbye")
            caller.until("response.done")

            heard, reply = caller.ask("goodbye")
        assert heard == "goodbye"
        assert "Goodbye" in reply
    finally:
        process.terminate()
        process.wait(20)

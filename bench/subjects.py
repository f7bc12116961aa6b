"""What is measured: servers started as they are shipped, on free ports, with a database of their own."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure import children

BENCH = Path(__file__).resolve().parent
PROJECT = BENCH.parent
HEALTHY_WITHIN_S = 90.0
#: The measurer's own settings must not reach what is measured.
NO_SETTINGS: Mapping[str, str] = {}
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH")

Stream = dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """Something that relays calls.

    Attributes:
        pid: whose CPU counts; None: the load generator's own.
        stream: where the next call's media stream goes, and with what.
    """

    name: str
    port: int
    pid: int | None
    stream: Callable[[], Stream]


def alone(engine_port: int) -> Subject:
    """Nothing in between: what the load generator and its engine take by themselves."""
    return Subject("load alone", engine_port, None, lambda: _stream("/straight"))


def product(
    stack: ExitStack,
    folder: Path,
    engine_port: int,
    core: int | None,
    settings: Mapping[str, str] = NO_SETTINGS,
) -> Subject:
    """The app as shipped: its own gunicorn configuration, a migrated SQLite file, everything on."""
    port = _free_port()
    environment = _environment(engine_port) | {
        "PORT": str(port),
        "LOCAL": "1",
        "SECRET_KEY": "bench",
        "DATABASE_URL": f"sqlite:///{folder}/calls.sqlite3",
        "PYTHONPATH": str(PROJECT),
        **settings,
    }
    migrate = [sys.executable, "-m", "flask", "--app", "flaskapp", "db", "upgrade"]
    done = subprocess.run(migrate, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the database could not be migrated:\n{done.stderr[-2000:]}")
    arguments = ["-c", str(PROJECT / "gunicorn.conf.py"), "wsgi:app"]
    pid = _serve(stack, folder, "product", port, arguments, environment, core)
    return Subject("product", port, pid, lambda: _announce(port))


def plain_relay(stack: ExitStack, folder: Path, engine_port: int, core: int | None) -> Subject:
    """bench/plain_relay.py under the same server."""
    port = _free_port()
    environment = _environment(engine_port) | {"PYTHONPATH": str(BENCH)}
    arguments = ["-k", "gevent", "-b", f"127.0.0.1:{port}", "--no-control-socket", "plain_relay:app"]
    pid = _serve(stack, folder, "plain_relay", port, arguments, environment, core)
    return Subject("plain relay", port, pid, lambda: _stream("/media-stream"))


def _environment(engine_port: int) -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | {"OPENAI_BASE_URL": f"http://127.0.0.1:{engine_port}/v1", "OPENAI_API_KEY": "bench"}


def _serve(
    stack: ExitStack,
    folder: Path,
    name: str,
    port: int,
    arguments: list[str],
    environment: dict[str, str],
    core: int | None,
) -> int:
    """Start gunicorn with one worker, on a core of its own; the worker's pid."""
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *arguments],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
            preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, {core}),
        )
    stack.callback(_stop, process)
    give_up_at = time.monotonic() + HEALTHY_WITHIN_S
    while not _is_healthy(port):
        if process.poll() is not None or time.monotonic() > give_up_at:
            raise RuntimeError(f"{name} does not answer:\n{log.read_text()[-4000:]}")
        time.sleep(0.1)
    workers = children(process.pid)
    if len(workers) != 1:
        raise RuntimeError(f"{name} runs {len(workers)} workers; one is measured")
    return workers[0]


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(35)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _is_healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _stream(path: str) -> Stream:
    return {"path": path, "call_sid": _call_sid(), "parameters": {}}


def _call_sid() -> str:
    return "CA" + uuid.uuid4().hex


def _announce(port: int) -> Stream:
    """A call comes in, as Twilio says it: the document tells where its stream goes and with what ticket."""
    call_sid = _call_sid()
    form = {"CallSid": call_sid, "From": "+15550001111", "To": "+15550002222", "CallStatus": "ringing"}
    url = f"http://127.0.0.1:{port}/phone/incoming-call-streaming"
    with urllib.request.urlopen(url, urllib.parse.urlencode(form).encode(), timeout=30) as answer:
        document = answer.read().decode()
    address = re.search(r'<Stream url="([^"]+)"', document)
    if address is None:
        raise RuntimeError(f"no media stream in the call's document: {document}")
    parameters = dict(re.findall(r'<Parameter name="([^"]+)" value="([^"]*)"', document))
    return {"path": urllib.parse.urlsplit(address[1]).path, "call_sid": call_sid, "parameters": parameters}

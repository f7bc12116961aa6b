"""What is measured: servers started as they are shipped, on free ports, with a database of their own."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from measure import children, resident_mb
from rig import wait_until_quiet
from slow_line import SlowLine

BENCH = Path(__file__).resolve().parent
PROJECT = BENCH.parent
RELAYS = BENCH / "relays"
HEALTHY_WITHIN_S = 90.0
LOOKS_EVERY_S = 0.02
#: Far above what is measured: the app's own limit shall not be what is found.
MOST_CALLS = "2000"
#: The measurer's own settings must not reach what is measured.
NO_SETTINGS: Mapping[str, str] = {}
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH")

DATABASE = "calls.sqlite3"
TOOLS = "bench.look_up"

Stream = dict[str, Any]


@dataclass(frozen=True)
class Engine:
    """Where a subject finds its engine; ``ca_file``: whom it trusts there."""

    port: int
    ca_file: str = ""

    def environment(self) -> dict[str, str]:
        origin = f"https://localhost:{self.port}" if self.ca_file else f"http://127.0.0.1:{self.port}"
        trusted = {"SSL_CERT_FILE": self.ca_file} if self.ca_file else {}
        return {"OPENAI_BASE_URL": f"{origin}/v1", "OPENAI_API_KEY": "bench", **trusted}


@dataclass(frozen=True)
class Subject:
    """Something that relays calls.

    Attributes:
        pids: whose CPU and memory count; none: the load generator's own.
        stream: where the next call's media stream goes, and with what.
        floor: the name of the subject that it is compared with.
        beside: processes whose CPU is counted apart: the product's own Redis.
        healthy_after_s: from its start to its first answer.
        idle_mb: resident before the first call.
        is_paced: its sound leaves at the ear's pace, so a frame's way there and back says nothing.
        database: the product's SQLite file.
        line: what is between the product and its Redis, if anything is.
    """

    name: str
    port: int
    pids: tuple[int, ...]
    stream: Callable[[], Stream]
    floor: str = "floor"
    beside: tuple[int, ...] = ()
    healthy_after_s: float = 0.0
    idle_mb: float = 0.0
    is_paced: bool = False
    database: Path = Path()
    line: SlowLine | None = None

    @property
    def all_pids(self) -> tuple[int, ...]:
        """All processes that run for it."""
        return self.pids + self.beside


def alone(engine: Engine) -> Subject:
    """Nothing in between: what the load generator and its engine take by themselves."""
    return Subject("load alone", engine.port, (), partial(stream_to, "/straight"))


def product(
    stack: ExitStack,
    folder: Path,
    engine: Engine | int,
    core: int | None,
    settings: Mapping[str, str] = NO_SETTINGS,
    *,
    name: str = "product",
    floor: str = "floor",
    workers: int = 1,
    has_redis: bool = False,
    redis_core: int | None = None,
    is_exotel: bool = False,
    is_disturbed: bool = False,
) -> Subject:
    """The app as shipped: its own gunicorn configuration, a migrated SQLite file, everything on.

    ``has_redis``: with a Redis of its own where this machine has one; without, it embeds one as it ships.
    ``redis_core``: where that runs.
    ``is_disturbed``: its Redis can be slowed down, and its agent may look things up.
    """
    port, own = _free_port(), folder / name.replace(" ", "-")
    own.mkdir()
    engine = Engine(engine) if isinstance(engine, int) else engine
    redis_url, redis_pid = redis_server(stack, own, redis_core) if has_redis else ("", 0)
    line = stack.enter_context(SlowLine(redis_url).running()) if is_disturbed and redis_url else None
    redis_url = line.url if line else redis_url
    environment = _environment(engine) | {
        "PORT": str(port),
        "LOCAL": "1",
        "SECRET_KEY": "bench",
        "DATABASE_URL": f"sqlite:///{own / DATABASE}",
        "PYTHONPATH": str(PROJECT),
        "MAX_CALLS": MOST_CALLS,
        "WEB_CONCURRENCY": str(workers),
        **({"REDIS_URL": redis_url} if redis_url else {}),
        **({"TOOLS": TOOLS} if is_disturbed else {}),
        **settings,
    }
    migrate = [sys.executable, "-m", "flask", "--app", "flaskapp", "db", "upgrade"]
    done = subprocess.run(migrate, cwd=own, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the database could not be migrated:\n{done.stderr[-2000:]}")
    command = [sys.executable, "-m", "gunicorn", "-c", str(PROJECT / "gunicorn.conf.py"), "wsgi:app"]
    process, healthy_after_s = _serve(stack, own, name, port, command, environment, core)
    return Subject(
        name=name,
        port=port,
        pids=_workers(process, workers),
        stream=partial(_exotel_stream if is_exotel else announce, port),
        floor=floor,
        beside=(redis_pid,) if redis_pid else (),
        healthy_after_s=healthy_after_s,
        idle_mb=_idle_mb(_workers(process, workers)),
        is_paced=is_exotel,
        database=own / DATABASE,
        line=line,
    )


def relay(
    stack: ExitStack,
    folder: Path,
    engine: Engine,
    core: int | None,
    name: str,
    command: Sequence[str],
    *,
    floor: str = "floor",
    forks: bool = False,
    extra: Mapping[str, str] = NO_SETTINGS,
) -> Subject:
    """One of bench/relays: ``{port}`` in its command is where it listens.

    ``forks``: it is gunicorn, whose one worker does the work.
    """
    port, own = _free_port(), folder / name.replace(" ", "-")
    own.mkdir()
    environment = _environment(engine) | {"PYTHONPATH": str(RELAYS)} | dict(extra)
    words = [each.format(port=port) for each in command]
    process, healthy_after_s = _serve(stack, own, name, port, words, environment, core)
    pids = _workers(process, 1) if forks else (process.pid,)
    return Subject(
        name=name,
        port=port,
        pids=pids,
        stream=partial(stream_to, "/media-stream"),
        floor=floor,
        healthy_after_s=healthy_after_s,
        idle_mb=_idle_mb(pids),
    )


def redis_server(stack: ExitStack, folder: Path, core: int | None) -> tuple[str, int]:
    """A Redis on a free port; its URL and pid, nothing if this machine has none."""
    program = shutil.which("redis-server", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/bin")
    if program is None:
        return "", 0
    port = _free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = _start(stack, command, folder / "redis.log", folder, {}, core)
    give_up_at = time.monotonic() + HEALTHY_WITHIN_S
    while not _is_listening(port):
        if process.poll() is not None or time.monotonic() > give_up_at:
            raise RuntimeError(f"redis-server does not answer:\n{(folder / 'redis.log').read_text()[-2000:]}")
        time.sleep(LOOKS_EVERY_S)
    return f"redis://127.0.0.1:{port}/0", process.pid


def _environment(engine: Engine) -> dict[str, str]:
    return {name: os.environ[name] for name in KEPT if name in os.environ} | engine.environment()


def _serve(
    stack: ExitStack,
    folder: Path,
    name: str,
    port: int,
    command: Sequence[str],
    environment: Mapping[str, str],
    core: int | None,
) -> tuple[subprocess.Popen[bytes], float]:
    """Start a server on a core of its own; how many seconds it took to its first answer."""
    log, began = folder / "server.log", time.monotonic()
    process = _start(stack, command, log, folder, environment, core)
    while not _is_healthy(port):
        if process.poll() is not None or time.monotonic() - began > HEALTHY_WITHIN_S:
            raise RuntimeError(f"{name} does not answer:\n{log.read_text()[-4000:]}")
        time.sleep(LOOKS_EVERY_S)
    return process, time.monotonic() - began


def _start(
    stack: ExitStack,
    command: Sequence[str],
    log: Path,
    folder: Path,
    environment: Mapping[str, str],
    core: int | None,
) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, {core}),
        )
    stack.callback(_stop, process)
    return process


def _workers(process: subprocess.Popen[bytes], count: int) -> tuple[int, ...]:
    give_up_at = time.monotonic() + HEALTHY_WITHIN_S
    while len(workers := children(process.pid)) != count:
        if time.monotonic() > give_up_at:
            raise RuntimeError(f"{len(workers)} workers run; {count} are measured")
        time.sleep(LOOKS_EVERY_S)
    return tuple(workers)


def _idle_mb(pids: Sequence[int]) -> float:
    """When all is loaded that is loaded before the first call, after the first answer."""
    wait_until_quiet(pids)
    return sum(resident_mb(pid) for pid in pids)


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


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


# ------------------------------------------------------------------------ a call's media stream


def stream_to(path: str, carrier: str = "twilio") -> Stream:
    """A stream that nobody has to be told of."""
    call_sid = "CA" + uuid.uuid4().hex
    return {"path": path, "call_sid": call_sid, "parameters": {}, "carrier": carrier, "sample_rate_hz": 8000}


def announce(port: int) -> Stream:
    """A call comes in, as Twilio says it: the document tells where its stream goes and with what ticket."""
    stream = stream_to("")
    form = {"CallSid": stream["call_sid"], "From": "+15550001111", "To": "+15550002222"}
    form["CallStatus"] = "ringing"
    url = f"http://127.0.0.1:{port}/phone/incoming-call-streaming"
    with urllib.request.urlopen(url, urllib.parse.urlencode(form).encode(), timeout=30) as answer:
        document = answer.read().decode()
    address = re.search(r'<Stream url="([^"]+)"', document)
    if address is None:
        raise RuntimeError(f"no media stream in the call's document: {document}")
    parameters = dict(re.findall(r'<Parameter name="([^"]+)" value="([^"]*)"', document))
    return {**stream, "path": urllib.parse.urlsplit(address[1]).path, "parameters": parameters}


def _exotel_stream(_: int) -> Stream:
    return stream_to("/exotel", "exotel")

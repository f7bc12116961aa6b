"""The machine that is measured on: its cores, and the load generator's process."""

from __future__ import annotations

import json
import os
import resource
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibration import calibrate
from measure import cpu_seconds, resident_mb

BENCH = Path(__file__).resolve().parent
SAYS_WITHIN_S = 60.0
SAMPLES_EVERY_S = 0.25
QUIET_BELOW = 0.03
QUIET_WITHIN_S = 6.0

Answer = list[dict[str, Any]]


@dataclass(frozen=True)
class Cores:
    """Where things run; None: wherever there is room."""

    apps: int | None
    load: int | None

    @classmethod
    def of_machine(cls, pin: bool) -> Cores:
        """The last core for the apps, the first for the load; none if there are not two."""
        cores = sorted(os.sched_getaffinity(0))
        return cls(cores[-1], cores[0]) if pin and len(cores) > 1 else cls(None, None)

    def settle(self) -> None:
        """This process keeps away from the apps' core."""
        if self.load is not None:
            os.sched_setaffinity(0, {self.load})

    def calibrate(self) -> float:
        """What the apps' core is worth at this moment, in microseconds (see calibration.py)."""
        if self.apps is None:
            return calibrate()
        os.sched_setaffinity(0, {self.apps})
        try:
            return calibrate()
        finally:
            self.settle()


def open_more_files() -> None:
    """As many descriptors as this user may have: a call takes two in each process."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Load:
    """The load generator's process: orders in, counts out.

    Attributes:
        engine: port of the echo engine.
        engine_tls: port of the one that speaks TLS.
        ca_file: whom to trust there.
    """

    def __init__(self, stack: ExitStack, core: int | None) -> None:
        command = [sys.executable, str(BENCH / "load.py"), *([] if core is None else [str(core)])]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for us: we stop what we started, in order
        )
        self._rest = b""
        stack.callback(self._stop)
        said = self._answer(SAYS_WITHIN_S)
        self.engine, self.engine_tls, self.ca_file = said["engine"], said["engine_tls"], said["ca_file"]

    def carry_out(self, order: dict[str, Any], on_turn: Callable[[int], object] | None = None) -> Answer:
        """What was counted, a dictionary for each of the order's subjects.

        Args:
            on_turn: called as each measured turn begins, with its number.

        Raises:
            RuntimeError: it ended, or did not answer long after it should have.
        """
        streams = sum(len(each["streams"]) + len(each.get("idle", ())) for each in order["subjects"])
        speaking_s = len(order["subjects"]) * (order["seconds"] * 2 + order["warm_up"] + SAYS_WITHIN_S)
        self._tell({**order, "tells_turns": on_turn is not None})
        while isinstance(answer := self._answer(speaking_s + streams * 0.2), dict):
            if on_turn is not None:
                on_turn(answer["turn"])
        counted: Answer = answer
        return counted

    def _tell(self, order: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        data = memoryview(json.dumps(order).encode() + b"\n")
        while data:
            data = data[self._process.stdin.write(data) or 0 :]

    def _answer(self, within_s: float) -> Any:
        assert self._process.stdout is not None
        give_up_at = time.monotonic() + within_s
        while b"\n" not in self._rest:
            waits_s = max(give_up_at - time.monotonic(), 0.0)
            if not select.select([self._process.stdout], [], [], waits_s)[0]:
                raise RuntimeError(f"the load generator said nothing for {within_s:.0f} s")
            data = os.read(self._process.stdout.fileno(), 1 << 20)
            if not data:
                raise RuntimeError("the load generator ended; what it said is above")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def most_resident_mb(processes: Sequence[tuple[int, ...]]) -> Iterator[list[float]]:
    """The most memory that each group of processes takes while the block runs, in MB."""
    most = [_together_mb(pids) for pids in processes]
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(SAMPLES_EVERY_S):
            most[:] = [max(was, _together_mb(pids)) for was, pids in zip(most, processes, strict=True)]

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield most
    finally:
        is_over.set()
        watcher.join()


def _together_mb(pids: tuple[int, ...]) -> float:
    return sum(resident_mb(pid) for pid in pids)


def wait_until_quiet(pids: Sequence[int]) -> None:
    """Calls that are over leave work behind: the next ones shall not pay for it."""
    give_up_at = time.monotonic() + QUIET_WITHIN_S
    while time.monotonic() < give_up_at:
        before = sum(cpu_seconds(pid) for pid in pids)
        time.sleep(0.3)
        if sum(cpu_seconds(pid) for pid in pids) - before < QUIET_BELOW * 0.3:
            return

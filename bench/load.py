"""The load generator and the echo engine in one process, driven by bench/frame_path.py.

`python bench/load.py [CORE]` prints the engine's port; then, for every line of JSON that it reads (a
round: who is called, how, how long), one line of JSON with what it counted.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import select
import selectors
import sys
import time
from typing import Any

from caller import FRAME_S, Caller, Tally
from echo_engine import EchoEngine
from measure import cpu_seconds, held_up_seconds, percentile

OPEN_WITHIN_S = 30.0
STRAGGLERS_S = 3.0
CLOCKS = ("wall_s", "cpu_s", "held_up_s", "load_cpu_s")
CLOSE_WITHIN_S = 8.0


class _FineSelector(selectors.EpollSelector):
    """epoll rounds its timeout up to milliseconds; frames would leave in clumps. select does not."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout > 0:
            select.select([self.fileno()], [], [], timeout)
            timeout = 0
        return super().select(timeout)


class Speaking:
    """Every caller's frames at their times: absolute deadlines, the callers spread over 20 ms."""

    def __init__(self, callers: list[Caller]) -> None:
        self._callers, self._loop = callers, asyncio.get_running_loop()
        self._step = FRAME_S / len(callers)
        self._began, self._count = self._loop.time(), 0
        self._timer = self._loop.call_soon(self._speak)

    def _speak(self) -> None:
        callers, now = self._callers, self._loop.time()
        while (due_at := self._began + self._count * self._step) <= now:
            callers[self._count % len(callers)].speak(due_at)
            self._count += 1
        self._timer = self._loop.call_at(due_at, self._speak)

    def stop(self) -> None:
        self._timer.cancel()


class Party:
    """The callers of one subject, and what was counted while they spoke.

    ``order``: ``port``, ``streams`` (see Caller), ``pid`` whose CPU is counted (None: our own).
    """

    def __init__(self, order: dict[str, Any]) -> None:
        self._port, self._streams = order["port"], order["streams"]
        self._pid = order["pid"] or os.getpid()
        self._clocked = dict.fromkeys(CLOCKS, 0.0)
        self._pairs = self._lost = 0
        self._costs: list[float] = []
        self.callers: list[Caller] = []

    async def open(self) -> None:
        """Every call answered."""
        loop = asyncio.get_running_loop()
        for number, stream in enumerate(self._streams):
            caller = Caller(number, stream, f"127.0.0.1:{self._port}")
            await loop.create_connection(lambda caller=caller: caller, "127.0.0.1", self._port)  # type: ignore[misc]
            self.callers.append(caller)
        give_up_at = loop.time() + OPEN_WITHIN_S
        while not all(caller.is_ready for caller in self.callers):
            if loop.time() > give_up_at or any(caller.closed.done() for caller in self.callers):
                raise ConnectionError(f"port {self._port}: not every call was answered")
            await asyncio.sleep(0.01)

    async def speak(self, seconds: float, is_measured: bool) -> None:
        """All speak, and wait for what is still on its way; CPU counts until it is there."""
        for caller in self.callers:
            caller.is_measured = is_measured
        began, before = self._clocks(), self._heard()
        speaking = Speaking(self.callers)
        await asyncio.sleep(seconds)
        speaking.stop()
        give_up_at = time.monotonic() + STRAGGLERS_S
        while (lost := sum(caller.missing for caller in self.callers)) > self._lost:
            if time.monotonic() > give_up_at:
                self._lost = lost
            await asyncio.sleep(0.005)
        if is_measured:
            ended = self._clocks()
            took = {name: ended[at] - began[at] for at, name in enumerate(CLOCKS)}
            pairs = self._heard() - before
            self._pairs += pairs
            self._costs.append(took["cpu_s"] / max(pairs, 1) * 1e6)
            for name in CLOCKS:
                self._clocked[name] += took[name]

    async def close(self) -> dict[str, Any]:
        """Hang up; what was counted. Calls that are over already were ended by the app."""
        ended = sum(caller.closed.done() for caller in self.callers)
        for caller in self.callers:
            caller.hang_up()
        await asyncio.wait([caller.closed for caller in self.callers], timeout=CLOSE_WITHIN_S)
        total = Tally()
        for caller in self.callers:
            total.add(caller.tally)
        lost = sum(caller.missing for caller in self.callers)
        counted = {"ended": ended, "lost": lost, "pairs": self._pairs, "turns_us": self._costs}
        return _counted(total) | counted | self._clocked

    def _heard(self) -> int:
        return sum(caller.tally.heard for caller in self.callers)

    def _clocks(self) -> tuple[float, ...]:
        return time.monotonic(), cpu_seconds(self._pid), held_up_seconds(self._pid), time.process_time()


async def round_of(order: dict[str, Any]) -> list[dict[str, Any]]:
    """All subjects' calls are open; they speak in turns, so that a minute's moods meet all alike.

    Each speaks ``seconds`` in all, after a first turn that is not counted. Carriers do not pause like this,
    but no app hangs up over a few seconds of silence.
    """
    parties = [Party(each) for each in order["subjects"]]
    for party in parties:
        await party.open()
        await party.speak(order["warm_up"], is_measured=False)
    turns = max(round(order["seconds"] / order["turn_s"]), 1)
    for number in range(turns):
        for party in parties if number % 2 == 0 else reversed(parties):
            await party.speak(order["seconds"] / turns, is_measured=True)
    return [await party.close() for party in parties]


def _counted(total: Tally) -> dict[str, Any]:
    names = ("sent", "doubled", "reordered", "foreign")
    return {
        **{name: getattr(total, name) for name in names},
        "wait_p50_ms": percentile(total.waits, 50) * 1000,
        "wait_p99_ms": percentile(total.waits, 99) * 1000,
        "lag_p99_ms": percentile(total.lags, 99) * 1000,
    }


def main() -> None:
    if len(sys.argv) > 1:
        os.sched_setaffinity(0, {int(sys.argv[1])})
    loop = asyncio.SelectorEventLoop(_FineSelector())
    engine = loop.run_until_complete(loop.create_server(EchoEngine, "127.0.0.1", 0, backlog=1024))
    gc.freeze()
    gc.disable()  # between windows is early enough
    print(engine.sockets[0].getsockname()[1], flush=True)
    for line in sys.stdin:
        print(json.dumps(loop.run_until_complete(round_of(json.loads(line)))), flush=True)
        gc.collect()


if __name__ == "__main__":
    main()

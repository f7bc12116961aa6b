"""The load generator and the echo engine, one process: `python bench/load.py [CORE]`, driven by bench/frame_path.py.

It prints the engine's port; then, for every line of JSON that it reads (a
window: who is called, how, how long), one line of JSON with what it counted.
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
from measure import cpu_seconds, percentile

OPEN_WITHIN_S = 30.0
STRAGGLERS_S = 3.0
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


async def window(order: dict[str, Any]) -> dict[str, Any]:
    """Open the calls, warm up, measure, let stragglers come in, hang up.

    ``order``: ``port``, ``streams`` (see Caller), ``pid`` whose CPU is counted (or None), ``warm_up`` and
    ``seconds``.
    """
    callers = await _open(order)
    speaking = Speaking(callers)
    await asyncio.sleep(order["warm_up"])
    pid, before = order["pid"], sum(caller.tally.heard for caller in callers)
    for caller in callers:
        caller.is_measured = True
    began, own, cpu = time.monotonic(), time.process_time(), cpu_seconds(pid) if pid else 0.0
    await asyncio.sleep(order["seconds"])
    cpu = (cpu_seconds(pid) if pid else time.process_time()) - (cpu if pid else own)
    own, took = time.process_time() - own, time.monotonic() - began
    pairs = sum(caller.tally.heard for caller in callers) - before
    speaking.stop()
    lost = await _last_frames(callers)
    for caller in callers:
        caller.hang_up()
    await asyncio.wait([caller.closed for caller in callers], timeout=CLOSE_WITHIN_S)
    total = Tally()
    for caller in callers:
        total.add(caller.tally)
    return _counted(total, lost) | {"pairs": pairs, "cpu_s": cpu, "wall_s": took, "load_cpu_s": own}


async def _open(order: dict[str, Any]) -> list[Caller]:
    loop, port, callers = asyncio.get_running_loop(), order["port"], []
    for number, stream in enumerate(order["streams"]):
        caller = Caller(number, stream, f"127.0.0.1:{port}")
        await loop.create_connection(lambda caller=caller: caller, "127.0.0.1", port)  # type: ignore[misc]
        callers.append(caller)
    give_up_at = loop.time() + OPEN_WITHIN_S
    while not all(caller.is_ready for caller in callers):
        if loop.time() > give_up_at or any(caller.closed.done() for caller in callers):
            raise ConnectionError(f"port {port}: not every call was answered")
        await asyncio.sleep(0.01)
    return callers


async def _last_frames(callers: list[Caller]) -> int:
    """Wait for what is still on its way; how many frames never came."""
    give_up_at = time.monotonic() + STRAGGLERS_S
    while (lost := sum(caller.missing for caller in callers)) and time.monotonic() < give_up_at:
        await asyncio.sleep(0.02)
    return lost


def _counted(total: Tally, lost: int) -> dict[str, Any]:
    names = ("sent", "doubled", "reordered", "foreign")
    return {
        **{name: getattr(total, name) for name in names},
        "lost": lost,
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
        print(json.dumps(loop.run_until_complete(window(json.loads(line)))), flush=True)
        gc.collect()


if __name__ == "__main__":
    main()

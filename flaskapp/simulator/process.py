"""Starts the simulator's own process and hands over its events as they come."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flaskapp.simulator.orders import Order

ROOT = Path(__file__).resolve().parents[2]
GRACE_S = 150.0  # after the longest call: what may follow a hang-up, and a slow machine


class SimulatorFailed(Exception):
    """No calls were placed, or the simulator's process ended without a summary; the text says why."""


def events(order: Order, tick_s: float = 0.3) -> Iterator[dict[str, Any]]:
    """The order's events, and an empty one after every ``tick_s`` without any.

    Raises:
        SimulatorFailed: the process refused, ended, or had to be ended, before its summary.
    """
    worker = _started(order)
    lines: queue.Queue[str | None] = queue.Queue()
    errors: list[str] = []
    threading.Thread(target=_read, args=(worker.stdout, lines), daemon=True).start()
    threading.Thread(target=_collect, args=(worker.stderr, errors), daemon=True).start()
    give_up_at = time.monotonic() + order.seconds + GRACE_S
    try:
        while time.monotonic() < give_up_at:
            try:
                line = lines.get(timeout=tick_s)
            except queue.Empty:
                yield {}
                continue
            if line is None:
                break
            event = json.loads(line)
            if event.get("event") == "refused":
                raise SimulatorFailed(event["text"])
            yield event
            if event.get("event") == "summary":
                return
        worker.poll()
        said = "".join(errors[-5:]).strip() or "it gave no summary"
        raise SimulatorFailed(f"the simulator broke down: {said}")
    finally:
        _ended(worker)


def _started(order: Order) -> subprocess.Popen[str]:
    """The process, its order given; the order holds a secret and so never becomes an argument."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    worker = subprocess.Popen(
        [sys.executable, "-m", "flaskapp.simulator.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert worker.stdin is not None  # noqa: S101 - it was asked for as a pipe
    worker.stdin.write(order.to_json())
    worker.stdin.close()
    return worker


def _ended(worker: subprocess.Popen[str]) -> None:
    if worker.poll() is None:
        try:
            worker.wait(timeout=5)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


def _read(stream: Any, lines: queue.Queue[str | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def _collect(stream: Any, errors: list[str]) -> None:
    errors.extend(stream)

"""Measures what one audio frame costs: `python bench/frame_path.py`, a table in five minutes.

The product as shipped and the plainest possible Flask relay run side by side
under gunicorn; each in turn carries the same calls, whose every frame an engine
echoes. What counts is the ratio in one run: machines differ, and so does one
machine from minute to minute.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from calibration import calibrate
from measure import resident_mb
from report import figures, table
from subjects import BENCH, Subject, alone, plain_relay, product


class Load:
    """The load generator's process."""

    def __init__(self, stack: ExitStack, core: int | None) -> None:
        command = [sys.executable, str(BENCH / "load.py"), *([] if core is None else [str(core)])]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        stack.callback(self._stop)
        self.engine_port = int(self._answer())

    def window(self, subject: Subject, calls: int, seconds: float, warm_up: float) -> dict[str, Any]:
        """Calls over a subject for a while: what was counted."""
        order = {
            "port": subject.port,
            "pid": subject.pid,
            "streams": [subject.stream() for _ in range(calls)],
            "seconds": seconds,
            "warm_up": warm_up,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        answer: dict[str, Any] = json.loads(self._answer())
        return answer

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the load generator ended; what it said is above")
        return line

    def _stop(self) -> None:
        self._process.terminate()
        self._process.wait()


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All windows, interleaved, with the calibration before, between and after."""
    app_core, load_core = _cores(options.pin)
    if app_core is not None:
        os.sched_setaffinity(0, {app_core})  # the calibration belongs where the apps run
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="frame-path-")))
        _say("starting the load generator, the product and the plain relay")
        load = Load(stack, load_core)
        subjects = [make(stack, folder, load.engine_port, app_core) for make in (product, plain_relay)]
        subjects.append(alone(load.engine_port))
        windows: dict[str, list[dict[str, Any]]] = {subject.name: [] for subject in subjects}
        unit = calibrate()
        for number in range(options.rounds):
            # Every other round the other way round: a machine that grows slower favours nobody.
            for subject in subjects if number % 2 == 0 else [subjects[1], subjects[0], subjects[2]]:
                _say(f"round {number + 1} of {options.rounds}: {subject.name}")
                counted = load.window(subject, options.calls, options.seconds, options.warm_up)
                before, unit = unit, calibrate()
                counted["unit_us"] = (before + unit) / 2
                counted["us"] = counted["cpu_s"] / max(counted["pairs"], 1) * 1e6
                counted["rss_mb"] = resident_mb(subject.pid) if subject.pid else 0.0
                windows[subject.name].append(counted)
    settings = {name: getattr(options, name) for name in ("calls", "seconds", "rounds")}
    return figures(windows, {**settings, "pinned": app_core is not None})


def _cores(pin: bool) -> tuple[int | None, int | None]:
    """One core for the apps, another for the load; none if there are not two."""
    cores = sorted(os.sched_getaffinity(0))
    return (cores[-1], cores[0]) if pin and len(cores) > 1 else (None, None)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def read_options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="frame_path.py", description=(__doc__ or "").split("\n\n")[1].replace("\n", " ")
    )
    parser.add_argument("--calls", type=int, help="calls at once (40)")
    parser.add_argument("--seconds", type=float, help="measured time of each window (20)")
    parser.add_argument("--rounds", type=int, help="windows of each subject (3)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every figure there")
    parser.add_argument("--quick", action="store_true", help="under half a minute: 10 calls, 2 x 2 s")
    parser.add_argument("--no-pin", dest="pin", action="store_false", help="apps and load share all cores")
    options = parser.parse_args(arguments)
    defaults = {"calls": 10, "seconds": 2.0, "rounds": 2} if options.quick else {}
    for name, usual in {"calls": 40, "seconds": 20.0, "rounds": 3}.items():
        if getattr(options, name) is None:
            setattr(options, name, defaults.get(name, usual))
        if getattr(options, name) <= 0:
            parser.error(f"--{name} must be more than nothing")
    options.warm_up = 0.5 if options.quick else 2.0
    return options


def main() -> int:
    options = read_options()
    if sys.platform != "linux":
        sys.exit("frame_path.py reads other processes' CPU clocks as Linux names them: run it there")
    measured = run(options)
    print(table(measured))
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Measures what one audio frame costs: `python bench/frame_path.py`, a table in four minutes.

The product as shipped and the plainest possible Flask relay run side by side
under gunicorn; in turns of two seconds each carries the same calls, whose every
frame an engine echoes. What counts is the ratio in one run: machines differ, and so does one
machine from minute to minute.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
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

#: Short, so that what else the machine does meets every subject alike.
TURN_S = 2.0


class Load:
    """The load generator's process."""

    def __init__(self, stack: ExitStack, core: int | None) -> None:
        command = [sys.executable, str(BENCH / "load.py"), *([] if core is None else [str(core)])]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        stack.callback(self._stop)
        self.engine_port = int(json.loads(self._answer())["engine"])

    def round_of(self, subjects: list[Subject], options: argparse.Namespace) -> list[dict[str, Any]]:
        """Calls over every subject, in turns: what was counted of each."""
        order = {
            "subjects": [
                {
                    "port": each.port,
                    "pids": [each.pid] if each.pid else None,
                    "streams": [each.stream() for _ in range(options.calls)],
                }
                for each in subjects
            ],
            "seconds": options.seconds,
            "turn_s": TURN_S,
            "warm_up": options.warm_up,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        answer: list[dict[str, Any]] = json.loads(self._answer())
        for each in answer:
            if "error" in each:
                raise RuntimeError(each["error"])
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


def keep_awake(stack: ExitStack, cores: tuple[int, ...]) -> None:
    """Nobody shall pay for waking a core (see awake.py)."""
    for core in cores:
        process = subprocess.Popen([sys.executable, str(BENCH / "awake.py"), str(core)])
        stack.callback(process.wait)
        stack.callback(process.terminate)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All rounds, with the calibration before, between and after."""
    app_core, load_core = _cores(options.pin)
    if app_core is not None:
        os.sched_setaffinity(0, {app_core})  # the calibration belongs where the apps run
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="frame-path-")))
        if options.awake and app_core is not None and load_core is not None:
            keep_awake(stack, (app_core, load_core))
        _say("starting the load generator, the product and the plain relay")
        load = Load(stack, load_core)
        subjects = [make(stack, folder, load.engine_port, app_core) for make in (product, plain_relay)]
        subjects.append(alone(load.engine_port))
        windows: dict[str, list[dict[str, Any]]] = {subject.name: [] for subject in subjects}
        unit = calibrate()
        for number in range(options.rounds):
            _say(f"round {number + 1} of {options.rounds}")
            counted = load.round_of(subjects, options)
            before, unit = unit, calibrate()
            for subject, each in zip(subjects, counted, strict=True):
                each["unit_us"] = (before + unit) / 2
                each["rss_mb"] = resident_mb(subject.pid) if subject.pid else 0.0
                windows[subject.name].append(each)
    settings = {name: getattr(options, name) for name in ("calls", "seconds", "rounds")}
    pinned = app_core is not None
    return figures(windows, {**settings, "pinned": pinned, "awake": pinned and options.awake})


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
    parser.add_argument("--calls", type=int, help="calls at once (25: more fill the relay's core)")
    parser.add_argument("--seconds", type=float, help="measured time of each subject in a round (20)")
    parser.add_argument("--rounds", type=int, help="how often calls are opened anew (3)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every figure there")
    parser.add_argument("--quick", action="store_true", help="under half a minute: 10 calls, 2 x 2 s")
    parser.add_argument(
        "--let-sleep", dest="awake", action="store_false", help="idle cores may fall asleep, and are paid for"
    )
    parser.add_argument("--no-pin", dest="pin", action="store_false", help="apps and load share all cores")
    options = parser.parse_args(arguments)
    defaults = {"calls": 10, "seconds": 2.0, "rounds": 2} if options.quick else {}
    for name, usual in {"calls": 25, "seconds": 20.0, "rounds": 3}.items():
        if getattr(options, name) is None:
            setattr(options, name, defaults.get(name, usual))
        if getattr(options, name) <= 0:
            parser.error(f"--{name} must be more than nothing")
    options.warm_up = 0.5 if options.quick else 1.0
    return options


def main() -> int:
    options = read_options()
    if sys.platform != "linux":
        sys.exit("frame_path.py reads other processes' CPU clocks as Linux names them: run it there")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is stopped then, too
    measured = run(options)
    print(table(measured))
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

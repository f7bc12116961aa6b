"""Measures what a call costs, beside relays that do less: `python bench/side_by_side.py`, or `make bench`.

The product as shipped, over TLS to its engine and on Exotel's path, a relay in
the manner of quick-start samples, the plainest Flask relay, and the floor below
which no relay falls, each on the same core, in turns, with the same calls, whose
every frame an engine echoes. What counts is the ratio in one run: machines differ,
and so does one machine from minute to minute. docs/benchmarks.md explains the columns.
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

from lineup import PEERS_PYTHON, Place, has_peers
from publish import publish
from report import figures, printed
from rig import BENCH, Cores, Load, open_more_files
from run import Progress, Run
from scenarios import SCENARIOS

PROJECT = BENCH.parent
RESULTS = PROJECT / "instance" / "bench.json"
IMAGES = PROJECT / "docs" / "images"
MOST_TURN_S = 6.0
REDIS = {
    True: "the product's Redis on the load's core and counted apart",
    False: "no redis-server: one is embedded",
}
#: Of each scenario on a machine of usual speed, in seconds: for the progress that is shown.
ESTIMATES_S = {"echo": 330, "highest": 360, "workers": 40, "idle": 60, "opening": 35, "viewer": 15}
ESTIMATES_S |= {"tool": 20, "slow-redis": 15, "slow-database": 15}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All scenarios that are asked for, with the calibration before, between and after."""
    cores = Cores.of_machine(options.pin)
    cores.settle()
    open_more_files()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        place = Place(stack, folder, Load(stack, cores.load), cores.apps, cores.load)
        run = Run(place, cores, Progress(_estimated_s(options)))
        results: dict[str, Any] = {}
        for name in options.only:
            try:
                results[name] = SCENARIOS[name](run, options)
            except KeyboardInterrupt:
                run.say("stopped; the scenarios that were finished follow")
                break
        settings = {
            **{name: getattr(options, name) for name in ("calls", "seconds", "rounds", "turn", "only")},
            "pinned": cores.apps is not None,
            "redis": REDIS[run.has_redis],
            "took_s": run.passed_s,
        }
        return figures(results, run.windows, run.started(), run.units, settings)


def _estimated_s(options: argparse.Namespace) -> float:
    if options.quick:
        return 20.0
    scale = {"echo": options.rounds * options.seconds * len(options.calls) / 36}
    return 15 + sum(ESTIMATES_S[name] * scale.get(name, 1.0) for name in options.only)


def read_options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="side_by_side.py",
        description=(__doc__ or "").split("\n\n")[1].replace("\n", " "),
        epilog="BENCH_PEERS=1 measures Pipecat, too: scripts/peers.sh makes its environment.",
    )
    parser.add_argument("--calls", type=_numbers, help="calls at once, one step after the other (5,50,200)")
    parser.add_argument("--seconds", type=float, help="measured time of each subject in an order (12)")
    parser.add_argument("--rounds", type=int, help="how often each step's calls are opened anew (1)")
    parser.add_argument("--turn", type=float, help="seconds until the next subject's turn (4; at most 6)")
    parser.add_argument("--only", type=_scenarios, help=f"some of {','.join(SCENARIOS)} (all)")
    parser.add_argument("--highest", action="store_true", help="the same as --only highest")
    parser.add_argument("--json", metavar="FILE", type=Path, help=f"write it there ({_shown(RESULTS)})")
    parser.add_argument(
        "--publish", action="store_true", help=f"curves to {_shown(IMAGES)}, a table to README.md"
    )
    parser.add_argument("--quick", action="store_true", help="under a minute: two subjects, 5 calls, 1 s")
    parser.add_argument("--no-pin", dest="pin", action="store_false", help="apps and load share all cores")
    options = parser.parse_args(arguments)
    usual = {"calls": [5, 50, 200], "seconds": 12.0, "rounds": 1, "turn": 4.0, "only": list(SCENARIOS)}
    if options.quick:
        usual |= {"calls": [5], "seconds": 1.0, "turn": 1.0, "only": ["echo"]}
    if options.highest:
        usual |= {"only": ["highest"]}
    for name, value in usual.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    for name in ("seconds", "rounds", "turn"):
        if getattr(options, name) <= 0:
            parser.error(f"--{name} must be more than nothing")
    if options.turn > MOST_TURN_S:
        parser.error(
            f"--turn must be at most {MOST_TURN_S:g}: the product gives silent callers up after 15 s"
        )
    options.warm_up = 0.5 if options.quick else 1.0
    return options


def _numbers(text: str) -> list[int]:
    numbers = [int(each) for each in text.split(",")]
    if min(numbers) <= 0:
        raise argparse.ArgumentTypeError("--calls must be more than nothing")
    return numbers


def _scenarios(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(SCENARIOS):
        raise argparse.ArgumentTypeError(f"no scenario: {', '.join(sorted(unknown))}")
    return names


def _shown(path: Path) -> str:
    return str(path.relative_to(PROJECT))


def draw(file: Path, publish: bool) -> None:
    """The curves of a run, by bench/curves.py: it needs matplotlib, the figures do not."""
    where = IMAGES if publish else file.parent
    command = [sys.executable, str(BENCH / "curves.py"), str(file), "--to", str(where)]
    subprocess.run(command, check=False)


def main() -> int:
    options = read_options()
    if sys.platform != "linux":
        sys.exit("side_by_side.py reads other processes' CPU clocks as Linux names them: run it there")
    if has_peers() and not PEERS_PYTHON.exists():
        sys.exit("BENCH_PEERS=1 needs an environment of its own: make it with scripts/peers.sh")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is stopped then, too
    measured = measure(options)
    print(printed(measured))
    file = options.json or RESULTS
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(measured, indent=1) + "\n")
    print(f"\nEvery figure is in {os.path.relpath(file)}.")
    draw(file, options.publish)
    if options.publish:
        publish(measured, PROJECT / "README.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What the product promises of its speed, held against what a run measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

DELAY_MS = 20

Results = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """``is_met`` is None where nothing was measured."""

    what: str
    promised: str
    measured: str
    is_met: bool | None


def targets(results: Results, started: dict[str, dict[str, float]]) -> list[Target]:
    """Every promise that this run can judge.

    ``results``: scenario -> what scenarios.py found; ``started``: see Run.started.
    """
    found = [target for judge in _JUDGES if judge.__name__[1:] in results for target in judge(results)]
    return [*found, *_delays(results), *_start(started)]


def _at_most(what: str, value: float | None, limit: float, unit: str = "", digits: int = 2) -> Target:
    if value is None:
        return Target(what, f"at most {limit:g}{unit}", "not measured", None)
    return Target(what, f"at most {limit:g}{unit}", f"{value:.{digits}f}{unit}", value <= limit)


def _at_least(what: str, value: float, limit: float, unit: str = "", digits: int = 1) -> Target:
    return Target(what, f"at least {limit:g}{unit}", f"{value:.{digits}f}{unit}", value >= limit)


def _row(results: Results, name: str, calls: int) -> dict[str, Any] | None:
    rows = results.get("echo", {}).get("rows", ())
    fitting = [
        each for each in rows if (each["name"], each["calls"]) == (name, calls) and "error" not in each
    ]
    return fitting[0] if fitting else None


def _calls(results: Results) -> list[int]:
    return sorted({each["calls"] for each in results["echo"]["rows"]})


def _of_floor(row: dict[str, Any] | None) -> float | None:
    return row["of_floor"]["median"] if row and "of_floor" in row else None


def _echo(results: Results) -> Iterator[Target]:
    measured = {each["name"] for each in results["echo"]["rows"]}
    for name in ("product", "product over TLS"):
        if name not in measured:
            continue
        for calls in _calls(results):
            what = f"{name}, {calls} calls: CPU of its floor's"
            yield _at_most(what, _of_floor(_row(results, name, calls)), 1.15)
    for calls in _calls(results):
        sample, ours = (
            _of_floor(_row(results, "FastAPI sample", calls)),
            _of_floor(_row(results, "product", calls)),
        )
        if sample and ours:
            yield _at_least(f"FastAPI sample's CPU of the product's, {calls} calls", sample / ours, 3.5)
    ours = [each for each in results["echo"]["rows"] if each["name"].startswith("product")]
    gone = sum(each.get(name, 0) for each in ours for name in ("lost", "doubled", "reordered"))
    failed = sum("error" in each for each in ours)
    if not ours:
        return
    yield Target(
        "nothing lost, doubled, out of order",
        "0",
        f"{gone}" + (f", {failed} failed" if failed else ""),
        not (gone or failed),
    )
    last = _row(results, "product", max(_calls(results)))
    yield _at_most(
        f"memory of a call in conversation, {max(_calls(results))} calls",
        last["kb_per_call"] if last else None,
        120,
        " kB",
        0,
    )


def _highest(results: Results) -> Iterator[Target]:
    found = results["highest"].get("product")
    if found is None:
        return
    most = _at_least("calls on one core, p99 below 20 ms added", found["calls"], 600, digits=0)
    if not most.is_met and found["is_loads_limit"]:
        most = Target(most.what, most.promised, f"{most.measured}, then the load generator was full", True)
    yield most
    at_50 = _row(results, "product", 50)
    if at_50 and found["row"]:
        grown = found["row"]["units"] / at_50["units"]
        yield _at_most(f"cost of a call with {found['calls']} of that with 50", grown, 1.05)


def _workers(results: Results) -> Iterator[Target]:
    ratio = results["workers"].get("ratio")
    median = ratio["median"] if ratio else None
    yield _at_most("two workers' CPU per call of one worker's", median, 1.05)


def _idle(results: Results) -> Iterator[Target]:
    found = results["idle"]
    ratio = found.get("ratio")
    beside = "CPU per call beside 1,000 idle ones of that without"
    yield _at_most(beside, ratio["median"] if ratio else None, 1.05)
    whole = [each for each in found["rows"] if "error" not in each]
    yield _at_most(
        "memory of an idle call", found["kb_per_idle_call"] if len(whole) == 2 else None, 40, " kB", 0
    )


def _opening(results: Results) -> Iterator[Target]:
    yield _at_most("added p99 with 60 calls", results["opening"]["rows"][0].get("added_p99_ms"), 1.5, " ms")


def _delays(results: Results) -> Iterator[Target]:
    """Of calls beside which something happens; a machine that delays them by itself proves nothing."""
    for found in results.values():
        if "without" not in found:
            continue
        usual_ms = found["without"]["wait_p50_ms"]
        alone_ms, beside_ms = (found[each]["wait_max_ms"] - usual_ms for each in ("without", "with"))
        target = _at_most(f"longest delay of a frame while {found['what']}", beside_ms, DELAY_MS, " ms", 1)
        if not target.is_met and alone_ms > DELAY_MS:
            measured = f"{target.measured}, and {alone_ms:.1f} ms without it"
            target = Target(target.what, target.promised, measured, None)
        yield target


def _start(started: dict[str, dict[str, float]]) -> Iterator[Target]:
    ours = [each for name, each in started.items() if name.startswith("product") and "two" not in name]
    if ours:
        soonest = min(each["healthy_after_s"] for each in ours)
        yield _at_most("from its start to /health", soonest, 1.5, " s")
        yield _at_most("worker before its first call", max(each["idle_mb"] for each in ours), 110, " MB", 0)


_JUDGES: tuple[Callable[[Results], Iterator[Target]], ...] = (_echo, _highest, _workers, _idle, _opening)

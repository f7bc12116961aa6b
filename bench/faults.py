"""What a caller hears while live AI fails: every failure, many calls at once, the app as shipped.

    python bench/faults.py --calls 20 --scene "7 dies in a reply" --show

Gunicorn with two workers, Redis and a background worker between the simulated carrier and engines
that fail on purpose (tests/system/faults.py). Measured at the caller's ear:

first sound: for failures to begin with (1-6) from the start of the stream; for those in mid-call
    (7-12) from the moment at which the app knew, as its history tells - of the failure, or that the
    caller waits; and from his last word if he is speaking then - to the first sound that is not what
    was on the line already (50 ms and more after).
noticed: for those in mid-call, from the caller's last word before it to that moment.
silence: the longest stretch of the call in which neither side was heard.

A call is complete when each thing that was said is one line of its one transcript, and was answered.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "bench")]

from calibration import calibrate  # noqa: E402
from measure import percentile  # noqa: E402

from flaskapp.phone.audio import rms  # noqa: E402
from flaskapp.simulator.report import CallReport  # noqa: E402
from tests import servers  # noqa: E402
from tests.system.faults import SCENES, House, Verdict  # noqa: E402

IN_MID_CALL = ("7", "8", "9", "12")
FIRST_SOUND_MS, MEDIAN_MS, DEAD_AIR_MS = 3000, 1500, 4000
BLOCK_SAMPLES, BLOCK_MS = 2 * 80, 10  # of both tracks
ON_THE_WAY_MS = 50
AUDIBLE_RMS = 100


@dataclass(frozen=True)
class Heard:
    """One call: what became of it, and when the caller heard something; ms, None where it does not apply."""

    verdict: Verdict
    first_sound_ms: float | None
    noticed_ms: float | None
    turns: list[dict[str, Any]]


def hears(name: str, calls: int) -> list[Heard]:
    """So many callers at once meet this failure, in a house of its own: what each heard."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        redis_url = stack.enter_context(servers.redis_server())
        house = House(stack, folder, {"WEB_CONCURRENCY": "2", "REDIS_URL": redis_url})
        house.starts("worker", "flaskapp.worker")
        log = house.log("worker")
        servers.wait_until(lambda: "Waiting for jobs" in log.read_text(), "no background worker", 60)
        return [_heard(house, name, *played) for played in house.plays(name, calls)]


def _heard(house: House, name: str, report: CallReport, verdict: Verdict, turns: list[Any]) -> Heard:
    plain = [dict(turn) for turn in turns]
    if name.split()[0] not in IN_MID_CALL:
        return Heard(verdict, report.first_sound_after_start_ms, None, plain)
    kinds = "(json_extract(detail, '$.fault') or kind = 'hold') order by at_ms"
    known = [event["at_ms"] for event in house.rows("events", report.call_sid, kinds)]
    return Heard(verdict, *_in_mid_call(report, known), plain)


def _in_mid_call(report: CallReport, known: list[float]) -> tuple[float | None, float | None]:
    """How long after the failure was known something was heard, and how long that took; ms."""
    if not known:
        return None, None
    said = [turn.spoke_until_ms for turn in report.turns if turn.spoke_until_ms <= known[0]]
    noticed = known[0] - said[-1] if said else None
    speaks = [turn for turn in report.turns if turn.spoke_from_ms <= known[0] < turn.spoke_until_ms]
    since = speaks[0].spoke_until_ms if speaks else known[0]
    heard = next(_audible(report.stereo, since + ON_THE_WAY_MS), None)
    return None if heard is None else heard - since, noticed


def _audible(stereo: bytes, since_ms: float) -> Iterator[float]:
    """When the agent's side is heard; ms since the call began."""
    samples = memoryview(stereo).cast("h")
    for block in range(int(since_ms / BLOCK_MS), len(samples) // BLOCK_SAMPLES):
        at = block * BLOCK_SAMPLES
        agent = array("h", samples[at + 1 : at + BLOCK_SAMPLES].tolist()[::2])
        if rms(agent.tobytes()) >= AUDIBLE_RMS:
            yield block * BLOCK_MS


def measure(names: list[str], calls: int) -> dict[str, list[Heard]]:
    """Every failure, one after the other."""
    found = {}
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        found[name] = hears(name, calls)
    return found


def _figures(values: list[float | None]) -> str:
    some = [value for value in values if value is not None]
    if not some:
        return f"{'-':>7}" * 3
    return "".join(f"{percentile(some, each):>7.0f}" for each in (50, 99, 100))


def show(name: str, heard: list[Heard]) -> None:
    """The transcripts, to be looked at."""
    for each in heard:
        print(f"\n{name}: {each.verdict.call_sid} {'' if each.verdict.is_complete else 'INCOMPLETE'}")
        for turn in each.turns:
            cut = " (cut)" if turn["interrupted"] else ""
            print(
                f"  {turn['position']:>3} {turn['start_ms'] / 1000:>6.2f}-{turn['end_ms'] / 1000:<6.2f}"
                f" {turn['speaker']:<6} {turn['mode']:<8} {turn['text']!r}{cut}"
            )


def table(found: dict[str, list[Heard]]) -> list[str]:
    """Print it; what must not be."""
    print(
        f"{'ms':<24}{'n':>4}{'first sound':>21}{'noticed':>21}{'silence':>21}{'complete':>10}{'one row':>9}"
    )
    print(f"{'':<28}" + f"{'p50':>7}{'p99':>7}{'max':>7}" * 3)
    wrong = []
    for name, heard in found.items():
        verdicts = [each.verdict for each in heard]
        complete, single = sum(v.is_complete for v in verdicts), sum(v.rows == 1 for v in verdicts)
        first = [each.first_sound_ms for each in heard]
        figures = _figures(first) + _figures([each.noticed_ms for each in heard])
        silence = [v.silence_ms for v in verdicts]
        print(f"{name:<24}{len(heard):>4}{figures}{_figures([*silence])}{complete:>10}{single:>9}")
        if complete < len(heard) or single < len(heard) or not all(v.is_answered for v in verdicts):
            wrong.append(f"{name}: a call is incomplete, unanswered or in two rows")
        sounds = [value for value in first if value is not None]
        if sounds and (max(sounds) > FIRST_SOUND_MS or percentile(sounds, 50) > MEDIAN_MS):
            print(f"{'':<24} first sound misses {FIRST_SOUND_MS} ms, or {MEDIAN_MS} in the median")
        if max(silence) > DEAD_AIR_MS:
            print(f"{'':<24} dead air misses {DEAD_AIR_MS} ms")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--calls", type=int, default=20, help="at once, of each failure")
    parser.add_argument("--scene", action="append", choices=list(SCENES), help="only this one (repeatable)")
    parser.add_argument("--show", action="store_true", help="print the transcripts")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    wanted = parser.parse_args()
    before = calibrate()
    found = measure(wanted.scene or list(SCENES), wanted.calls)
    after = calibrate()
    for name, heard in found.items() if wanted.show else ():
        show(name, heard)
    wrong = table(found)
    print(f"a fixed loop took {before:.1f} before and {after:.1f} after")
    if wanted.json:
        rows = {
            name: [{**asdict(each), "verdict": {**asdict(each.verdict), "modes": sorted(each.verdict.modes)}}
                   for each in heard]
            for name, heard in found.items()
        }  # fmt: skip
        wanted.json.write_text(json.dumps(rows, indent=1))
    for each in wrong:
        print(each)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""One run: subjects started when first asked for, calls placed over them in turns, what was counted kept."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lineup import LINEUP, Place
from measure import resident_mb
from rig import Cores, most_resident_mb, wait_until_quiet
from subjects import Stream, Subject

#: Webhooks at once: the calls shall be announced soon, not in a storm.
ANNOUNCES = 8

Window = dict[str, Any]


class Progress:
    """What is done at the moment, and how long all of it will take."""

    def __init__(self, estimated_s: float) -> None:
        self._began, self._estimated_s = time.monotonic(), estimated_s

    @property
    def passed_s(self) -> float:
        return time.monotonic() - self._began

    def say(self, text: str) -> None:
        left = max(self._estimated_s - self.passed_s, 0.0)
        about = f"about {left / 60:.0f} min left" if left > 90 else f"about {left:.0f} s left"
        print(f"[{self.passed_s:4.0f} s, {about}] {text}", file=sys.stderr, flush=True)


class Run:
    """Places orders, keeps windows.

    Attributes:
        windows: of every order, see rows.py; ``scenario`` says what it was for.
        units: of every calibration, in microseconds.
    """

    def __init__(self, place: Place, cores: Cores, progress: Progress) -> None:
        self._place, self._cores, self._progress = place, cores, progress
        self._started: dict[str, Subject] = {}
        self._orders = 0
        self.windows: list[Window] = []
        self.units = [cores.calibrate()]
        self.say = progress.say
        self.cores = cores

    @property
    def passed_s(self) -> float:
        """How long it has been going on."""
        return self._progress.passed_s

    def subject(self, name: str) -> Subject:
        """Started now, if it was not yet."""
        if name not in self._started:
            self.say(f"starting {name}")
            self._started[name] = LINEUP[name](self._place)
        return self._started[name]

    @property
    def has_redis(self) -> bool:
        """Whether the product keeps its calls in a Redis of its own process."""
        return any(subject.beside for subject in self._started.values())

    def started(self) -> dict[str, dict[str, float]]:
        """Of every server that was started: seconds to its first answer, MB before its first call."""
        return {
            name: {"healthy_after_s": subject.healthy_after_s, "idle_mb": subject.idle_mb}
            for name, subject in self._started.items()
            if subject.pids
        }

    def measure(
        self,
        scenario: str,
        names: Sequence[str],
        calls: int,
        seconds: float,
        turn_s: float,
        *,
        warm_up: float = 1.0,
        idle: dict[str, int] | None = None,
        ramp: dict[str, float] | None = None,
        on_turn: Callable[[int, list[Stream]], object] | None = None,
        **more: float,
    ) -> list[Window]:
        """The calls of each subject speak in turns of ``turn_s``, ``seconds`` in all.

        Args:
            idle: so many calls more of a subject, open and silent.
            ramp: ``calls`` more of the first subject, opened ``per_s`` while its others speak, from the turn
                ``in_turn`` on.
            on_turn: called as each measured turn begins, with its number and the first subject's streams.
            more: of the order, as load.py describes it.
        """
        subjects = [self.subject(name) for name in names]
        order: dict[str, Any] = {
            "subjects": [_party(each, calls, (idle or {}).get(each.name, 0)) for each in subjects],
            "seconds": seconds,
            "turn_s": turn_s,
            "warm_up": warm_up,
            "ramp": None,
            **more,
        }
        if ramp:
            order["ramp"] = {**ramp, "streams": _streams(subjects[0], int(ramp["calls"]))}
        streams = order["subjects"][0]["streams"]
        held = [0.0] * len(subjects)

        def turn(number: int) -> None:
            held[:] = [max(was, _resident_mb(each)) for was, each in zip(held, subjects, strict=True)]
            if on_turn is not None:
                on_turn(number, streams)

        with most_resident_mb([each.pids for each in subjects]) as most:
            counted = self._place.load.carry_out(order, turn)
        wait_until_quiet([pid for each in subjects for pid in each.all_pids])
        before = self.units[-1]
        self.units.append(self._cores.calibrate())
        self._orders += 1
        facts = {
            "scenario": scenario,
            "order": self._orders,
            "calls": calls,
            "unit_us": (before + self.units[-1]) / 2,
        }
        found = [
            facts | _facts(subject, rss_mb) | {"held_mb": held_mb} | window
            for subject, rss_mb, held_mb, window in zip(subjects, most, held, counted, strict=True)
        ]
        self.windows += found
        return found


def _facts(subject: Subject, rss_mb: float) -> Window:
    return {
        "name": subject.name,
        "floor": subject.floor,
        "is_paced": subject.is_paced,
        "idle_mb": subject.idle_mb,
        "rss_mb": rss_mb,
    }


def _resident_mb(subject: Subject) -> float:
    return sum(resident_mb(pid) for pid in subject.pids)


def _party(subject: Subject, calls: int, idle: int) -> dict[str, Any]:
    return {
        "port": subject.port,
        "pids": list(subject.pids) or None,
        "beside": list(subject.beside),
        "streams": _streams(subject, calls),
        "idle": _streams(subject, idle),
    }


def _streams(subject: Subject, count: int) -> list[Stream]:
    with ThreadPoolExecutor(ANNOUNCES) as announcing:
        return list(announcing.map(lambda _: subject.stream(), range(count)))


def of_scenario(windows: Iterable[Window], scenario: str) -> list[Window]:
    """The windows that were counted for it."""
    return [each for each in windows if each["scenario"] == scenario]

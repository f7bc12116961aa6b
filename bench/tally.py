"""What became of the frames: numbers that do not grow with the length of a run."""

from __future__ import annotations

from dataclasses import asdict, dataclass

STEP_S = 0.00001
_PER_S = 100_000
_FINE = 50_000  # half a second in steps of 10 us
_COARSE_S, _COARSE = 0.01, 6_000  # a minute in steps of 10 ms


class Histogram:
    """Durations: counted in steps of 10 us up to half a second, of 10 ms beyond.

    ``fine`` may be counted up in place; what its end does not reach is for ``add``.
    """

    def __init__(self) -> None:
        self.fine = [0] * _FINE
        self._coarse = [0] * _COARSE

    def add(self, seconds: float) -> None:
        step = int(seconds * _PER_S)
        if step < _FINE:
            self.fine[max(step, 0)] += 1
        else:
            self._coarse[min(int(seconds / _COARSE_S), _COARSE - 1)] += 1

    def include(self, other: Histogram) -> None:
        self.fine = [mine + its for mine, its in zip(self.fine, other.fine, strict=True)]
        self._coarse = [mine + its for mine, its in zip(self._coarse, other._coarse, strict=True)]

    def percentile_ms(self, percent: float) -> float:
        """The middle of the step below which so many percent lie; 0 of nothing."""
        total = sum(self.fine) + sum(self._coarse)
        wanted = min(round(total * percent / 100), total - 1)
        seen = 0
        for counts, step_s in ((self.fine, STEP_S), (self._coarse, _COARSE_S)):
            for step, count in enumerate(counts):
                seen += count
                if seen > wanted >= 0:
                    return (step + 0.5) * step_s * 1000
        return 0.0

    def figures(self, name: str, percents: tuple[int, ...]) -> dict[str, float]:
        """``NAME_p50_ms`` and so on, and ``NAME_max_ms``."""
        told = {f"{name}_p{each}_ms": self.percentile_ms(each) for each in percents}
        return told | {f"{name}_max_ms": self.percentile_ms(100)}


@dataclass(slots=True)
class Tally:
    """One caller's frames, or all of them added up.

    Attributes:
        heard: frames that came back, each counted once.
        missing: frames that did not, or not yet.
        reordered: came back after a later one.
        foreign: sounds that this caller never made, messages that nobody understands.
        bytes_in, bytes_out: audio, towards the app and back.
        gaps: how often the sound ran dry where it should have gone on (of sound that comes in chunks).
    """

    sent: int = 0
    heard: int = 0
    missing: int = 0
    doubled: int = 0
    reordered: int = 0
    foreign: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    gaps: int = 0

    def add(self, counted: dict[str, int]) -> None:
        for name, number in counted.items():
            setattr(self, name, getattr(self, name) + number)

    def counts(self) -> dict[str, int]:
        return asdict(self)

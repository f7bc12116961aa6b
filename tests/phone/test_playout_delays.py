"""The account of what was heard, held against a simulated carrier that plays with random delays."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from flaskapp.phone.playout import Playout

STEADY_S = 0.15  # every audio message and every mark takes this long ...
JITTER_S = 0.05  # ... and up to so much more


@dataclass
class Line:
    """Plays what it is sent, in order, each message late by a delay of its own; knows what was heard."""

    ends_at: float = 0.0
    arrived_at: float = 0.0
    played: list[tuple[str, float, float]] = field(default_factory=list)  # item, from, seconds

    def send(self, item: str, seconds: float, now: float, delay: float) -> None:
        self.arrived_at = max(self.arrived_at, now + delay)  # TCP keeps the order
        self.ends_at = max(self.ends_at, self.arrived_at)
        self.played.append((item, self.ends_at, seconds))
        self.ends_at += seconds

    def mark_back_at(self, now: float, delay: float) -> float:
        return max(self.ends_at, self.arrived_at, now) + delay

    def heard_ms(self, item: str, now: float) -> float:
        spans = [(start, seconds) for name, start, seconds in self.played if name == item]
        return 1000 * sum(min(max(now - start, 0.0), seconds) for start, seconds in spans)


DELAY = st.floats(0.0, JITTER_S).map(lambda jitter: STEADY_S / 2 + jitter)
SLICE = st.tuples(st.integers(20, 400), st.floats(0.0, 0.3), DELAY, DELAY)  # ms, pause before, delays
ITEM = st.lists(SLICE, min_size=3, max_size=12)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(ITEM, min_size=1, max_size=4), st.floats(0.0, 3.0))
def test_heard_is_within_the_delays_of_what_was_really_heard(items, pause):
    line, playout, now, pending = Line(), Playout(), 1000.0, []
    for number, slices in enumerate(items):
        for at, (ms, wait, out, back) in enumerate(slices):
            now += wait
            pending = deliver(playout, pending, now)
            line.send(f"a{number}", ms / 1000, now, out)
            playout.sent(f"a{number}", 0, ms, now)
            if at in (0, len(slices) - 1):
                pending.append((line.mark_back_at(now, back), playout.mark()))
    deliver(playout, pending, now := now + pause)
    for number in range(len(items)):
        heard = playout.heard(f"a{number}", now)
        if heard.received_ms:  # else: forgotten, as it was heard long ago
            really = line.heard_ms(f"a{number}", now)
            # An underrun that only one side of the line saw shifts all by the jitter, once for each.
            bound_ms = 1000 * (STEADY_S + 2 * JITTER_S) + 2
            assert abs(heard.heard_ms - really) <= bound_ms + underruns(line) * 1000 * JITTER_S
            assert heard.heard_ms <= heard.received_ms


def underruns(line: Line) -> int:
    pairs = zip(line.played, line.played[1:], strict=False)
    return sum(start > before + seconds for (_, before, seconds), (_, start, _) in pairs)


def deliver(playout: Playout, pending: list, now: float) -> list:
    """Give back the marks that are due; the others stay pending."""
    for due, name in sorted(each for each in pending if each[0] <= now):
        playout.mark_reached(name, due)
    return [each for each in pending if each[0] > now]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(ITEM, st.floats(0.5, 0.95))
def test_a_steady_lag_is_learned_from_the_first_mark(slices, share):
    """Audio faster than speech on a line that is late but steady: what was heard is known exactly."""
    line, playout, now = Line(), Playout(), 1000.0
    for ms, *_ in slices:
        line.send("a", ms / 1000, now, STEADY_S)
        playout.sent("a", 0, ms, now)
        if len(line.played) == 1:
            back, name = line.mark_back_at(now, 0.0), playout.mark()
    playout.mark_reached(name, back)
    at = max(now + STEADY_S + share * sum(ms for ms, *_ in slices) / 1000, back)
    assert abs(playout.heard("a", at).heard_ms - line.heard_ms("a", at)) <= 1

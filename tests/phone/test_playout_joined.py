"""Spans long played are joined and forgotten; what was heard is counted as if none were."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flaskapp.phone.playout import MANY_SPANS, MAX_LAG_S, Heard, Playout

thorough = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
LAGS = (0.0, 0.25, 1.0, MAX_LAG_S)
# Mostly an engine slower than speech, that leaves a gap after every slice; all exact in binary.
SLICES = st.tuples(
    st.sampled_from([0.125, 0.25, 0.375, 0.375, 0.375, 0.5]),  # seconds since the last
    st.sampled_from([62.5] * 20 + [125.0] * 20 + [250.0] * 4 + [1000.0]),  # its own ms
    st.sampled_from([0] * 400 + [1]),  # another item begins
)


class Naive:
    """Every slice by itself: when it begins to sound and for how long."""

    def __init__(self) -> None:
        self._slices: list[tuple[str, float, float]] = []
        self._ends_at = 0.0

    def sent(self, item: str, duration_ms: float, now: float) -> None:
        begins = max(self._ends_at, now)
        self._slices.append((item, begins, duration_ms / 1000))
        self._ends_at = begins + duration_ms / 1000

    def heard(self, item: str, at: float) -> Heard:
        own = [(begins, seconds) for whose, begins, seconds in self._slices if whose == item]
        heard = sum(min(max(at - begins, 0.0), seconds) for begins, seconds in own)
        return Heard(item, 0, int(heard * 1000 + 1e-6), int(sum(seconds for _, seconds in own) * 1000 + 1e-6))


@thorough
@given(st.lists(SLICES, min_size=MANY_SPANS + 40, max_size=3 * MANY_SPANS), st.sampled_from(LAGS))
def test_what_was_heard_is_exact_for_every_lag_however_many_spans_there_were(slices, lag):
    playout, naive, now, item = Playout(lag=lag), Naive(), 10.0, 1
    fewer_at = 0
    for number, (pause, ms, others) in enumerate(slices):
        now, item, before = now + pause, item + others, len(playout.spans)
        playout.sent(f"a{item}", 0, ms, now)
        naive.sent(f"a{item}", ms, now)
        if len(playout.spans) < before:  # they have just been joined
            fewer_at = number
        if number - fewer_at < 12 or number % 16 == 15:
            check(playout, naive, f"a{item}", now)
    check(playout, naive, f"a{item}", now + 1.0)


def check(playout: Playout, naive: Naive, item: str, now: float) -> None:
    """The item that is being sent, and any other of which there is an account yet."""
    lag = playout.lag
    for each in {item, *playout.items()}:
        for playout.lag in LAGS:
            assert playout.heard(each, now) == naive.heard(each, now - playout.lag)
    playout.lag = lag


def test_an_item_of_a_thousand_gaps_is_kept_as_a_few_spans():
    playout = Playout()
    for number in range(1000):
        playout.sent("a1", 0, 100, now=10.0 + number * 0.25)
    assert len(playout.spans) <= MANY_SPANS + 1
    assert playout.heard("a1", 400.0) == Heard("a1", 0, 100_000, 100_000)


def test_a_part_of_an_item_is_joined_to_no_other_part():
    """A truncation names the part that it cuts: the last one."""
    playout = Playout()
    for number in range(400):
        playout.sent("a1", number // 300, 100, now=10.0 + number * 0.25)
    assert {span.content_index for span in playout.spans} == {0, 1}
    assert playout.heard("a1", 500.0) == Heard("a1", 1, 40_000, 40_000)

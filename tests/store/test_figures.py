"""What a call's turns tell: how quickly it was answered, and who spoke over whom."""

from __future__ import annotations

from typing import Any

import pytest

from flaskapp.store.figures import call_figures, percentile


def row(position: int, speaker: str, start_ms: int, end_ms: int, **more: Any) -> dict[str, Any]:
    unmeasured = dict.fromkeys(("engine_ms", "bridge_ms", "heard_ms", "noticed_ms", "words_ms"))
    said = {"item": f"i{position}", "position": position, "speaker": speaker, "interrupted": False}
    return {**unmeasured, **said, "start_ms": start_ms, "end_ms": end_ms, **more}


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([], 50, None), ([7], 95, 7), ([3, 1, 2], 50, 2), (range(1, 101), 95, 95)],
)
def test_a_percentile_is_one_of_the_values(values, percent, expected):
    assert percentile(list(values), percent) == expected


def test_a_turns_way_begins_with_the_callers_last_word_before_it():
    told = call_figures(
        [
            row(0, "caller", 0, 1000, noticed_ms=500, words_ms=600),
            row(1, "agent", 1900, 3000, engine_ms=880, bridge_ms=2, heard_ms=100),
        ]
    )
    (step,) = told.steps
    assert (step.noticed_ms, step.words_ms, step.engine_ms, step.sent_ms, step.heard_ms) == (
        500,
        600,
        880,
        882,
        982,
    )
    assert (told.median_ms, told.p90_ms, told.first_audio_ms, told.turns) == (882, 882, 1900, 1)


def test_what_was_not_measured_is_no_latency():
    told = call_figures([row(0, "agent", 100, 900), row(1, "caller", 1000, 1500)])
    assert (told.steps, told.median_ms, told.turns) == ((), None, 1)
    assert call_figures([]).first_audio_ms is None


def test_a_caller_who_speaks_over_the_agent_interrupts_him():
    cut = row(0, "agent", 0, 1500, interrupted=True)
    assert call_figures([cut, row(1, "caller", 1450, 2500)]).by_caller == 1


def test_a_line_that_a_lost_connection_cut_off_was_interrupted_by_nobody():
    cut = row(0, "agent", 0, 1500, interrupted=True)
    assert call_figures([cut, row(1, "caller", 4000, 5000)]).by_caller == 0


def test_an_agent_who_begins_while_the_caller_speaks_interrupts_him():
    told = call_figures([row(0, "caller", 0, 2000), row(1, "agent", 1500, 3000)])
    assert (told.by_caller, told.by_agent) == (0, 1)


class Watched(dict[str, Any]):
    """A row that counts how often anybody looks at any of its like."""

    looks = 0

    def __getitem__(self, name: str) -> Any:
        Watched.looks += 1
        return super().__getitem__(name)


def test_a_long_call_takes_no_more_time_for_each_turn_than_a_short_one():
    """The calls' frames wait meanwhile."""
    turns = [
        Watched(
            row(at, "agent" if at % 2 else "caller", at * 1000, at * 1000 + 900, interrupted=bool(at % 2))
        )
        for at in range(2000)
    ]
    told = call_figures(turns)
    assert (told.by_caller, told.by_agent) == (999, 0)
    assert Watched.looks < 40 * len(turns)


def test_who_began_within_a_turn_that_began_earlier_than_others_spoke_over_it():
    told = call_figures(
        [row(0, "caller", 0, 9000), row(1, "caller", 1000, 1500), row(2, "agent", 5000, 6000)],
    )
    assert told.by_agent == 1

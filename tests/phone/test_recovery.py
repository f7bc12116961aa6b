"""Whether and when a failed engine is opened again: the policy alone."""

from __future__ import annotations

import pytest

from flaskapp.phone.recovery import Recovery


def opening(at: float = 0.0) -> Recovery:
    recovery = Recovery()
    recovery.begins(at)
    return recovery


def live(since: float, began: float = 0.0) -> Recovery:
    recovery = opening(began)
    recovery.opened(since)
    recovery.joined(since)
    return recovery


@pytest.mark.parametrize(
    ("status", "retry_after_s", "again_at"),
    [
        *((401, None, None), (403, None, None), (404, None, None), (3000, None, None), (4000, None, None)),
        *((429, 1.5, 2.5), (429, 3.0, 4.0), (429, 3.25, None), (429, None, 2.0), (429, 0.0, 1.0)),
        *((500, None, 1.25), (503, 60.0, 1.25), (0, None, 1.25), (1006, None, 1.25)),
    ],
)
def test_what_a_refusal_leads_to(status, retry_after_s, again_at):
    assert opening().lost(1.0, "engine_rejected", status, retry_after_s) == again_at


def test_an_engine_that_refuses_is_opened_twice_again():
    recovery = opening()
    assert recovery.lost(0.0) == 0.25
    assert recovery.lost(0.25) == 1.25
    assert recovery.lost(1.25) is None


def test_a_busy_engine_is_asked_once_more_only():
    recovery = opening()
    assert recovery.lost(0.0, "", 429, 0.5) == 0.5
    assert recovery.lost(0.5, "", 429, 0.5) is None


def test_each_step_has_three_seconds_and_all_of_them_six():
    recovery = opening(10.0)
    assert recovery.opening(10.0) == 13.0
    assert recovery.lost(13.0, "engine_slow") == 13.0
    assert recovery.opening(13.0) == 16.0
    assert recovery.opened(14.0) == 16.0
    assert recovery.lost(16.0, "engine_slow") is None


def test_a_live_engine_that_is_lost_is_opened_again_at_once():
    recovery = live(1.0)
    assert recovery.lost(30.0) == 30.0
    assert recovery.since == 30.0
    assert recovery.lost(30.5) == 31.5
    assert recovery.lost(31.5) is None


def test_two_short_sessions_in_a_row_are_enough():
    recovery = live(1.0)
    assert recovery.lost(5.75) == 5.75
    recovery.opened(6.0)
    recovery.joined(6.0)
    assert recovery.lost(10.75) is None


def test_a_connection_that_is_closed_before_its_session_stands_lived_shortly_too():
    recovery = opening()
    recovery.opened(0.0)
    assert recovery.lost(0.5) == 0.75
    recovery.opened(1.0)
    assert recovery.lost(1.5) is None


def test_a_longer_session_between_two_short_ones_makes_up_for_the_first():
    recovery = live(0.0)
    for at in (4.0, 10.0):  # lives of four and of six seconds
        assert recovery.lost(at) == at
        recovery.opened(at)
        recovery.joined(at)
    assert recovery.short_lives == 0


def test_the_tries_are_forgotten_after_ten_seconds_of_life():
    recovery = live(0.0)
    for at in (20.0, 40.0, 60.0, 80.0):
        assert recovery.lost(at) == at
        recovery.opened(at)
        recovery.joined(at)


def test_the_tries_are_not_forgotten_before():
    recovery = live(0.0)
    for at, again in ((9.0, 9.0), (18.0, 18.0), (27.0, None)):
        assert recovery.lost(at) == again
        recovery.opened(at)
        recovery.joined(at)


@pytest.mark.parametrize(
    ("silent_since", "has_held", "due_at"),
    [(0.0, False, 11.0), (10.5, False, 11.5), (14.0, False, 15.0), (11.5, True, 14.5)],
)
def test_the_clip_is_due_after_a_second_and_again_after_three_of_silence(silent_since, has_held, due_at):
    recovery = opening(10.0)
    recovery.has_held = has_held
    assert not recovery.wants_clip(due_at - 0.125, silent_since)
    assert recovery.wants_clip(due_at, silent_since)

"""Audio that comes twice: known by its number and its sound, and of who counts by its number alone."""

from __future__ import annotations

import pytest

from flaskapp.phone.carriers.base import COUNTED, Repeats

SILENCE = b"/////w=="


def counted(until: int, first: int = 1) -> Repeats:
    """After a stream that counted so far, all of it silence."""
    repeats = Repeats()
    assert not any(repeats.has(str(number), SILENCE) for number in range(first, until + 1))
    return repeats


@pytest.mark.parametrize("first", [0, 1, 7])
@pytest.mark.parametrize("back", [0, 1, 2, 3])
def test_each_of_the_last_is_known_however_long_the_count_is(first, back):
    for until in range(first + 4, first + COUNTED + 10):
        repeats = counted(until, first)
        assert repeats.has(str(until - back), SILENCE), until
        assert not repeats.has(str(until + 1), SILENCE), until


def test_what_is_as_old_as_five_messages_is_new():
    assert not counted(70).has("66", SILENCE)


@pytest.mark.parametrize("gap", [1, 2, 100])
def test_a_gap_makes_none_of_them_forgotten(gap):
    repeats = counted(60)
    assert not repeats.has(str(61 + gap), SILENCE)
    assert repeats.has("60", SILENCE)
    assert repeats.has("58", SILENCE)
    assert not repeats.has(str(62 + gap), SILENCE)


def test_a_count_that_begins_again_is_no_repeat_when_it_comes_by_the_old_numbers():
    repeats = counted(60)
    assert not any(repeats.has(str(number), SILENCE) for number in [*range(1, 40), 58, 60])


@pytest.mark.parametrize("number", [None, "1", 1, "a"])
def test_who_does_not_count_sends_nothing_twice(number):
    repeats = Repeats()
    assert not any(repeats.has(number, SILENCE) for _ in range(100))


def test_numbers_may_be_whatever_json_has():
    repeats = Repeats()
    assert not any(repeats.has(number, SILENCE) for number in [1, 2, 3.0, "x", "9" * 5000, float("inf"), "4"])
    assert repeats.has("4", SILENCE)

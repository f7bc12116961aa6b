"""Resampling slice by slice: as in one piece, none lost, and a new beginning after a flush."""

from __future__ import annotations

import numpy
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st

from flaskapp.phone.resampling import DELAY_MS, QUALITY, Resampler

PAIRS = [(16_000, 24_000), (24_000, 16_000)]


def voice(samples: int) -> bytes:
    """Something that is never the same twice, and not too loud."""
    times = numpy.arange(samples)
    sound = 6000 * numpy.sin(times / 7.3) + 3000 * numpy.sin(times * times / 90_000)
    return numpy.rint(sound).astype("<i2").tobytes()


def in_one_piece(pcm: bytes, from_hz: int, to_hz: int) -> numpy.ndarray:
    return soxr.resample(numpy.frombuffer(pcm, "<i2"), from_hz, to_hz, quality=QUALITY).astype(int)


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
@given(sizes=st.lists(st.integers(0, 5000), min_size=1, max_size=25))
def test_slices_of_any_size_give_what_one_piece_gives(from_hz, to_hz, sizes):
    resampler, pcm = Resampler(from_hz, to_hz), voice(sum(sizes))
    given_out, at = b"", 0
    for size in sizes:
        given_out += resampler.feed(pcm[at : at + 2 * size])
        at += 2 * size
    got = numpy.frombuffer(given_out + resampler.flush(), "<i2").astype(int)
    wanted = in_one_piece(pcm, from_hz, to_hz)
    assert len(got) == len(wanted)
    assert numpy.abs(got - wanted).max(initial=0) <= 2  # they round, each in its own way


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_no_more_than_the_filter_needs_is_held_back(from_hz, to_hz):
    resampler, out = Resampler(from_hz, to_hz), 0
    for number in range(1, 101):
        out += len(resampler.feed(voice(from_hz // 100))) // 2
        assert 0 <= number * 10 - out * 1000 / to_hz <= DELAY_MS + 0.1


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_after_a_flush_nothing_of_the_old_is_left(from_hz, to_hz):
    used, fresh = Resampler(from_hz, to_hz), Resampler(from_hz, to_hz)
    used.feed(voice(12_345))
    assert used.flush()
    assert used.flush() == b""
    sounds = [each.feed(voice(5000)) + each.flush() for each in (used, fresh)]
    assert sounds[0] == sounds[1]

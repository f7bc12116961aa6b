"""What a caller on Exotel hears is what was said: each rate through the running app, there and back."""

from __future__ import annotations

import numpy
import pytest

from tests import servers
from tests.behaviour import Behaviour
from tests.system.exotel_line import exotel_line

pytestmark = pytest.mark.system

TONE_HZ, SECONDS = 1000, 4.0


def tone(rate_hz: int) -> bytes:
    at = numpy.arange(round(rate_hz * SECONDS)) / rate_hz
    return (12_000 * numpy.sin(2 * numpy.pi * TONE_HZ * at)).astype("<i2").tobytes()


def residual(pcm: numpy.ndarray, rate_hz: int) -> tuple[numpy.ndarray, float]:
    """What is left of a sound without the tone that fits it best, and the signal-to-noise ratio in dB."""
    turns = 2 * numpy.pi * TONE_HZ * numpy.arange(len(pcm)) / rate_hz
    shapes = numpy.stack([numpy.sin(turns), numpy.cos(turns)], axis=1)
    fitted = shapes @ numpy.linalg.lstsq(shapes, pcm, rcond=None)[0]
    left = pcm - fitted
    return left, 10 * numpy.log10((fitted**2).mean() / (left**2).mean())


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 24_000])
def test_a_tone_comes_back_clean_and_without_a_click_between_chunks(house, rate_hz):
    opened = house(agent="greeting: ''\n")
    opened.engine.behaviour = Behaviour(echoes=True)
    said = tone(rate_hz)
    with exotel_line(opened.app.url, f"tone-{rate_hz}", rate_hz) as line:
        line.starts()
        opened.engine.wait_for(lambda fake: fake.sessions and fake.sessions[-1].session)
        line.speaks(said)
        servers.wait_until(lambda: sum(map(len, line.chunks)) >= len(said) * 0.97, "most of it is missing")
        line.stops()
        assert line.wait_closed() == 1000
    assert all(len(chunk) % 320 == 0 and 3200 <= len(chunk) <= 100_000 for chunk in line.chunks)
    heard = numpy.frombuffer(b"".join(line.chunks), "<i2").astype(float)
    steady = heard[rate_hz // 2 : round(rate_hz * (SECONDS - 0.5))]
    left, snr_db = residual(steady, rate_hz)
    assert snr_db > 30
    borders = numpy.cumsum([len(chunk) // 2 for chunk in line.chunks]) - rate_hz // 2
    near = numpy.zeros(len(left), bool)
    for border in borders[(borders > 4) & (borders < len(left) - 4)]:
        near[border - 4 : border + 4] = True
    assert near.any()
    assert numpy.abs(left[near]).max() <= numpy.abs(left[~near]).max() * 1.1 + 2
    session = opened.engine.sessions[-1]
    assert session.offences == []
    if rate_hz == 24_000:  # untouched
        assert bytes(session.came) == said
        assert said.startswith(b"".join(line.chunks)[: len(said) * 9 // 10])

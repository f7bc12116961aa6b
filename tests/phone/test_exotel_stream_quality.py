"""A tone through Exotel's codec, both ways: still a tone, and no click where one message ends."""

from __future__ import annotations

import base64
import json

import numpy
import pytest

from flaskapp.phone.audio import mulaw_to_pcm16, pcm16_to_mulaw
from flaskapp.phone.carriers.exotel import ExotelStream

TONE_HZ, PEAK = 1000, 10_000
RATES = [8000, 16_000, 24_000]
ENGINE_HZ = {8000: 8000, 16_000: 24_000, 24_000: 24_000}
SETTLING_MS = 50  # a filter begins and ends


def tone(rate_hz: int, seconds: float = 3.0) -> bytes:
    times = numpy.arange(int(rate_hz * seconds)) / rate_hz
    return numpy.rint(PEAK * numpy.sin(2 * numpy.pi * TONE_HZ * times)).astype("<i2").tobytes()


def stream(rate_hz: int) -> ExotelStream:
    codec = ExotelStream(rate_hz)
    codec.decode(b'{"event":"start","start":{"stream_sid":"s1","call_sid":"c1"}}')
    return codec


def heard(rate_hz: int, pcm: bytes, message_ms: int) -> bytes:
    """What the engine hears, as PCM at its own rate."""
    codec, size = stream(rate_hz), rate_hz * message_ms // 1000 * 2
    sound = b""
    for at in range(0, len(pcm), size):
        payload = base64.b64encode(pcm[at : at + size]).decode()
        event = codec.decode(json.dumps({"event": "media", "media": {"payload": payload}}).encode())
        sound += base64.b64decode(event.payload) if event else b""
    return mulaw_to_pcm16(sound) if rate_hz == 8000 else sound


def played(rate_hz: int, pcm: bytes, delta_bytes: int) -> bytes:
    """What the carrier plays of an engine's tone, as PCM at the carrier's rate."""
    codec = stream(rate_hz)
    sound = pcm16_to_mulaw(pcm) if rate_hz == 8000 else pcm
    payloads = (base64.b64encode(sound[at : at + delta_bytes]) for at in range(0, len(sound), delta_bytes))
    messages = [message for payload in payloads for message in codec.media(payload)]
    messages += [codec.frame(chunk) for chunk in codec.tail()]
    return b"".join(base64.b64decode(json.loads(each)["media"]["payload"]) for each in messages)


def noise_of(pcm: bytes, rate_hz: int, seconds: float = 3.0) -> tuple[float, float]:
    """(signal to noise in dB, the loudest sample of the noise): beside the sine that fits best."""
    samples = numpy.frombuffer(pcm, "<i2").astype(float)
    settling = rate_hz * SETTLING_MS // 1000
    samples = samples[settling : int(rate_hz * seconds) - settling]
    turns = 2 * numpy.pi * TONE_HZ * numpy.arange(len(samples)) / rate_hz
    basis = numpy.stack([numpy.sin(turns), numpy.cos(turns)], axis=1)
    fit = basis @ numpy.linalg.lstsq(basis, samples, rcond=None)[0]
    rest = samples - fit
    return 10 * numpy.log10((fit**2).sum() / (rest**2).sum()), float(numpy.abs(rest).max())


# Companding is coarse where it is loud: in steps of 512, so up to 256 beside it. A click would be thousands.
QUALITY = {8000: (36, 300), 16_000: (75, 5), 24_000: (75, 1)}


@pytest.mark.parametrize("message_ms", [20, 97, 100])
@pytest.mark.parametrize("rate_hz", RATES)
def test_the_engine_hears_the_callers_tone(rate_hz, message_ms):
    sound = heard(rate_hz, tone(rate_hz), message_ms)
    wanted_db, loudest = QUALITY[rate_hz]
    ratio, noise = noise_of(sound, ENGINE_HZ[rate_hz], seconds=len(sound) / 2 / ENGINE_HZ[rate_hz])
    assert ratio > wanted_db
    assert noise <= loudest
    assert len(sound) / 2 / ENGINE_HZ[rate_hz] > 2.9


@pytest.mark.parametrize("delta_bytes", [3201, 4800, 12_000])
@pytest.mark.parametrize("rate_hz", RATES)
def test_the_caller_hears_the_engines_tone(rate_hz, delta_bytes):
    sound = played(rate_hz, tone(ENGINE_HZ[rate_hz]), delta_bytes)
    wanted_db, loudest = QUALITY[rate_hz]
    ratio, noise = noise_of(sound, rate_hz)
    assert ratio > wanted_db
    assert noise <= loudest


@pytest.mark.parametrize("rate_hz", RATES)
def test_a_tone_that_goes_in_and_comes_back_keeps_far_over_30_db(rate_hz):
    there = heard(rate_hz, tone(rate_hz), 100)
    back = played(rate_hz, there, 4801)
    ratio, noise = noise_of(back, rate_hz, seconds=2.9)
    assert ratio > 36
    assert noise <= QUALITY[rate_hz][1] + 5

"""Telephone speech made to fit an acoustic model of wide-band speech."""

from __future__ import annotations

import numpy
import soxr

MODEL_RATE_HZ = 16000
_TELEPHONE_RATE_HZ = 8000
_IMAGE_GAIN = 0.35  # measured: see docs/decisions/local-speech-server.md
_DITHER = 3.0


def widened(pcm: bytes, rate_hz: int) -> bytes:
    """16-bit PCM at any rate as 16 kHz, its missing upper half made up from the lower.

    A telephone carries nothing above 4 kHz, where a model of 16 kHz speech
    expects the hiss of s and f; resampling alone leaves that band empty, and
    the model hears strange words. The lower band's mirror image there, softened,
    is close enough to a fricative's spectrum to be taken for one.
    """
    samples = numpy.frombuffer(pcm[: len(pcm) & ~1], dtype="<i2").astype(numpy.float32)
    narrow = soxr.resample(samples, rate_hz, _TELEPHONE_RATE_HZ)
    smooth = soxr.resample(narrow, _TELEPHONE_RATE_HZ, MODEL_RATE_HZ)
    stuffed = numpy.zeros(2 * len(narrow), dtype=numpy.float32)
    stuffed[::2] = 2 * narrow  # zeros between samples mirror the spectrum at 4 kHz
    size = min(len(smooth), len(stuffed))
    image = stuffed[:size] - smooth[:size]
    noise = numpy.random.default_rng(0).normal(0, _DITHER, size)
    wide = smooth[:size] + _IMAGE_GAIN * image + noise
    return bytes(numpy.clip(wide, -32768, 32767).astype("<i2").tobytes())

"""Telephone speech made to fit an acoustic model of wide-band speech."""

from __future__ import annotations

import numpy
import soxr

MODEL_RATE_HZ = 16000
_TELEPHONE_RATE_HZ = 8000
_PEAK = 8000.0
_IMAGE_GAIN = 0.35
_HISS = 45.0
# all three were measured: see docs/decisions/local-speech-server.md


def widened(pcm: bytes, rate_hz: int) -> bytes:
    """16-bit PCM at any rate as 16 kHz, its missing upper half made up from the lower.

    A telephone carries nothing above 4 kHz, where a model of 16 kHz speech
    expects the hiss of s and f; resampling alone leaves that band empty, and
    the model hears strange words. The lower band's mirror image there, softened,
    is close enough to a fricative's spectrum to be taken for one. A little hiss
    at a fixed distance below the speech hides digital silence, which no
    recording that the model has learned from contained.
    """
    samples = numpy.frombuffer(pcm[: len(pcm) & ~1], dtype="<i2").astype(numpy.float32)
    if not len(samples):
        return b""
    samples *= _PEAK / max(1.0, float(numpy.abs(samples).max()))
    narrow = soxr.resample(samples, rate_hz, _TELEPHONE_RATE_HZ)
    smooth = soxr.resample(narrow, _TELEPHONE_RATE_HZ, MODEL_RATE_HZ)
    stuffed = numpy.zeros(2 * len(narrow), dtype=numpy.float32)
    stuffed[::2] = 2 * narrow  # zeros between samples mirror the spectrum at 4 kHz
    size = min(len(smooth), len(stuffed))
    image = stuffed[:size] - smooth[:size]
    hiss = numpy.random.default_rng(0).normal(0, _HISS, size)  # the same each time: so are the results
    wide = smooth[:size] + _IMAGE_GAIN * image + hiss
    return bytes(numpy.clip(wide, -32768, 32767).astype("<i2").tobytes())

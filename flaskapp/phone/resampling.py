"""One voice at another sampling rate, slice by slice, as if it had been one piece.

soxr's "LQ" by measurement, on a 1 kHz tone between 16 and 24 kHz in slices of
100 ms: all its qualities but the quickest keep 83 dB, which is the rounding
to 16 bits, and take 16 to 24 us a slice. They differ in how long they hold
sound back, and in where they begin to cut: LQ 20 ms and 6 kHz, MQ 38 ms and
7.5 kHz, HQ 37 ms and 7.5 kHz, VHQ 75 ms. The quickest (QQ) holds nothing back,
but lets what is above 8 kHz come down as noise. Speech on a wideband telephone
ends between 6.4 and 7 kHz, and whoever waits for an answer notices the time.
"""

from __future__ import annotations

QUALITY = "LQ"
DELAY_MS = 20  # the most that is held back


class Resampler:
    """From one rate to another; 16-bit little-endian PCM, whole samples, in and out.

    numpy and soxr are imported with the first one.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        import numpy
        import soxr

        self._numpy = numpy
        self._begin = lambda: soxr.ResampleStream(from_hz, to_hz, 1, dtype="int16", quality=QUALITY)
        self._stream = self._begin()

    def feed(self, pcm: bytes) -> bytes:
        """What has become of the sound so far; a few milliseconds are held back."""
        return self._resampled(pcm, last=False)

    def flush(self) -> bytes:
        """What was held back: the sound ends here, and what is fed next begins anew."""
        rest = self._resampled(b"", last=True)
        self._stream = self._begin()
        return rest

    def _resampled(self, pcm: bytes, last: bool) -> bytes:
        samples = self._stream.resample_chunk(self._numpy.frombuffer(pcm, "<i2"), last=last)
        return bytes(samples.astype("<i2", copy=False).tobytes())

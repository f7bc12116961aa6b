"""The API's audio formats: bytes on the wire to 16-bit PCM, and back."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flaskapp.phone.audio import mulaw_to_pcm16, pcm16_to_mulaw, resample_pcm16

with warnings.catch_warnings():  # Python 3.11 and 3.12 announce that 3.13 drops it
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop  # from audioop-lts where the standard library has none


@dataclass(frozen=True)
class Format:
    """One way in which speech crosses the wire; every sample takes ``width`` bytes."""

    name: str
    rate_hz: int
    width: int
    to_pcm: Callable[[bytes], bytes]
    from_pcm: Callable[[bytes], bytes]

    def milliseconds(self, size: int) -> int:
        """How long so many bytes sound."""
        return size * 1000 // (self.rate_hz * self.width)

    def size(self, milliseconds: int) -> int:
        """How many bytes sound so long."""
        return milliseconds * self.rate_hz // 1000 * self.width


def _whole_samples(pcm: bytes) -> bytes:
    return pcm[: len(pcm) & ~1]


FORMATS = {
    each.name: each
    for each in (
        Format("audio/pcm", 24000, 2, _whole_samples, bytes),
        Format("audio/pcmu", 8000, 1, mulaw_to_pcm16, pcm16_to_mulaw),
        Format("audio/pcma", 8000, 1, lambda a: audioop.alaw2lin(a, 2), lambda pcm: audioop.lin2alaw(pcm, 2)),
    )
}


def format_of(described: dict[str, Any]) -> Format:
    """The format that a session's ``{"type": "audio/pcmu"}`` names."""
    return FORMATS[described["type"]]


def encode(pcm: bytes, rate_hz: int, into: Format) -> bytes:
    """16-bit PCM at ``rate_hz`` as the bytes of a wire format."""
    return into.from_pcm(resample_pcm16(pcm, rate_hz, into.rate_hz))

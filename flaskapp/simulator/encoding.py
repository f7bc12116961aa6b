"""How a telephone line writes sound down: mu-law at 8000 Hz, or 16-bit PCM at the carrier's rate."""

from __future__ import annotations

from dataclasses import dataclass

from flaskapp.phone import audio

FRAMES_PER_S = 50


@dataclass(frozen=True)
class Encoding:
    """Mono sound at ``rate_hz``: one byte a sample, or two where it ``is_linear`` (little-endian)."""

    rate_hz: int = audio.TELEPHONE_RATE_HZ
    is_linear: bool = False

    @property
    def bytes_per_s(self) -> int:
        return self.rate_hz * self.sample_bytes

    @property
    def sample_bytes(self) -> int:
        return 2 if self.is_linear else 1

    @property
    def frame_bytes(self) -> int:
        """The size of 20 ms."""
        return self.bytes_per_s // FRAMES_PER_S

    @property
    def silence(self) -> bytes:
        """One sample of nothing."""
        return b"\0\0" if self.is_linear else audio.MULAW_SILENCE

    @property
    def noise(self) -> tuple[bytes, ...]:
        """Samples of a quiet line, to choose from at random."""
        return (b"\0\0", b"\x08\0", b"\xf8\xff") if self.is_linear else (b"\xff", b"\xfe", b"\x7e", b"\x7f")

    def pcm(self, sound: bytes) -> bytes:
        """The same sound as 16-bit PCM, at the rate that it has."""
        return sound if self.is_linear else audio.mulaw_to_pcm16(sound)

    def of_mulaw(self, mulaw: bytes) -> bytes:
        """A whole sound that is known as mu-law at 8000 Hz."""
        if not self.is_linear and self.rate_hz == audio.TELEPHONE_RATE_HZ:
            return mulaw
        return self.of_wav(audio.Wav(audio.mulaw_to_pcm16(mulaw), audio.TELEPHONE_RATE_HZ))

    def of_wav(self, wav: audio.Wav) -> bytes:
        """A whole sound from whatever it was recorded in."""
        pcm = wav.at(self.rate_hz)
        return pcm if self.is_linear else audio.pcm16_to_mulaw(pcm)


MULAW = Encoding()

"""Telephone audio: bytes in, bytes out.

G.711 mu-law is the carriers' and the engines' common tongue: 8000 samples a
second, one byte a sample, so 8 bytes are 1 ms and a 20 ms frame is 160 bytes
(ITU-T G.711). PCM here is always signed 16-bit little-endian mono; engines
take it at 24 kHz. What is kept of a call is mu-law, whatever its stream brings.
"""

from __future__ import annotations

import io
import struct
import warnings
import wave
from dataclasses import dataclass

from flaskapp.phone.errors import AudioError

with warnings.catch_warnings():  # Python 3.11 and 3.12 announce that 3.13 drops it
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop  # from audioop-lts where the standard library has none

TELEPHONE_RATE_HZ = 8000
FRAME_MS = 20
FRAME_BYTES = 160
MULAW_BYTES_PER_MS = 8
PCMU, PCM = "audio/pcmu", "audio/pcm"  # the engines' names
PCM_RATE_HZ = 24_000
BYTES_PER_MS = {PCMU: MULAW_BYTES_PER_MS, PCM: PCM_RATE_HZ * 2 // 1000}
MULAW_SILENCE = b"\xff"
# Comfort noise on a telephone line stays under 20 of 32767, quiet speech is above 300.
VOICE_RMS = 150
SPEECH_MS = 200  # less is a click, a breath, a key

_PCM, _ALAW, _MULAW, _EXTENSIBLE = 0x0001, 0x0006, 0x0007, 0xFFFE


def pcm16_to_mulaw(pcm: bytes) -> bytes:
    """16-bit PCM to mu-law, one byte for every two."""
    return audioop.lin2ulaw(pcm, 2)


def mulaw_to_pcm16(mulaw: bytes) -> bytes:
    """Mu-law to 16-bit PCM, two bytes for every one."""
    return audioop.ulaw2lin(mulaw, 2)


def rms(pcm: bytes) -> int:
    """Root mean square of 16-bit PCM: 0 is silence, 32767 the loudest."""
    return audioop.rms(pcm, 2)


def peak(pcm: bytes) -> float:
    """The loudest sample of 16-bit PCM: 0.0 is silence, 1.0 the loudest there is."""
    return audioop.max(pcm, 2) / 32768


def voiced_ms(pcm: bytes, rate_hz: int = TELEPHONE_RATE_HZ) -> tuple[int, int]:
    """How much of 16-bit PCM is voice, and how long it has been quiet at the end; both in ms.

    By loudness alone, in steps of 20 ms: enough to tell a recording of nothing from one of somebody.
    """
    step = rate_hz * FRAME_MS // 1000 * 2
    loud = [rms(pcm[at : at + step]) >= VOICE_RMS for at in range(0, len(pcm) - 1, step)]
    quiet = next((count for count, voice in enumerate(reversed(loud)) if voice), len(loud))
    return sum(loud) * FRAME_MS, quiet * FRAME_MS


def resample_pcm16(pcm: bytes, from_hz: int, to_hz: int) -> bytes:
    """One whole recording at another rate (band-limited, through soxr)."""
    if from_hz == to_hz or not pcm:
        return pcm
    import numpy
    import soxr

    samples = numpy.frombuffer(pcm[: len(pcm) & ~1], dtype="<i2")
    return bytes(soxr.resample(samples, from_hz, to_hz).astype("<i2").tobytes())


def to_telephone(sound: bytes, audio_format: str) -> bytes:
    """A stretch of a stream's sound as mu-law."""
    if audio_format == PCMU:
        return sound
    return pcm16_to_mulaw(resample_pcm16(sound, PCM_RATE_HZ, TELEPHONE_RATE_HZ))


def from_telephone(mulaw: bytes, audio_format: str) -> bytes:
    """A stretch of mu-law as a stream brings or takes it."""
    if audio_format == PCMU:
        return mulaw
    return resample_pcm16(mulaw_to_pcm16(mulaw), TELEPHONE_RATE_HZ, PCM_RATE_HZ)


def loudness(sound: bytes, audio_format: str) -> int:
    """``rms`` of a stretch of a stream's sound."""
    return rms(sound[: len(sound) & ~1] if audio_format == PCM else mulaw_to_pcm16(sound))


@dataclass(frozen=True)
class Wav:
    """A WAV file's sound: mono 16-bit PCM at its own rate."""

    pcm: bytes
    rate_hz: int

    @property
    def duration_ms(self) -> int:
        return len(self.pcm) // 2 * 1000 // self.rate_hz

    def at(self, rate_hz: int) -> bytes:
        """The same sound as 16-bit PCM at another rate."""
        return resample_pcm16(self.pcm, self.rate_hz, rate_hz)

    @property
    def has_speech(self) -> bool:
        """Whether anybody can be heard in it."""
        return voiced_ms(self.pcm, self.rate_hz)[0] >= SPEECH_MS


def read_wav(data: bytes) -> Wav:
    """A RIFF/WAVE file: PCM of 8 to 32 bits, mu-law or A-law, any channels.

    The standard library's ``wave`` refuses G.711, which telephone recordings
    use. Size fields that promise more than there is (streamed files) are
    forgiven; a file without sound is not.

    Raises:
        AudioError: not a WAV file, or one in a format not named above.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise AudioError("not a WAV file")
    layout: tuple[int, int, int, int] | None = None
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        body = data[at + 8 : at + 8 + size]
        if name == b"fmt ":
            layout = _layout(body)
        elif name == b"data":
            if layout is None:
                raise AudioError("WAV file has no format before its sound")
            pcm = _to_mono_pcm16(body, *layout[:3])
            if not pcm:
                break
            return Wav(pcm, layout[3])
        at += 8 + size + (size & 1)
    raise AudioError("WAV file has no sound in it")


def write_wav(pcm: bytes, rate_hz: int = TELEPHONE_RATE_HZ, channels: int = 1) -> bytes:
    """16-bit PCM (interleaved if there are two channels) as a WAV file."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(pcm)
    return out.getvalue()


def interleave(left: bytes, right: bytes) -> bytes:
    """Two mono 16-bit tracks as one stereo track, the shorter padded with silence."""
    size = max(len(left), len(right))
    left, right = left.ljust(size, b"\0"), right.ljust(size, b"\0")
    return audioop.add(audioop.tostereo(left, 2, 1, 0), audioop.tostereo(right, 2, 0, 1), 2)


def _layout(body: bytes) -> tuple[int, int, int, int]:
    """(format, channels, bits, rate) of a ``fmt `` chunk."""
    if len(body) < 16:
        raise AudioError("WAV file has a broken format chunk")
    code, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
    if code == _EXTENSIBLE and len(body) >= 26:
        code = struct.unpack_from("<H", body, 24)[0]
    if not (1 <= channels <= 8 and 4000 <= rate <= 192_000):
        raise AudioError(f"WAV file with {channels} channels at {rate} Hz is not speech")
    return code, channels, bits, rate


def _to_mono_pcm16(body: bytes, code: int, channels: int, bits: int) -> bytes:
    if code in (_MULAW, _ALAW):
        pcm = audioop.ulaw2lin(body, 2) if code == _MULAW else audioop.alaw2lin(body, 2)
    elif code == _PCM and bits in (8, 16, 24, 32):
        width = bits // 8
        body = body[: len(body) - len(body) % width]
        if width == 1:  # WAV keeps 8-bit samples unsigned
            body = audioop.bias(body, 1, -128)
        pcm = body if width == 2 else audioop.lin2lin(body, width, 2)
    else:
        raise AudioError(f"WAV format {code} with {bits} bits is not supported")
    pcm = pcm[: len(pcm) - len(pcm) % (2 * channels)]
    if channels == 2:
        return audioop.tomono(pcm, 2, 0.5, 0.5)
    if channels > 2:  # the first channel: nobody speaks on the sixth
        return b"".join(pcm[i : i + 2] for i in range(0, len(pcm), 2 * channels))
    return pcm

"""The sounds of the simulated network: bundled utterances, tones, and WAV files as mu-law."""

from __future__ import annotations

import functools
import math
import struct
from pathlib import Path

from flaskapp.phone import audio
from flaskapp.simulator.encoding import MULAW
from flaskapp.simulator.person import Utterance

FOLDER = Path(__file__).with_name("voices")
BUNDLED = ("what are your opening hours", "goodbye")


def from_wav(path: Path) -> bytes:
    """A WAV file of any kind as mu-law at 8000 Hz.

    Raises:
        AudioError: not a WAV file that can be read.
        OSError: the file cannot be opened.
    """
    return MULAW.of_wav(audio.read_wav(path.read_bytes()))


def utterance(path: Path) -> Utterance:
    """What a WAV file of any kind says, by the file's name, in the quality that it has.

    Raises:
        AudioError: not a WAV file that can be read.
        OSError: the file cannot be opened.
    """
    original = audio.read_wav(path.read_bytes())
    return Utterance(MULAW.of_wav(original), name=path.stem, original=original)


def bundled() -> tuple[Utterance, ...]:
    """What the caller says when nothing else is given."""
    return tuple(Utterance(from_wav(FOLDER / f"{text.replace(' ', '-')}.wav"), name=text) for text in BUNDLED)


@functools.cache
def tone(seconds: float, hz: int, amplitude: int = 3000) -> bytes:
    """A sine as mu-law at 8000 Hz."""
    samples = (
        round(amplitude * math.sin(2 * math.pi * hz * n / audio.TELEPHONE_RATE_HZ))
        for n in range(round(seconds * audio.TELEPHONE_RATE_HZ))
    )
    return audio.pcm16_to_mulaw(b"".join(struct.pack("<h", sample) for sample in samples))


def hum(seconds: float) -> bytes:
    """What stands for the carrier's own voice reading a text."""
    return (tone(1.0, 220) * math.ceil(seconds))[: round(seconds * audio.TELEPHONE_RATE_HZ)]


def beep() -> bytes:
    """The tone before a recording."""
    return tone(0.4, 1000)

"""Chunks of audio as strangers hand them in: WAV files or bare mu-law, and whatever else is no sound."""

from __future__ import annotations

import codecs
import re
import struct

from flaskapp.phone import audio as sound
from flaskapp.phone.errors import AudioError

MAX_CHUNK_BYTES = 1 << 20
WAV_HEADER_BYTES = 4 << 10  # what a file may have around its sound
RATES_HZ = range(8000, 48_001)
# What other things than sound begin with. Headerless mu-law may begin with anything, and so with
# a text's first signs too: it is a text if it goes on as one.
TEXTS = {
    "HTML or XML": re.compile(rb"\s*<[!?A-Za-z]"),
    "JSON": re.compile(rb'\s*(\{\s*["}]|\[\s*[\[{"\]])'),
}
TEXT_BYTES = 160  # a frame: no voice, and no hum of the mains, stays on one side of zero for so long
FOREIGN = {
    "PDF": re.compile(rb"%PDF-"),
    "an image": re.compile(rb"\x89PNG\r\n|\xff\xd8\xff[\xdb\xe0-\xef]|GIF8[79]a|RIFF....WEBP", re.DOTALL),
}


class ForeignBytes(AudioError):
    """Something else than sound, and recognisably so."""


class TooMuchAudio(AudioError):
    """More than one chunk, or one call's buffer, may hold."""


def as_mulaw(data: bytes) -> tuple[bytes, str]:
    """A chunk as mu-law at 8 kHz, and what it was: ``"wav"`` or ``"mulaw"``.

    RIFF/WAVE is read by its header; bytes without one are taken for mu-law at 8 kHz.

    Raises:
        ForeignBytes: HTML, XML, JSON, a PDF or an image.
        TooMuchAudio: over 1 MiB.
        AudioError: a WAV file that is broken, or in a format that telephones do not use.
    """
    is_riff = data[:4] == b"RIFF"
    if len(data) > MAX_CHUNK_BYTES + (WAV_HEADER_BYTES if is_riff else 0):
        raise TooMuchAudio(f"a chunk has at most {MAX_CHUNK_BYTES} bytes of audio")
    for name, beginning in (TEXTS | FOREIGN if _is_text(data) else FOREIGN).items():
        if beginning.match(data):
            raise ForeignBytes(f"this is {name}, not audio")
    if not is_riff:
        return data, "mulaw"
    wav = sound.read_wav(data)
    if (channels := _channels(data)) > 2 or wav.rate_hz not in RATES_HZ:
        raise AudioError(
            f"a WAV file with {channels} channels at {wav.rate_hz} Hz: 1 or 2 at 8 to 48 kHz are expected"
        )
    return sound.pcm16_to_mulaw(wav.at(sound.TELEPHONE_RATE_HZ)), "wav"


def _is_text(data: bytes) -> bool:
    """Whether the first bytes can be printed, as UTF-8; a character cut at their end does not count."""
    head = data[:TEXT_BYTES]
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head, len(head) == len(data))
    except UnicodeDecodeError:
        return False
    return all(each.isprintable() or each.isspace() for each in text)


def _channels(wav: bytes) -> int:
    """The channels of a WAV file that could be read."""
    at = 12
    while wav[at : at + 4] != b"fmt ":
        size = struct.unpack_from("<I", wav, at + 4)[0]
        at += 8 + size + (size & 1)
    return int(struct.unpack_from("<H", wav, at + 10)[0])

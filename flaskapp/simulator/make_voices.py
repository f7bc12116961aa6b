"""Makes the bundled utterances with espeak-ng: ``python flaskapp/simulator/make_voices.py``."""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path

import espeakng_loader

from flaskapp.phone import audio
from flaskapp.simulator.sounds import BUNDLED, FOLDER

SYNCHRONOUS, RATE, UTF8, WORDS_A_MINUTE = 2, 1, 1, 150
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(ctypes.c_char)
)


def spoken(text: str) -> audio.Wav:
    """The text in espeak-ng's en-us voice (espeak-ng's C interface, ``speak_lib.h``)."""
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    chunks: list[bytes] = []

    def take(samples: ctypes._Pointer[ctypes.c_short], count: int, _: object) -> int:
        if samples and count > 0:
            chunks.append(ctypes.string_at(samples, count * 2))
        return 0

    callback = _CALLBACK(take)  # kept in a name, so that it lives while the library calls it

    rate = library.espeak_Initialize(SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
    library.espeak_SetSynthCallback(callback)
    library.espeak_SetVoiceByName(b"en-us")
    library.espeak_SetParameter(RATE, WORDS_A_MINUTE, 0)
    raw = text.encode() + b"\0"
    library.espeak_Synth(raw, len(raw), 0, 0, 0, UTF8, None, None)
    library.espeak_Synchronize()
    return audio.Wav(b"".join(chunks), rate)


def mulaw_wav(mulaw: bytes) -> bytes:
    """A RIFF/WAVE file of format 7: one byte a sample instead of two."""
    layout = struct.pack("<HHIIHHH", 7, 1, 8000, 8000, 1, 8, 0)
    body = b"WAVEfmt " + struct.pack("<I", len(layout)) + layout
    body += b"data" + struct.pack("<I", len(mulaw)) + mulaw + b"\0" * (len(mulaw) & 1)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def main() -> None:
    for text in BUNDLED:
        mulaw = audio.pcm16_to_mulaw(spoken(text).at(audio.TELEPHONE_RATE_HZ))
        path = Path(FOLDER) / f"{text.replace(' ', '-')}.wav"
        path.write_bytes(mulaw_wav(mulaw))
        print(f"{path.name}: {len(mulaw) / 8000:.2f} s")


if __name__ == "__main__":
    main()

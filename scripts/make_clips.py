"""Makes the sounds that keep a caller company while there is no engine: flaskapp/phone/clips/*.ulaw.

They are mu-law at 8 kHz, as a telephone line carries it. Run it when they are
to sound otherwise; the files are part of the sources: `python scripts/make_clips.py`.
"""

from __future__ import annotations

import math
import struct
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
CLIPS = PROJECT / "flaskapp" / "phone" / "clips"
WORDS = "One moment, please."
TONES_HZ = (659.3, 523.3)  # a third down: E5, C5
TONE_S = 0.45
LOUDNESS = 8000
EDGE_S = 0.02


def spoken(text: str) -> bytes:
    """The text in the local voice, 16-bit PCM at 8 kHz, without the silence around it."""
    from flaskapp.localai.voice import speak
    from flaskapp.phone.audio import TELEPHONE_RATE_HZ, resample_pcm16

    speech = speak(text)
    pcm = resample_pcm16(speech.pcm, speech.rate_hz, TELEPHONE_RATE_HZ)
    loud = [at for at in range(0, len(pcm) - 1, 2) if abs(struct.unpack_from("<h", pcm, at)[0]) > 200]
    return pcm[max(loud[0] - 800, 0) : loud[-1] + 1600]


def chime() -> bytes:
    """Two soft tones, one after the other."""
    samples = []
    for hz in TONES_HZ:
        count = int(TONE_S * 8000)
        for n in range(count):
            fade = min(1.0, n / (EDGE_S * 8000)) * (1 - n / count)
            samples.append(round(LOUDNESS * fade * math.sin(2 * math.pi * hz * n / 8000)))
    return struct.pack(f"<{len(samples)}h", *samples)


def main() -> None:
    """Write both, in whole frames of 20 ms."""
    from flaskapp.phone.audio import FRAME_BYTES, MULAW_SILENCE, pcm16_to_mulaw

    CLIPS.mkdir(exist_ok=True)
    for name, pcm in {"one-moment": spoken(WORDS), "chime": chime()}.items():
        sound = pcm16_to_mulaw(pcm)
        sound += MULAW_SILENCE * (-len(sound) % FRAME_BYTES)
        (CLIPS / f"{name}.ulaw").write_bytes(sound)
        print(f"{name}: {len(sound) / 8000:.2f} s")


if __name__ == "__main__":
    sys.path.insert(0, str(PROJECT))
    main()

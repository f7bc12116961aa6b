"""The sounds that keep a caller company: part of the sources, and nothing but sound."""

from __future__ import annotations

import base64

import pytest

from flaskapp.phone.audio import FRAME_BYTES, MULAW_BYTES_PER_MS, mulaw_to_pcm16, rms
from flaskapp.phone.payloads import base64_size
from flaskapp.phone.rtmt_audio_handler import hold_clip


@pytest.mark.parametrize("language", ["", "en", "en-GB", "EN-us", "de", "de-DE", "english-like"])
def test_a_clip_is_audible_soon_and_over_soon(language):
    clip = hold_clip(language)
    sound = base64.b64decode(clip.payload, validate=True)
    assert (
        clip.duration_ms == len(sound) / MULAW_BYTES_PER_MS == base64_size(clip.payload) / MULAW_BYTES_PER_MS
    )
    assert 500 <= clip.duration_ms <= 1500
    assert len(sound) % FRAME_BYTES == 0
    assert rms(mulaw_to_pcm16(sound[: 300 * MULAW_BYTES_PER_MS])) > 300


def test_only_who_is_spoken_to_in_english_hears_english():
    assert hold_clip("") == hold_clip("en") == hold_clip("en-GB")
    assert hold_clip("de") == hold_clip("hi-IN") != hold_clip("en")

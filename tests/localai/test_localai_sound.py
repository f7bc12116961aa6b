"""Wire formats: the same speech in each of them."""

from __future__ import annotations

import math
import struct

import pytest

from flaskapp.localai import sound
from flaskapp.localai.sound import FORMATS
from flaskapp.phone import audio

HUM = struct.pack("<2205h", *(round(9000 * math.sin(2 * math.pi * 440 * at / 22050)) for at in range(2205)))


@pytest.mark.parametrize(("name", "size"), [("audio/pcm", 4800), ("audio/pcmu", 800), ("audio/pcma", 800)])
def test_a_tenth_of_a_second_has_the_size_of_its_format(name: str, size: int):
    wire = FORMATS[name]
    data = sound.encode(HUM, 22050, wire)

    assert len(data) == size
    assert wire.milliseconds(size) == 100
    assert wire.size(100) == size


@pytest.mark.parametrize("name", FORMATS)
def test_what_was_encoded_decodes_as_loud_as_it_was(name: str):
    wire = FORMATS[name]

    pcm = wire.to_pcm(sound.encode(HUM, 22050, wire))

    assert audio.rms(pcm) == pytest.approx(audio.rms(HUM), rel=0.1)


def test_half_a_sample_is_left_out():
    assert FORMATS["audio/pcm"].to_pcm(b"\x01\x02\x03") == b"\x01\x02"

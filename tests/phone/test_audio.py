"""Telephone audio: G.711 against the standard's numbers, WAV files of every kind that telephones make."""

from __future__ import annotations

import contextlib
import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaskapp.phone import audio
from flaskapp.phone.errors import AudioError

PCM, FLOAT, ALAW, MULAW, EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
SINE = [round(9000 * math.sin(2 * math.pi * 440 * n / 8000)) for n in range(800)]


def pcm16(samples: list[int]) -> bytes:
    return struct.pack(f"<{len(samples)}h", *samples)


def samples(pcm: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(pcm) // 2}h", pcm))


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    return name + struct.pack("<I", len(body) if size is None else size) + body + b"\0" * (len(body) & 1)


def fmt(code: int, channels: int, bits: int, rate: int = 8000, extra: bytes = b"") -> bytes:
    block = channels * bits // 8
    return chunk(b"fmt ", struct.pack("<HHIIHH", code, channels, rate, rate * block, block, bits) + extra)


def extension(code: int, bits: int) -> bytes:
    rest = bytes.fromhex("00000000100080000000aa00389b71")  # of the GUIDs that stand for plain codes
    return struct.pack("<HHIH", 22, bits, 0, code) + rest[1:]


def riff(*chunks: bytes) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def test_silence_and_the_loudest_samples_are_as_the_standard_has_them():
    assert audio.mulaw_to_pcm16(b"\xff\x7f\x80\x00") == pcm16([0, 0, 32124, -32124])
    assert audio.pcm16_to_mulaw(pcm16([0, 32767, -32768])) == b"\xff\x80\x00"


def test_mulaw_survives_the_way_through_pcm():
    every = bytes(range(256))
    back = audio.pcm16_to_mulaw(audio.mulaw_to_pcm16(every))
    assert back == every.replace(b"\x7f", b"\xff")  # there are two zeros


@settings(derandomize=True, deadline=None)
@given(st.lists(st.integers(-32_000, 32_000), min_size=1, max_size=300))
def test_pcm_through_mulaw_stays_within_the_steps_of_the_standard(values):
    back = samples(audio.mulaw_to_pcm16(audio.pcm16_to_mulaw(pcm16(values))))
    assert all(abs(a - b) <= max(8, (abs(a) + 132) // 16) for a, b in zip(values, back, strict=True))


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_pcm_of_any_width_is_read(bits):
    shift = bits - 16
    if bits == 8:
        body = bytes((value >> 8) + 128 for value in SINE)
    else:
        body = b"".join((value << shift).to_bytes(bits // 8, "little", signed=True) for value in SINE)
    wav = audio.read_wav(riff(fmt(PCM, 1, bits), chunk(b"data", body)))
    assert wav.rate_hz == 8000
    wanted = [value >> 8 << 8 for value in SINE] if bits == 8 else SINE
    assert samples(wav.pcm) == wanted


def test_mulaw_is_read():
    wav = audio.read_wav(riff(fmt(MULAW, 1, 8), chunk(b"data", b"\xff\x80\x00")))
    assert samples(wav.pcm) == [0, 32124, -32124]


def test_alaw_is_read():
    wav = audio.read_wav(riff(fmt(ALAW, 1, 8), chunk(b"data", b"\xd5\x55\xaa\x2a")))
    assert samples(wav.pcm) == [8, -8, 32256, -32256]


def test_stereo_becomes_the_middle_of_both():
    body = pcm16([1000, 3000, -2000, -4000])
    assert samples(audio.read_wav(riff(fmt(PCM, 2, 16), chunk(b"data", body))).pcm) == [2000, -3000]


def test_of_more_channels_the_first_is_taken():
    body = pcm16([1, 2, 3, 4, 5, 6, 7, 8])
    assert samples(audio.read_wav(riff(fmt(PCM, 4, 16), chunk(b"data", body))).pcm) == [1, 5]


@pytest.mark.parametrize(("code", "bits", "body"), [(PCM, 16, pcm16([5, 6])), (MULAW, 8, b"\xff\xff")])
def test_an_extensible_format_is_what_it_extends(code, bits, body):
    made = riff(fmt(EXTENSIBLE, 1, bits, extra=extension(code, bits)), chunk(b"data", body))
    assert len(audio.read_wav(made).pcm) == 4


def test_other_chunks_are_passed_over_also_odd_ones():
    made = riff(
        chunk(b"LIST", b"odd"), fmt(PCM, 1, 16), chunk(b"fact", b"\0\0\0"), chunk(b"data", pcm16([7]))
    )
    assert samples(audio.read_wav(made).pcm) == [7]


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 1000])
def test_a_size_that_promises_too_much_is_forgiven(size):
    made = riff(fmt(PCM, 1, 16), chunk(b"data", pcm16([1, 2, 3]), size=size))
    assert samples(audio.read_wav(made).pcm) == [1, 2, 3]


def test_half_a_sample_at_the_end_is_left():
    assert samples(audio.read_wav(riff(fmt(PCM, 2, 16), chunk(b"data", pcm16([1, 1]) + b"\1\2\3"))).pcm) == [
        1
    ]


BROKEN = {
    "nothing": b"",
    "not RIFF": b"ID3\x04" + b"\0" * 100,
    "HTML": b"<html><body>404</body></html>",
    "no chunks": riff(),
    "no sound": riff(fmt(PCM, 1, 16)),
    "empty sound": riff(fmt(PCM, 1, 16), chunk(b"data", b"")),
    "less than a sample": riff(fmt(PCM, 1, 16), chunk(b"data", b"\1")),
    "sound before format": riff(chunk(b"data", b"\0\0"), fmt(PCM, 1, 16)),
    "short format": riff(chunk(b"fmt ", b"\1\0\1\0"), chunk(b"data", b"\0\0")),
    "floats": riff(fmt(FLOAT, 1, 32), chunk(b"data", b"\0" * 8)),
    "12 bits": riff(fmt(PCM, 1, 12), chunk(b"data", b"\0" * 8)),
    "no channels": riff(fmt(PCM, 0, 16), chunk(b"data", b"\0\0")),
    "many channels": riff(fmt(PCM, 200, 16), chunk(b"data", b"\0\0")),
    "no rate": riff(fmt(PCM, 1, 16, rate=0), chunk(b"data", b"\0\0")),
    "wild rate": riff(fmt(PCM, 1, 16, rate=400_000_000), chunk(b"data", b"\0\0")),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_no_sound_is_refused(data):
    with pytest.raises(AudioError):
        audio.read_wav(data)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.data())
def test_a_mutilated_file_is_read_or_refused(data):
    file = bytearray(riff(fmt(PCM, 2, 16), chunk(b"LIST", b"abc"), chunk(b"data", pcm16(SINE[:50]))))
    for _ in range(data.draw(st.integers(1, 6))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    del file[data.draw(st.integers(0, len(file))) :]
    with contextlib.suppress(AudioError):
        assert audio.read_wav(bytes(file)).pcm


def test_what_is_written_can_be_read():
    wav = audio.read_wav(audio.write_wav(pcm16(SINE), 16_000))
    assert (samples(wav.pcm), wav.rate_hz) == (SINE, 16_000)


def test_two_tracks_are_interleaved_and_the_shorter_padded():
    assert samples(audio.interleave(pcm16([1, 2, 3]), pcm16([9]))) == [1, 9, 2, 0, 3, 0]


def test_another_rate_keeps_the_length_and_the_loudness():
    double = audio.Wav(pcm16(SINE), 8000).at(16_000)
    assert abs(len(double) - 2 * len(pcm16(SINE))) <= 8
    assert abs(audio.rms(double) - audio.rms(pcm16(SINE))) < 300
    assert audio.Wav(pcm16(SINE), 8000).at(8000) == pcm16(SINE)

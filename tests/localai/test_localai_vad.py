"""When somebody speaks, by energy: loud against the line's noise, long enough, then silent long enough."""

from __future__ import annotations

import math
import struct

import pytest

from flaskapp.localai.vad import FRAME_MS, Edge, Sensitivity, VoiceActivity

RATE_HZ = 8000


def frames(amplitude: int, milliseconds: int) -> list[bytes]:
    """A hum of this amplitude, in frames of 20 ms."""
    count = RATE_HZ * FRAME_MS // 1000
    samples = (round(amplitude * math.sin(2 * math.pi * 200 * at / RATE_HZ)) for at in range(count))
    return [struct.pack(f"<{count}h", *samples)] * (milliseconds // FRAME_MS)


def edges(vad: VoiceActivity, sound: list[bytes]) -> list[tuple[int, Edge]]:
    """(milliseconds until it was known, edge) for all frames."""
    told = [((at + 1) * FRAME_MS, vad.hear(frame)) for at, frame in enumerate(sound)]
    return [(at, edge) for at, edge in told if edge is not None]


def test_speech_is_noticed_within_100_ms():
    (noticed, edge), *rest = edges(VoiceActivity(), frames(0, 400) + frames(4000, 300))

    assert edge is Edge.STARTED
    assert noticed - 400 <= 100
    assert rest == []


@pytest.mark.parametrize("silence_ms", [200, 500, 900])
def test_speech_ends_after_the_silence_that_was_asked_for(silence_ms: int):
    vad = VoiceActivity(Sensitivity(silence_ms=silence_ms))

    told = edges(vad, frames(0, 400) + frames(4000, 600) + frames(0, 1200))

    assert [edge for _, edge in told] == [Edge.STARTED, Edge.STOPPED]
    assert told[1][0] == 400 + 600 + silence_ms


def test_a_pause_for_breath_does_not_end_the_turn():
    speech = frames(4000, 600) + frames(0, 300) + frames(4000, 600)

    told = edges(VoiceActivity(), frames(0, 400) + speech + frames(0, 600))

    assert [edge for _, edge in told] == [Edge.STARTED, Edge.STOPPED]


def test_a_click_is_not_speech():
    assert edges(VoiceActivity(), frames(0, 400) + frames(20000, 40) + frames(0, 1000)) == []


def test_speech_stands_out_over_a_noisy_line_and_the_noise_does_not():
    noisy = frames(500, 1000) + frames(8000, 600) + frames(500, 1200)

    told = edges(VoiceActivity(), noisy)

    assert [edge for _, edge in told] == [Edge.STARTED, Edge.STOPPED]


def test_noise_that_begins_within_a_call_is_soon_taken_for_silence():
    told = edges(VoiceActivity(), frames(0, 1000) + frames(900, 4000))

    assert [edge for _, edge in told] == [Edge.STARTED, Edge.STOPPED]
    assert told[1][0] < 1000 + 3500


def test_a_higher_threshold_ignores_a_quiet_voice():
    sound = frames(0, 400) + frames(330, 600)

    assert edges(VoiceActivity(Sensitivity(threshold=0.3)), sound)
    assert not edges(VoiceActivity(Sensitivity(threshold=0.9)), sound)

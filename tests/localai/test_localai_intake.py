"""The input buffer: what was appended comes out as turns, with the times that the API tells."""

from __future__ import annotations

from typing import Any

import pytest

from flaskapp.localai.intake import LONGEST_TURN_MS, Intake, SpeechPaused, SpeechStarted, SpeechStopped
from flaskapp.localai.refusal import Refused
from flaskapp.localai.settings import SERVER_VAD
from flaskapp.localai.sound import FORMATS
from tests.localai.caller import silence

PCMU = FORMATS["audio/pcmu"]


def voice(milliseconds: int) -> bytes:
    return bytes([0x90, 0x10]) * (milliseconds * 4)


def intake(**detection: Any) -> Intake:
    return Intake(PCMU, {**SERVER_VAD, **detection})


def test_a_turn_comes_out_with_its_padding_and_the_silence_that_ended_it():
    buffer = intake(prefix_padding_ms=300, silence_duration_ms=500)

    edges = buffer.append(silence(1000) + voice(800) + silence(700), now=7.0)

    started, paused, stopped = edges
    assert isinstance(paused, SpeechPaused)
    assert isinstance(started, SpeechStarted)
    assert isinstance(stopped, SpeechStopped)
    assert 600 <= started.start_ms <= 700
    assert stopped.end_ms == 2300
    assert stopped.utterance.duration_ms == stopped.end_ms - started.start_ms
    assert stopped.utterance.voice_ended_at == 7.0


def test_a_pause_gives_what_was_said_so_far():
    buffer = intake(silence_duration_ms=500)
    buffer.append(silence(1000) + voice(800), now=1.0)

    (paused,) = buffer.append(silence(300), now=2.0)
    assert isinstance(paused, SpeechPaused)
    assert 1100 <= paused.utterance.duration_ms <= 1500

    (again, stopped) = buffer.append(voice(400) + silence(700), now=3.0)
    assert isinstance(again, SpeechPaused)
    assert isinstance(stopped, SpeechStopped)
    assert stopped.utterance.pcm.startswith(again.utterance.pcm)


def test_time_goes_on_counting_over_several_turns():
    buffer = intake()
    buffer.append(silence(1000) + voice(800) + silence(700), now=1.0)

    started, _, stopped = buffer.append(silence(500) + voice(400) + silence(700), now=2.0)

    assert isinstance(started, SpeechStarted)
    assert isinstance(stopped, SpeechStopped)
    assert 2600 <= started.start_ms <= 2700
    assert stopped.end_ms == 2500 + 500 + 400 + 500


def test_pieces_of_any_size_make_the_same_turn():
    sound = silence(1000) + voice(800) + silence(700)
    whole = intake().append(sound, now=1.0)

    buffer, pieces = intake(), []
    for at in range(0, len(sound), 77):
        pieces += buffer.append(sound[at : at + 77], now=1.0)

    assert pieces == whole


def test_a_wide_format_is_listened_to_as_well():
    wide = FORMATS["audio/pcm"]
    buffer = Intake(wide, dict(SERVER_VAD))
    hum = (b"\x00\x20" * 60 + b"\x00\xe0" * 60) * 120

    edges = buffer.append(silence(500, wide.name) + hum + silence(700, wide.name), now=1.0)

    assert [type(edge) for edge in edges] == [SpeechStarted, SpeechPaused, SpeechStopped]


def test_silence_is_not_hoarded():
    buffer = intake()

    for _ in range(600):
        buffer.append(silence(1000), now=1.0)

    assert buffer.commit(1.0).duration_ms <= 600


def test_a_turn_without_any_pause_ends_all_the_same():
    edges: list[object] = []
    buffer = intake()
    buffer.append(silence(400), now=1.0)
    for second in range(LONGEST_TURN_MS // 1000 + 2):
        for half in (voice(480), silence(20)):
            edges += buffer.append(half + half, now=float(second))

    assert [type(edge) for edge in edges][:2] == [SpeechStarted, SpeechStopped]


def test_without_turn_detection_the_client_commits():
    buffer = Intake(PCMU, None)

    assert buffer.append(silence(300) + voice(500), now=1.0) == []
    assert buffer.commit(2.0).duration_ms == 800


def test_too_little_to_commit_is_refused():
    buffer = Intake(PCMU, None)
    buffer.append(silence(80), now=1.0)

    with pytest.raises(Refused) as refused:
        buffer.commit(1.0)
    assert refused.value.code == "input_audio_buffer_commit_empty"


def test_a_buffer_that_is_never_committed_is_refused_at_last():
    buffer = Intake(PCMU, None)

    for _ in range(300):
        buffer.append(silence(1000), now=1.0)

    with pytest.raises(Refused) as refused:
        buffer.append(silence(1000), now=1.0)
    assert refused.value.code == "input_audio_buffer_full"


def test_clear_forgets_speech_in_progress():
    buffer = intake()
    buffer.append(silence(500) + voice(500), now=1.0)
    buffer.clear()

    assert buffer.append(silence(900), now=2.0) == []

"""A caller acted out frame by frame, and the ear's figures, on a clock that is only a number."""

from __future__ import annotations

import pytest

from flaskapp.simulator import ear, load, sounds
from flaskapp.simulator.ear import Frame, Sound, Spoken
from flaskapp.simulator.encoding import Encoding
from flaskapp.simulator.person import Person, Script, Utterance
from flaskapp.simulator.playout import Piece

WORD = Utterance(sounds.tone(0.2, 350), name="word")
SILENCE = b"\xff" * 160


def acted(script: Script, agent: list[tuple[float, float]], seconds: float, deaf: float = 0.0) -> Person:
    """The person after so many seconds with an agent who sounds in these intervals."""
    person = Person(script)
    for step in range(1, round(seconds * 50) + 1):
        now = step * 0.02
        sounding = any(start <= now < end for start, end in agent)
        if person.tick(now, sounding, listened_to=now > deaf).hang_up:
            break
    return person


def test_a_caller_waits_for_the_end_of_the_greeting():
    person = acted(Script((WORD,)), agent=[(0.5, 2.0)], seconds=5)
    assert person.spoken[0].start == pytest.approx(2.68, abs=0.05)


def test_a_caller_speaks_after_a_while_when_no_greeting_comes():
    person = acted(Script((WORD,), greeting_wait_s=3), agent=[], seconds=5)
    assert person.spoken[0].start == pytest.approx(3.0, abs=0.05)


def test_a_caller_waits_for_each_reply_before_speaking_again():
    person = acted(Script((WORD, WORD)), agent=[(0.1, 0.5), (2.0, 3.0)], seconds=6)
    assert [said.start for said in person.spoken] == pytest.approx([1.18, 3.68], abs=0.05)


def test_a_caller_does_not_speak_while_nobody_takes_the_sound():
    person = acted(Script((WORD,)), agent=[(0.1, 0.5)], seconds=6, deaf=4.0)
    assert person.spoken[0].start == pytest.approx(4.0, abs=0.05)


def test_a_caller_may_interrupt_at_an_offset_into_the_agents_speech():
    interruption = Utterance(WORD.audio, interrupts_after_ms=500)
    person = acted(Script((interruption,)), agent=[(1.0, 9.0)], seconds=3)
    assert person.spoken[0].start == pytest.approx(1.5, abs=0.06)


def test_an_interrupted_reply_that_rings_on_is_not_taken_for_the_answer():
    interruption = Utterance(WORD.audio, interrupts_after_ms=500)
    person = acted(Script((interruption, WORD)), agent=[(1.0, 2.0), (3.5, 4.0)], seconds=8)
    assert person.spoken[1].start == pytest.approx(4.68, abs=0.05)


def test_a_caller_may_say_nothing_for_a_while_whatever_he_is_asked():
    script = Script((Utterance(WORD.audio, silent_s=5.0),))
    person = acted(script, agent=[(0.1, 0.5), (3.0, 3.5), (6.0, 6.5)], seconds=9)
    assert person.spoken[0].start == pytest.approx(1.2 + 5.0, abs=0.06)


def test_silence_alone_is_no_utterance():
    person = acted(Script((Utterance(silent_s=3.0), WORD)), agent=[(0.1, 0.5)], seconds=9)
    assert [said.start for said in person.spoken] == pytest.approx([1.2 + 3.0], abs=0.08)


def test_silence_inside_an_utterances_file_is_not_speech():
    padded = Utterance(SILENCE * 10 + WORD.audio + SILENCE * 25)
    person = acted(Script((padded,), greeting_wait_s=1), agent=[], seconds=4)
    assert person.spoken[0].end - person.spoken[0].start == pytest.approx(0.2, abs=0.021)


def test_comfort_noise_is_no_voice():
    person = Person(Script(comfort_noise=True))
    frame = person.tick(0.02, False, False).frame
    assert frame != SILENCE
    assert not ear.is_voiced(frame)


def test_the_first_voiced_sample_is_found_exactly():
    played = Piece(10.0, SILENCE * 5 + sounds.tone(0.5, 400), "stream")
    (sound,) = ear.sounds([played])
    assert sound.start == pytest.approx(10.1, abs=0.0005)
    assert sound.end == pytest.approx(10.6, abs=0.01)


def test_words_are_joined_and_replies_are_not():
    word = sounds.tone(0.1, 400)
    joined = ear.sounds([Piece(1.0, word + SILENCE * 5 + word, "stream")])
    apart = ear.sounds([Piece(1.0, word + SILENCE * 25 + word, "stream")])
    assert (len(joined), len(apart)) == (1, 2)


def test_latency_runs_from_the_callers_last_voiced_frame_to_the_replys_first_sample():
    spoken = [Spoken("a", 2.0, 3.0), Spoken("b", 6.0, 7.0)]
    heard = [Sound(0.5, 1.5, "stream"), Sound(3.3, 4.0, "stream"), Sound(4.5, 5.0, "stream")]
    first, second = ear.turns(spoken, heard, t0=0.0)
    assert (first.latency_ms, first.heard_ms) == (pytest.approx(300), pytest.approx(1700))
    assert (second.latency_ms, second.heard_ms) == (None, 0.0)


def test_the_rest_of_an_interrupted_reply_is_not_the_answer():
    (turn,) = ear.turns([Spoken("a", 2.0, 3.0)], [Sound(1.0, 2.4, "stream"), Sound(3.5, 4, "stream")], 0.0)
    assert turn.latency_ms == pytest.approx(500)


def test_the_longest_silence_is_when_neither_side_is_heard():
    spoken, heard = [Spoken("a", 2.0, 3.0)], [Sound(0.5, 1.0, "say"), Sound(6.0, 8.0, "stream")]
    assert ear.longest_silence(spoken, heard, t0=0.0, end=8.5) == pytest.approx((3.0, 6.0))


def test_while_the_carrier_records_the_floor_is_the_callers():
    spoken, heard = [Spoken("a", 2.0, 3.0)], [Sound(0.5, 1.5, "beep"), Sound(6.5, 8.0, "say")]
    assert ear.longest_silence(spoken, heard, 0.0, 8.0, [(1.5, 5.0)]) == pytest.approx((5.0, 6.5))
    assert ear.longest_silence([], heard, 0.0, 9.0, [(1.5, 6.5)]) == pytest.approx((8.0, 9.0))


def test_silences_are_what_the_caller_waits_through():
    spoken, heard = [Spoken("a", 2.0, 3.0)], [Sound(0.5, 1.5, "say"), Sound(4.0, 5.0, "stream")]
    quiet = ear.silences(spoken, heard, 0.0, 9.0, [(6.0, 8.0)])
    assert quiet == [(0.0, 0.5), (1.5, 2.0), (3.0, 4.0), (5.0, 6.0), (8.0, 9.0)]


def test_sounds_are_parted_where_something_new_begins():
    heard = [Sound(1.0, 3.0, "say"), Sound(4.0, 5.0, "say")]
    parts = [(1.0, 2.0), (2.0, 3.0), (4.0, 5.0)]
    assert [(s.start, s.end) for s in ear.parted(heard, [0.5, 1.0, 2.0, 3.5, 4.0, 5.0])] == parts


def test_a_beep_is_no_answer():
    heard = [Sound(1.0, 1.4, "beep"), Sound(2.0, 3.0, "say")]
    assert ear.first_speech(heard, 0.5) == heard[1]
    assert ear.first_speech(heard, 0.5, until=1.9) is None


def test_lateness_counts_only_frames_that_somebody_took():
    frames = [Frame(n * 0.02, n * 0.02 + 0.0012 * (n % 20), taken=True) for n in range(100)]
    pacing = ear.pacing([*frames, Frame(9.0, 10.0, taken=False, lost=True)])
    assert (pacing.frames, pacing.lost, pacing.late) == (100, 1, 55)
    assert pacing.max_late_ms == pytest.approx(22.8)


def test_both_sides_of_a_call_are_aligned_in_the_recording():
    agent = [Piece(11.0, sounds.tone(0.5, 400), "stream")]
    pcm = ear.stereo(b"\xff" * 16000, caller_at=10.5, pieces=agent, t0=10.0)
    assert len(pcm) == 20000 * 4
    right = [pcm[at : at + 4][2:] for at in range(0, len(pcm), 4)]
    first = next(index for index, sample in enumerate(right) if sample not in (b"\0\0",))
    assert first == pytest.approx(8001, abs=2)


def test_percentiles_are_by_nearest_rank():
    assert load.percentiles([4.0, 1.0, 3.0, 2.0]) == {"n": 4, "p50": 2.0, "p95": 4.0, "p99": 4.0, "max": 4.0}
    assert load.percentiles([])["p50"] is None


@pytest.mark.parametrize("rate", [8000, 16000, 24000])
def test_a_person_on_a_wide_line_says_the_same_words_at_its_rate(rate: int):
    encoding = Encoding(rate, is_linear=True)
    words = Utterance(sounds.tone(0.3, 400), name="words")
    person = Person(Script((words,), greeting_wait_s=0.0), encoding=encoding)
    ticks = [person.tick(10.0 + n * 0.02, agent_sounds=False, listened_to=True) for n in range(17)]
    assert {len(tick.frame) for tick in ticks} == {rate * 2 // 50}
    assert [tick.voiced for tick in ticks].count(True) == pytest.approx(15, abs=1)
    assert b"".join(tick.frame for tick in ticks).startswith(encoding.of_mulaw(words.audio))


@pytest.mark.parametrize("rate", [8000, 16000, 24000])
def test_the_ear_hears_pcm_as_it_hears_mulaw(rate: int):
    encoding = Encoding(rate, is_linear=True)
    sound = SILENCE * 5 + sounds.tone(0.5, 400)
    (narrow,) = ear.sounds([Piece(10.0, sound, "stream")])
    (wide,) = ear.sounds([Piece(10.0, encoding.of_mulaw(sound), "stream", encoding)])
    assert wide.start == pytest.approx(narrow.start, abs=0.01)
    assert wide.end == pytest.approx(narrow.end, abs=0.011)


def test_a_quiet_wide_line_is_not_voiced():
    encoding = Encoding(16000, is_linear=True)
    frame = Person(Script(comfort_noise=True), encoding=encoding).tick(1.0, False, True).frame
    assert len(frame) == 640
    assert any(frame)
    assert not ear.is_voiced(frame, encoding)

"""Whatever session is lost when: each utterance is written once, in its order, or left for afterwards."""

from __future__ import annotations

import itertools
from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flaskapp.phone import commands as do
from tests.phone.ears import FRAME_MS, Losing, speech, word

thorough = settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
engines = st.builds(Losing, st.integers(0, 15), st.integers(0, 100), st.integers(0, 100))
talks = st.lists(st.tuples(st.integers(28, 200), st.integers(10, 150)), min_size=1, max_size=6)


@st.composite
def stories(draw: st.DrawFn) -> tuple[Losing, list[tuple[int, int]]]:
    """A conversation and an engine that was lost now and then: most of all when somebody begins or ends."""
    engine, talk = draw(engines), draw(talks)
    edges = list(itertools.accumulate(itertools.chain(*talk)))
    near = st.builds(int.__add__, st.sampled_from(edges), st.integers(-3, 40))
    lost_at = draw(st.sets(near | st.integers(1, 900), max_size=5))
    if lost_at and draw(st.booleans()):
        engine.given_up_at = max(lost_at)
    engine.lives(speech(*talk), lost_at | {each + engine.reopens_after + 8 for each in lost_at if each % 2})
    return engine, talk


@thorough
@given(stories())
def test_no_utterance_is_lost_or_written_twice(story):
    engine, talk = story
    said = [word(number) for number in range(len(talk))]
    heard_until = engine.call.heard_until_ms(engine.at) / FRAME_MS
    frames = speech(*talk)
    left = {payload.decode() for payload in frames[int(heard_until) :] if payload}
    assert engine.written == [each for each in said if each in engine.written]
    assert set(engine.written) | left == set(said)
    assert not set(engine.written) & left


@thorough
@given(stories())
def test_what_was_written_was_heard_whole_by_one_session(story):
    engine, talk = story
    for each in engine.written:
        length = talk[int(each[0])][1]
        assert any(session.payloads.count(each.encode()) == length for session in engine.sessions)


@thorough
@given(stories())
def test_no_line_is_left_open_but_those_whose_audio_is_left(story):
    engine, _ = story
    heard_until_ms = engine.call.heard_until_ms(engine.at)
    lines = engine.call.talk.transcript.lines.values()
    assert all(line.start_ms >= heard_until_ms for line in lines if not line.is_final)
    assert not engine.call.is_over or all(line.is_final or not line.text for line in lines)


@thorough
@given(stories())
def test_each_session_is_given_audio_without_a_gap_or_a_repetition(story):
    engine, talk = story
    frames = b",".join(payload or b"-" for payload in speech(*talk))
    for session in engine.sessions:
        assert b",".join(payload or b"-" for payload in session.payloads) in frames


@thorough
@given(stories())
def test_what_was_put_into_words_is_given_to_no_later_session(story):
    engine, _ = story
    for session in engine.sessions:
        assert not {payload.decode() for payload in session.payloads} & session.known_words


@thorough
@given(stories())
def test_places_are_unique_and_no_line_is_final_twice(story):
    engine, _ = story
    lines = [command for command in engine.told if isinstance(command, do.TellLine)]
    places = {line.item_id: line.position for line in lines}
    assert len(set(places.values())) == len(places)
    assert max(Counter(line.item_id for line in lines if line.is_final).values(), default=0) <= 1


@thorough
@given(stories())
def test_lines_keep_the_time_at_which_they_were_said(story):
    engine, talk = story
    frames = speech(*talk)
    for line in engine.call.talk.transcript.lines.values():
        if line.is_final and line.text:
            began_ms = frames.index(line.text.split()[0].encode()) * FRAME_MS
            assert abs(line.start_ms - began_ms) <= 1000 or line.text.count(" ")

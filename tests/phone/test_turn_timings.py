"""How long each step of a turn took, and what of a reply was not heard."""

from __future__ import annotations

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev
from tests.phone.scene import Scene, audio, frame, heard_words, live, speaking, words

SPEAKS_AFTER = ev.SpeechStarted("u1", 0)


def asked() -> Scene:
    """The caller has spoken for a second, and has been silent for half of one: the engine has noticed."""
    scene = live()
    for _ in range(100):
        scene.hears(frame(), after=0.015625)
    scene.hears(ev.SpeechStarted("u1", 0))
    scene.hears(ev.SpeechStopped("u1", 2000), after=0.125)
    return scene


def line(scene: Scene, item: str) -> do.TellLine:
    return [told for told in scene.all(do.TellLine) if told.item_id == item][-1]


def test_a_callers_line_knows_how_long_it_took_until_he_was_taken_to_have_stopped_and_until_his_words_came():
    scene = asked()
    scene.hears(heard_words("hello"), after=0.25)
    told = line(scene, "u1")
    assert told.noticed_ms is not None
    assert told.noticed_ms >= 125
    assert told.words_ms == told.noticed_ms + 250


def test_words_that_come_after_the_answer_are_measured_from_the_callers_own_last_word():
    scene = asked()
    scene.hears(ev.ReplyStarted("r1"), audio("a1", 1000))
    scene.hears(ev.SpeechStarted("u2", 3000), ev.SpeechStopped("u2", 4000), after=0.5)
    scene.hears(heard_words("hello"), after=0.5)
    assert line(scene, "u1").words_ms == line(scene, "u1").noticed_ms + 1000


def test_an_agents_line_knows_how_long_its_first_audio_was_on_its_way_to_the_caller():
    scene = asked()
    scene.hears(ev.ReplyStarted("r1"), audio("a1", 1000), words("hello", is_final=True), after=0.5)
    scene.hears(ev.MarkReached("m1"), after=1.25)  # a second of it was played, a quarter it took to get there
    scene.hears(ev.ReplyEnded("r1", "completed"))
    scene.waits(1.0)
    told = line(scene, "a1")
    assert (told.is_final, told.heard_ms) == (True, 250)
    assert told.engine_ms == line_noticed(scene) + 500


def line_noticed(scene: Scene) -> int:
    noticed = scene.call.talk.transcript.lines["u1"].noticed_ms
    assert noticed is not None
    return noticed


def test_a_mark_that_returns_because_of_a_clear_measures_nothing():
    scene = speaking(4.0)
    scene.hears(SPEAKS_AFTER, after=0.5)
    scene.hears(ev.MarkReached("m1"), after=0.5)
    assert scene.call.talk.transcript.lines["a1"].heard_ms is None


def test_an_interrupted_line_keeps_what_was_generated_beside_what_was_heard():
    scene = speaking(4.0)
    scene.hears(SPEAKS_AFTER, after=2.0)
    told = line(scene, "a1")
    assert (told.text, told.generated, told.interrupted) == ("one two", "one two three four", True)


def test_a_line_that_was_heard_to_its_end_has_nothing_else_that_was_generated():
    scene = speaking(1.0)
    scene.hears(ev.ReplyEnded("r1", "completed"))
    scene.waits(2.0)
    assert (line(scene, "a1").text, line(scene, "a1").generated) == ("one two three four", "")

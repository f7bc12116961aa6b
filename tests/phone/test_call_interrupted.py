"""The caller speaks over the agent: what was not heard is neither played nor remembered."""

from __future__ import annotations

import pytest

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev
from tests.phone.scene import AGENT, READY, audio, frame, live, only, speaking, words

SPEAKS = ev.SpeechStarted("u1", 0)
DOES_NOT_CANCEL = ev.SessionReady("audio/pcmu", "audio/pcmu", interrupts_itself=False)


def kinds(commands: list[do.Command]) -> list[type]:
    return [type(command) for command in commands]


def test_caller_interrupts_and_playback_clears():
    scene = speaking(4.0)
    commands = scene.hears(SPEAKS, after=1.5)
    assert kinds(commands) == [do.ClearPlayback, do.Truncate, do.TellLine, do.TellEvent, do.TellPlace]
    assert only(do.Truncate, commands) == do.Truncate("a1", 0, 1500)
    assert only(do.TellEvent, commands) == do.TellEvent("barge_in", {"heard_ms": [1500]})


def test_truncation_never_goes_beyond_what_was_received():
    scene = live()
    scene.hears(ev.ReplyStarted("r1"), audio("a1", 1000))
    scene.hears(ev.MarkReached("m1"), after=1.5)  # the line is half a second behind
    scene.hears(audio("a1", 1000), after=0.5)
    cut = only(do.Truncate, scene.hears(SPEAKS, after=1.25))
    assert cut == do.Truncate("a1", 0, 1750)


def test_late_audio_of_an_interrupted_reply_is_discarded():
    scene = speaking(4.0)
    scene.hears(SPEAKS, after=1.0)
    assert scene.hears(audio("a1", 500), audio("a2", 500)) == []
    assert scene.hears(ev.ReplyAudioEnded("r1", "a1"), words("more")) == []


def test_the_next_reply_plays_after_an_interruption():
    scene = speaking(4.0)
    scene.hears(SPEAKS, after=1.0)
    scene.hears(ev.ReplyEnded("r1", "cancelled"), ev.SpeechStopped("u1", 2000), ev.ReplyStarted("r2"))
    assert do.Play(b"sound") in scene.hears(audio("a2", 500, "r2"))


def test_the_agent_is_never_mute_after_thirty_interruptions():
    scene = live()
    for number in range(30):
        reply, item = f"r{number}", f"a{number}"
        scene.hears(ev.ReplyStarted(reply))
        assert do.Play(b"sound") in scene.hears(audio(item, 2000, reply), after=0.25)
        assert scene.hears(ev.SpeechStarted(f"u{number}", 0), after=0.5)[0] == do.ClearPlayback()
        assert scene.hears(audio(item, 2000, reply)) == []
        scene.hears(ev.ReplyEnded(reply, "cancelled"), ev.SpeechStopped(f"u{number}", 500), after=0.5)


def test_a_reply_that_is_done_but_still_playing_is_cut_too():
    scene = speaking(4.0)
    scene.hears(ev.ReplyAudioEnded("r1", "a1"), words("one two three four", is_final=True))
    scene.hears(ev.ReplyEnded("r1", "completed"))
    commands = scene.hears(SPEAKS, after=3.0)
    assert kinds(commands)[:2] == [do.ClearPlayback, do.Truncate]
    assert only(do.Truncate, commands).audio_end_ms == 3000
    assert only(do.TellLine, commands).text == "one two three"


def test_nothing_is_cleared_when_nothing_plays():
    assert kinds(live().hears(SPEAKS)) == [do.TellPlace]
    scene = speaking(1.0)
    scene.hears(ev.ReplyAudioEnded("r1", "a1"), words("Good day.", is_final=True))
    scene.hears(ev.ReplyEnded("r1", "completed"))
    scene.hears(ev.MarkReached("m1"), ev.MarkReached("m2"), after=1.0)
    assert kinds(scene.hears(SPEAKS, after=0.5)) == [do.TellPlace]


def test_a_caller_who_goes_on_does_not_clear_a_silent_line_again():
    scene = live()
    scene.hears(ev.ReplyStarted("r1"), audio("a1", 500))
    scene.hears(ev.MarkReached("m1"), after=1.0)  # half a second behind
    scene.hears(audio("a1", 4000))
    assert do.ClearPlayback() in scene.hears(SPEAKS, after=1.0)
    scene.hears(ev.SpeechStopped("u1", 100), after=0.125)
    assert kinds(scene.hears(ev.SpeechStarted("u2", 200))) == [do.TellPlace]


def test_a_line_that_still_plays_by_its_marks_is_cleared():
    """The clock says that all was heard, the carrier has not said so yet."""
    scene = speaking(1.0)
    scene.hears(ev.ReplyAudioEnded("r1", "a1"))
    assert do.ClearPlayback() in scene.hears(SPEAKS, after=1.25)


def test_a_mark_that_never_returns_does_not_keep_the_line_busy():
    scene = speaking(1.0)
    scene.hears(ev.ReplyAudioEnded("r1", "a1"))
    assert do.ClearPlayback() not in scene.hears(SPEAKS, after=3.25)


def test_marks_returned_because_of_the_clear_prove_nothing():
    scene = live()
    scene.hears(ev.ReplyStarted("r1"), audio("a1", 1000), audio("a1", 4000))
    scene.hears(SPEAKS, after=0.5)
    scene.hears(ev.MarkReached("m1"), after=1.5)  # a second after it would have been due
    scene.hears(ev.ReplyEnded("r1", "cancelled"), ev.ReplyStarted("r2"), audio("a2", 2000, "r2"))
    cut = only(do.Truncate, scene.hears(ev.SpeechStarted("u2", 0), after=1.0))
    assert cut == do.Truncate("a2", 0, 1000)  # no lag was learned from it


def test_an_engine_that_does_not_interrupt_itself_is_told_to():
    commands = speaking(scene=live(ready=DOES_NOT_CANCEL)).hears(SPEAKS, after=1.0)
    assert only(do.CancelReply, commands) == do.CancelReply("r1")


def test_an_engine_that_interrupts_itself_is_not_told_to():
    commands = speaking(scene=live(ready=READY)).hears(SPEAKS, after=1.0)
    assert do.CancelReply not in kinds(commands)


def test_a_reply_that_is_over_is_not_cancelled():
    scene = speaking(scene=live(ready=DOES_NOT_CANCEL))
    scene.hears(ev.ReplyEnded("r1", "completed"))
    assert do.CancelReply not in kinds(scene.hears(SPEAKS, after=1.0))


def test_a_reply_without_sound_yet_is_silenced_without_a_clear():
    scene = live()
    scene.hears(ev.ReplyStarted("r1"))
    assert kinds(scene.hears(SPEAKS)) == [do.TellPlace]
    assert scene.hears(audio()) == []


def test_several_items_are_cut_each_at_what_was_heard_of_it():
    scene = live()
    scene.hears(ev.ReplyStarted("r1"), audio("a1", 1000), audio("a2", 1000), audio("a3", 1000))
    cuts = [each for each in scene.hears(SPEAKS, after=1.25) if isinstance(each, do.Truncate)]
    assert cuts == [do.Truncate("a2", 0, 250), do.Truncate("a3", 0, 0)]


@pytest.mark.parametrize(("heard_s", "text"), [(1.0, "one"), (2.0, "one two"), (3.75, "one two three")])
def test_an_interrupted_line_keeps_only_the_words_that_were_heard(heard_s, text):
    line = only(do.TellLine, speaking(4.0).hears(SPEAKS, after=heard_s))
    assert (line.text, line.is_final, line.interrupted) == (text, True, True)
    assert line.end_ms - line.start_ms == heard_s * 1000


def test_words_whose_audio_never_came_were_not_heard():
    scene = live()
    scene.hears(ev.ReplyStarted("r1"), words("We open at nine."))
    line = only(do.TellLine, scene.hears(SPEAKS))
    assert (line.text, line.is_final, line.interrupted) == ("", True, True)


def test_a_line_that_was_heard_as_far_as_it_went_is_broken_off():
    """The engine is slower than speech: all that came was heard, more was to come."""
    scene = live()
    scene.hears(ev.ReplyStarted("r1"), audio("a1", 500), words("We open"))
    scene.hears(ev.MarkReached("m1"), after=0.5)
    line = only(do.TellLine, scene.hears(SPEAKS, after=0.25))
    assert (line.text, line.is_final, line.interrupted) == ("We open", True, True)


def test_the_callers_audio_passes_while_he_interrupts():
    scene = speaking()
    scene.hears(SPEAKS, after=1.0)
    assert scene.hears(frame(3)) == [do.Hear(frame(3).payload)]


def test_a_caller_who_speaks_before_the_greeting_began_is_not_talked_over():
    scene = live(AGENT)
    scene.hears(SPEAKS)
    assert scene.hears(ev.ReplyStarted("r1")) == [do.CancelReply("r1")]
    assert not any(isinstance(command, do.Play) for command in scene.hears(audio("a1", 500)))
    scene.hears(ev.SpeechStopped("u1", 100), ev.ReplyStarted("r2"))
    assert any(isinstance(command, do.Play) for command in scene.hears(audio("a2", 500, "r2")))

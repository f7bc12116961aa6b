"""The transcript of a live call: whose words, in which order, final when."""

from __future__ import annotations

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev
from tests.phone.scene import audio, frame, heard_words, live, only, speaking, words


def lines(commands: list[do.Command]) -> list[do.TellLine]:
    return [command for command in commands if isinstance(command, do.TellLine)]


def test_the_callers_words_keep_their_place_when_they_come_after_the_reply():
    scene = live()
    scene.hears(ev.SpeechStarted("u1", 0), ev.SpeechStopped("u1", 900), ev.SpeechCommitted("u1"))
    scene.hears(ev.ReplyStarted("r1"), words("Good day."), audio())
    late = only(do.TellLine, scene.hears(heard_words("Hello?"), after=2.0))
    reply = next(line for line in lines(scene.told) if line.item_id == "a1")
    assert (late.position, reply.position) == (0, 1)
    assert (late.speaker, reply.speaker) == ("caller", "agent")


def test_the_callers_words_grow_and_become_final():
    scene = live()
    told = scene.hears(
        heard_words("Hel", is_final=False), heard_words("lo", is_final=False), heard_words("Hello.")
    )
    assert [(line.text, line.is_final) for line in told] == [
        ("Hel", False),
        ("Hello", False),
        ("Hello.", True),
    ]


def test_a_callers_line_is_final_once():
    scene = live()
    scene.hears(heard_words("Hello."))
    assert scene.hears(heard_words("Hello again."), heard_words("x", is_final=False)) == []


def test_words_that_could_not_be_transcribed_are_a_fault_and_no_line():
    scene = live()
    scene.hears(ev.SpeechStarted("u1", 0))
    assert scene.hears(ev.CallerWordsLost("u1", "audio_unintelligible")) == [
        do.TellPlace("u1", 0, "caller", is_over=True),
        do.TellFault("transcription_failed", "audio_unintelligible"),
    ]
    assert scene.hears(ev.HangUp("operator"))[0] == do.CloseEngine()


def test_an_empty_transcription_is_no_line():
    told = live().hears(ev.SpeechStarted("u1", 0), heard_words("  "))
    assert told == [do.TellPlace("u1", 0, "caller"), do.TellPlace("u1", 0, "caller", is_over=True)]


def test_a_callers_line_lasts_as_long_as_he_spoke():
    scene = live()
    scene.hears(frame(1), after=3.0)
    scene.hears(ev.SpeechStarted("u1", 1000), ev.SpeechStopped("u1", 2750))  # half a second of it is silence
    line = only(do.TellLine, scene.hears(heard_words("Hello.")))
    assert (line.start_ms, line.end_ms) == (1000, 2250)


def test_the_agents_line_is_final_only_when_it_was_heard():
    scene = speaking(4.0)
    scene.hears(words("one two three four", is_final=True), ev.ReplyEnded("r1", "completed"))
    assert scene.waits(3.75) == []
    line = only(do.TellLine, scene.waits(0.25))
    assert (line.text, line.is_final, line.interrupted) == ("one two three four", True, False)
    assert line.end_ms - line.start_ms == 4000


def test_the_agents_line_waits_for_a_line_that_lags():
    scene = live()
    scene.hears(ev.ReplyStarted("r1"), audio("a1", 1000))
    scene.hears(ev.MarkReached("m1"), after=1.5)  # half a second late
    scene.hears(audio("a1", 1000), words("Hello.", is_final=True), ev.ReplyEnded("r1", "completed"))
    assert lines(scene.waits(1.25)) == []
    assert only(do.TellLine, scene.waits(0.25)).is_final


def test_a_mark_makes_the_line_final_without_waiting_for_the_clock():
    scene = speaking(1.0)
    scene.hears(
        ev.ReplyAudioEnded("r1", "a1"), words("Hello.", is_final=True), ev.ReplyEnded("r1", "completed")
    )
    assert only(do.TellLine, scene.hears(ev.MarkReached("m2"), after=1.0)).is_final


def test_the_agents_line_is_final_once():
    scene = speaking(1.0)
    scene.hears(words("Hello.", is_final=True), ev.ReplyEnded("r1", "completed"))
    scene.waits(1.0)
    assert scene.waits(1.0) == []
    assert scene.hears(words("Hello again.", is_final=True)) == []
    assert lines(scene.hears(ev.HangUp("operator"))) == []


def test_a_reply_that_ended_without_its_last_words_becomes_final_too():
    scene = speaking(1.0)
    scene.hears(ev.ReplyEnded("r1", "incomplete"))
    line = only(do.TellLine, scene.waits(1.0))
    assert (line.text, line.is_final, line.interrupted) == ("one two three four", True, False)


def test_words_of_a_reply_that_failed_before_its_audio_are_taken_back():
    scene = live()
    scene.hears(ev.ReplyStarted("r1"), words("We open"))
    line = only(do.TellLine, scene.hears(ev.ReplyEnded("r1", "failed")))
    assert (line.text, line.is_final, line.interrupted) == ("", True, True)


def test_a_heard_line_survives_a_later_interruption():
    scene = speaking(1.0)
    scene.hears(ev.ReplyEnded("r1", "incomplete"), after=2.0)
    scene.hears(ev.ReplyStarted("r2"), audio("a2", 4000, "r2"))
    scene.hears(ev.SpeechStarted("u1", 0), after=1.0)
    scene.hears(ev.ReplyEnded("r2", "cancelled"))
    scene.waits(0.25)
    told = [line for line in lines(scene.told) if line.item_id == "a1"]
    assert told[-1].text == "one two three four"
    assert not told[-1].interrupted


def test_the_whole_reply_replaces_its_pieces():
    scene = live()
    scene.hears(ev.ReplyStarted("r1"), words("We opn"))
    assert only(do.TellLine, scene.hears(words(" We open. ", is_final=True))).text == "We open."


def test_a_second_reply_starts_when_the_first_has_been_heard():
    scene = speaking(2.0)
    scene.hears(ev.ReplyEnded("r1", "completed"), ev.ReplyStarted("r2"))
    scene.hears(audio("a2", 1000, "r2"), after=0.5)
    line = only(do.TellLine, scene.hears(words("Next.", "a2", "r2")))
    assert (line.start_ms, line.end_ms) == (2000, 3000)


def test_every_line_has_a_place_of_its_own():
    scene = live()
    for number in range(20):
        scene.hears(ev.SpeechStarted(f"u{number}", 0), ev.ReplyStarted(f"r{number}"))
        scene.hears(words("Yes.", f"a{number}", f"r{number}"), heard_words("So?", f"u{number}"))
    places = {line.item_id: line.position for line in lines(scene.told)}
    assert sorted(places.values()) == list(range(40))


def test_a_piece_of_words_that_were_lost_stays_as_the_line():
    scene = live()
    scene.hears(heard_words("I would li", is_final=False))
    line = only(do.TellLine, scene.hears(ev.CallerWordsLost("u1")))
    assert (line.text, line.is_final) == ("I would li", True)


def test_a_line_that_others_will_write_holds_no_place_here_any_more():
    scene = live()
    scene.call.intake.flow = []  # a keeper has his audio
    scene.hears(ev.SpeechStarted("u1", 0))
    assert do.TellPlace("u1", 0, "caller", is_over=True) in scene.hears(ev.HangUp("operator"))


def test_a_line_is_said_before_it_was_heard_to_its_end():
    scene = live()
    scene.hears(ev.ReplyStarted("r1"), audio())
    grown = only(do.TellLine, scene.hears(words("Good ")))
    whole = only(do.TellLine, scene.hears(words("Good day.", is_final=True)))
    assert (grown.is_said, grown.is_final) == (False, False)
    assert (whole.is_said, whole.is_final) == (True, False)

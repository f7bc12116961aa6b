"""An engine that fails in the midst of a call: what the caller hears, and what the next session is told."""

from __future__ import annotations

import pytest

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev
from flaskapp.phone.conversation import HEARD_ONLY
from flaskapp.phone.past import Past
from flaskapp.phone.resume import GO_ON
from flaskapp.phone.transcript import Line
from tests.phone.outage import LOST, REOPENED, rejoined, ticks
from tests.phone.scene import (
    AGENT,
    READY,
    SILENT,
    START,
    Scene,
    audio,
    closed,
    faults,
    frame,
    heard_words,
    live,
    only,
    opening,
    speaking,
    words,
)

EXPIRED = ev.EngineFault("session_expired", "invalid_request_error")
#: What the engine does, and what is commanded at once.
ROWS = {
    "1 refused": (opening, [ev.EngineClosed("engine_unreachable")], ["engine_unreachable"], 0.25),
    "3 no right": (opening, [ev.EngineClosed("engine_rejected", status=401)], ["engine_rejected"], None),
    "4 busy": (opening, [ev.EngineClosed("engine_rejected", 1006, 429, 2.0)], ["engine_rejected"], 2.0),
    "4 too busy": (opening, [ev.EngineClosed("engine_rejected", 1006, 429, 9.0)], ["engine_rejected"], None),
    "5 broken": (opening, [ev.EngineClosed("engine_rejected", status=503)], ["engine_rejected"], 0.25),
    "6 closed soon": (live, [LOST, ev.EngineOpened(), READY, LOST], ["engine_lost"] * 2, None),
    "7 closed": (live, [LOST], ["engine_lost"], 0.0),
    "10 unknown": (live, [ev.EngineFault("brand_new")], ["engine_error"], "live"),
    "11 malformed": (live, [ev.Malformed("engine", "message")] * 3, ["engine_malformed"], 0.0),
    "11 twice only": (live, [ev.Malformed("engine", "message")] * 2, ["engine_message"] * 2, "live"),
    "12 expired": (live, [EXPIRED], ["session_expired"], 0.0),
    "12 going away": (live, [ev.EngineClosed("engine_lost", 1001)], ["session_expired"], 0.0),
}


@pytest.mark.parametrize("row", ROWS)
def test_what_follows_from_an_engines_fault(row):
    begun, events, kinds, again = ROWS[row]
    scene = begun()
    commands = scene.hears(*events)
    told = [kind for kind in faults(commands) if kind != "engine_message" or kind in kinds]
    assert told == kinds
    if again is None:
        assert closed(commands[-2:]) == (1000, True)
    elif again == "live":
        assert scene.state == "live"
    elif again == 0.0:
        assert commands[-2:] == REOPENED
    else:
        assert scene.waits(again - 0.125) == []
        assert scene.waits(0.125) == [do.OpenEngine()]


def test_what_was_playing_when_the_engine_was_lost_is_cleared_and_its_line_cut():
    scene = speaking(4.0)
    commands = scene.hears(LOST, after=2.0)
    assert do.ClearPlayback() in commands
    line = only(do.TellLine, commands)
    assert (line.text, line.is_final, line.interrupted) == ("one two", True, True)
    assert not any(isinstance(each, do.Truncate) for each in commands)
    told = rejoined(scene)
    assert told[0] == do.Recite("agent", "one two")
    assert GO_ON in only(do.Reply, told).instructions


def test_a_reply_that_was_complete_is_heard_to_its_end():
    scene = speaking(4.0)
    scene.hears(words("one two three four", is_final=True), ev.ReplyEnded("r1", "completed"))
    assert do.ClearPlayback() not in scene.hears(LOST, after=2.0)
    told = rejoined(scene)
    assert told == [do.Recite("agent", "one two three four")]
    line = only(do.TellLine, scene.waits(2.0))
    assert (line.text, line.interrupted) == ("one two three four", False)


def test_a_line_of_the_lost_session_is_not_truncated_in_the_next():
    scene = speaking(4.0)
    scene.hears(words("one two three four", is_final=True), ev.ReplyEnded("r1", "completed"), LOST)
    rejoined(scene)
    commands = scene.hears(ev.SpeechStarted("u1", 0), after=0.75)
    assert do.ClearPlayback() in commands
    assert not any(isinstance(each, do.Truncate) for each in commands)


def test_a_session_that_did_not_say_it_is_told_what_of_it_was_heard():
    scene = speaking(4.0)
    scene.hears(words("one two three four", is_final=True), ev.ReplyEnded("r1", "completed"), LOST)
    assert rejoined(scene) == [do.Recite("agent", "one two three four")]
    told = scene.hears(ev.SpeechStarted("u1", 0), after=1.75)
    assert only(do.Recite, told) == do.Recite("note", HEARD_ONLY.format("one two"))
    assert only(do.TellLine, told).text == "one two"


def test_the_next_session_is_told_what_was_said_in_its_order():
    scene = speaking(1.0, scene=live(AGENT))
    scene.hears(words("Good day.", is_final=True), ev.ReplyEnded("r1", "completed"))
    scene.hears(ev.SpeechStarted("u1", 2000), ev.SpeechStopped("u1", 3000), after=3.0)
    scene.hears(heard_words("When do you open?"), ev.ReplyStarted("r2"), audio("a2", 1000, "r2"))
    scene.hears(words("At nine.", "a2", "r2", is_final=True), ev.ReplyEnded("r2", "completed"))
    scene.hears(LOST, after=3.0)
    assert rejoined(scene) == [
        do.Recite("agent", "Good day."),
        do.Recite("caller", "When do you open?"),
        do.Recite("agent", "At nine."),
    ]


def test_a_reply_that_is_owed_is_asked_for():
    scene = live(AGENT)
    scene.hears(ev.SpeechStarted("u1", 0), ev.SpeechStopped("u1", 1000), heard_words("Hello?"), LOST)
    told = rejoined(scene)
    assert told[0] == do.Recite("caller", "Hello?")
    assert only(do.Reply, told).instructions == f"{AGENT.told()}\n\n{GO_ON}"


def test_a_greeting_that_was_never_heard_is_said_now():
    scene = live(AGENT)
    scene.hears(ev.ReplyStarted("r1"), words("Good day."), LOST)
    assert rejoined(scene) == [do.Reply(AGENT.greeting_instructions())]


def test_a_greeting_that_was_heard_in_part_is_not_said_again():
    scene = speaking(4.0, scene=live(AGENT))
    scene.hears(LOST, after=2.0)
    assert "Greet the caller" not in only(do.Reply, rejoined(scene)).instructions


def speaking_when_lost() -> Scene:
    """He has spoken for a second, and goes on."""
    scene = live(AGENT)
    scene.hears(*(frame(n) for n in range(200)), after=4.0)
    scene.hears(ev.SpeechStarted("u1", 3000), heard_words("I wou", is_final=False), LOST)
    return scene


def test_what_the_caller_was_saying_is_given_to_the_next_session_from_its_beginning():
    scene = speaking_when_lost()
    scene.hears(*(frame(n) for n in range(200, 225)), after=0.5)
    told = rejoined(scene)
    assert [each.payload for each in told] == [frame(n).payload for n in range(150, 225)]
    assert scene.hears(frame(225)) == [do.Hear(frame(225).payload)]


def test_its_words_go_to_the_line_that_was_begun():
    scene = speaking_when_lost()
    rejoined(scene)
    scene.hears(ev.SpeechStarted("u7", 0), ev.SpeechStopped("u7", 1500))
    told = [
        *scene.hears(heard_words("I would", "u7", is_final=False)),
        *scene.hears(heard_words("I would like a table.", "u7")),
    ]
    assert [(line.item_id, line.position, line.text) for line in told] == [
        ("u1", 0, "I would"),
        ("u1", 0, "I would like a table."),
    ]
    assert (told[-1].start_ms, told[-1].end_ms) == (3000, 4000)


def test_an_answer_that_was_given_already_is_not_given_again():
    scene = live()
    scene.hears(ev.SpeechStarted("u1", 0), *(frame(n) for n in range(50)), ev.SpeechStopped("u1", 1000))
    scene.hears(ev.ReplyStarted("r1"), audio("a1", 500), words("At nine."), ev.ReplyEnded("r1", "completed"))
    scene.hears(LOST, after=2.0)  # before the engine has said what it heard
    assert not any(isinstance(each, do.Reply) for each in rejoined(scene))
    scene.hears(ev.SpeechStarted("u7", 0), ev.SpeechStopped("u7", 1000))
    assert scene.hears(ev.ReplyStarted("r7")) == [do.CancelReply("r7")]
    assert not any(isinstance(each, do.Play) for each in scene.hears(audio("a7", 500, "r7")))
    assert only(do.TellLine, scene.hears(heard_words("When?", "u7"))).position == 0
    scene.hears(ev.ReplyEnded("r7", "cancelled"), ev.SpeechStarted("u8", 9000), ev.ReplyStarted("r8"))
    assert any(isinstance(each, do.Play) for each in scene.hears(audio("a8", 500, "r8")))


def test_two_utterances_that_the_next_session_hears_as_one_are_one_line():
    scene = live()
    scene.hears(*(frame(n) for n in range(200)), after=4.0)
    scene.hears(ev.SpeechStarted("u1", 1000), ev.SpeechStopped("u1", 2000), ev.SpeechStarted("u2", 2500))
    scene.hears(heard_words("and", "u2", is_final=False), LOST)
    rejoined(scene)
    scene.hears(ev.SpeechStarted("u7", 0))
    taken_back = only(do.TellLine, scene.hears(ev.SpeechStopped("u7", 3000)))
    assert (taken_back.item_id, taken_back.text, taken_back.is_final) == ("u2", "", True)
    line = only(do.TellLine, scene.hears(heard_words("This and that.", "u7")))
    assert (line.item_id, line.text) == ("u1", "This and that.")
    assert not scene.call.talk.transcript.awaits_words()


@pytest.mark.parametrize(("pending", "kept_ms"), [(False, 1000), (True, 30_000)])
def test_a_live_call_keeps_no_more_audio_than_another_session_could_need(pending, kept_ms):
    scene = live()
    if pending:
        scene.hears(ev.SpeechStarted("u1", 0))
    ticks(scene, 60.0)
    assert scene.call.intake.kept_ms == kept_ms


def later(past: list[Line]) -> Scene:
    """A second stream of a call, a minute after its beginning."""
    scene = Scene(AGENT, past=Past(past, 60_000))
    scene.hears(START, ev.EngineOpened())
    return scene


HEARD = Line("t1-caller", 3, "caller", "Are you open?", 20_000, 21_000, True)
ANSWERED = Line("t1-agent", 4, "agent", "Yes.", 22_000, 23_000, True)
CUT = Line("t1-agent", 4, "agent", "Yes, we", 22_000, 23_000, True, interrupted=True)


@pytest.mark.parametrize(
    ("past", "is_owed"), [([HEARD], True), ([HEARD, ANSWERED], False), ([HEARD, CUT], True)]
)
def test_a_later_stream_goes_on_where_the_call_was(past, is_owed):
    scene = later(past)
    told = scene.hears(READY)
    assert [each.text for each in told if isinstance(each, do.Recite)] == [line.text for line in past]
    asked = [each.instructions for each in told if isinstance(each, do.Reply)]
    assert [GO_ON in each for each in asked] == ([True] if is_owed else [])
    scene.hears(ev.SpeechStarted("u1", 1000))
    line = only(do.TellLine, scene.hears(heard_words("Fine.")))
    assert (line.position, line.start_ms) == (past[-1].position + 1, 61_000)


def test_a_later_stream_without_a_past_greets():
    assert later([]).hears(READY) == [do.Reply(AGENT.greeting_instructions())]


def test_no_more_is_recited_than_a_session_should_be_told():
    many = [Line(f"t{n}", n, "caller", f"line {n}", is_final=True) for n in range(440)]
    told = [each.text for each in later(many).hears(READY) if isinstance(each, do.Recite)]
    assert told == [f"line {n}" for n in range(40, 440)]
    long = [Line(f"t{n}", n, "caller", "x" * 4096, is_final=True) for n in range(20)]
    assert len([each for each in later(long).hears(READY) if isinstance(each, do.Recite)]) == 8


def heard_until(scene: Scene) -> int:
    return scene.call.heard_until_ms(scene.now)


def test_what_was_heard_is_known_at_any_moment():
    scene = opening()
    ticks(scene, 2.0)
    assert heard_until(scene) == 0  # nobody has listened yet
    rejoined(scene, 0.0)
    ticks(scene, 4.0)
    assert heard_until(scene) == 6000
    scene.hears(ev.SpeechStarted("u1", 5000))
    ticks(scene, 4.0)
    assert heard_until(scene) == 5000
    scene.hears(ev.SpeechStopped("u1", 8000), heard_words("Yes."))
    assert heard_until(scene) == 10_000
    scene.hears(LOST)
    ticks(scene, 2.0)
    assert heard_until(scene) == 9000  # somebody may have begun to speak in the last second
    rejoined(scene, 0.0)
    ticks(scene, 4.0)
    assert heard_until(scene) == 16_000


@pytest.mark.parametrize(
    ("events", "owes"),
    [
        ([], False),
        ([ev.SpeechStarted("u1", 0)], True),
        ([ev.SpeechStarted("u1", 0), heard_words("Hello?")], True),
        ([ev.SpeechStarted("u1", 0), heard_words("Hello?"), ev.ReplyStarted("r1"), audio()], True),
    ],
)
def test_whether_the_caller_is_owed_a_reply_is_known_at_the_end(events, owes):
    scene = live(SILENT)
    scene.hears(*events, ev.EngineClosed("engine_rejected", status=401))
    assert scene.call.is_over
    assert scene.call.talk.owes_reply is owes


@pytest.mark.parametrize("end", [EXPIRED, ev.EngineClosed("engine_lost", 1001)])
def test_a_session_that_was_old_is_nobodys_failure(end):
    scene = live()
    scene.hears(end, after=60.0)
    assert scene.all(do.TellEngine) == []
    rejoined(scene)
    assert scene.all(do.TellEngine) == [do.TellEngine(is_again=True)]


def test_an_engine_serves_when_it_begins_to_reply_and_each_session_says_so_once():
    scene = speaking(1.0, scene=live(AGENT))
    scene.hears(ev.ReplyEnded("r1", "completed"), ev.ReplyStarted("r2"), ev.ReplyEnded("r2", "completed"))
    assert scene.all(do.TellEngine) == [do.TellEngine(serves=True)]
    scene.hears(LOST, after=20.0)
    rejoined(scene)
    scene.hears(ev.ReplyStarted("r3"))
    assert scene.all(do.TellEngine)[-2:] == [do.TellEngine(is_again=True), do.TellEngine(serves=True)]


def test_how_the_engine_does_is_told():
    scene = opening()
    scene.hears(ev.EngineClosed("engine_rejected", status=503))
    scene.waits(0.25)
    scene.hears(ev.EngineClosed("engine_rejected", status=503))
    scene.waits(1.0)
    rejoined(scene)
    scene.hears(LOST, after=6.0)
    assert scene.all(do.TellEngine) == [
        do.TellEngine("engine_rejected", 503),
        do.TellEngine("engine_rejected", 503, is_again=True),
        do.TellEngine(is_again=True),
        do.TellEngine("engine_lost", 1011),
    ]


def test_a_session_that_is_lost_before_it_could_say_what_it_heard_is_followed_by_one_that_hears_all_of_it():
    scene = live()
    ticks(scene, 6.0)
    scene.hears(LOST)
    scene.hears(*(frame(n) for n in range(100)), after=2.0)
    rejoined(scene, 0.0)
    scene.waits(0.125)
    scene.hears(LOST)
    told = [each.payload for each in rejoined(scene, 0.5) if isinstance(each, do.Hear)]
    assert told[-100:] == [frame(n).payload for n in range(100)]


def test_an_utterance_that_the_next_session_does_not_hear_is_not_waited_for():
    scene = speaking_when_lost()
    rejoined(scene)
    scene.hears(*(frame(n) for n in range(300)), after=6.0)
    told = scene.hears(ev.SpeechStarted("u7", 5000))
    assert only(do.TellLine, told).text == "I wou"
    assert faults(told) == ["transcription_failed"]
    line = only(do.TellLine, scene.hears(heard_words("Anybody?", "u7")))
    assert (line.item_id, line.position, line.start_ms) == ("u7", 1, 8000)
    assert not scene.call.talk.transcript.awaits_words()

"""What a caller hears next when no stream carries the call."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import asdict, replace
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flaskapp.phone.agent import Agent
from flaskapp.phone.documents import Addresses, render
from flaskapp.phone.next_step import (
    HANG_UP,
    MOST_WAITS,
    REJECT,
    SILENCES,
    TROUBLES,
    WAIT_S,
    Path,
    Step,
    Then,
)
from flaskapp.phone.voice import sentences

WHERE = Addresses("CA1", "https://v.example.com", "wss://v.example.com")
PATH = Path(Agent(greeting="Hello.", language="en"), "This call is recorded.")


def document(step: Step) -> list[ET.Element]:
    return list(ET.fromstring(render(step, WHERE, lambda: "T")))


def words(step: Step) -> list[str]:
    return [spoken.text for spoken in step.said]


def test_a_call_begins_with_greeting_consent_and_a_recording():
    *said, record, redirect = document(PATH.opening())
    assert [say.text for say in said] == ["Hello.", "This call is recorded.", "Please speak after the tone."]
    assert {say.get("language") for say in said} == {"en-US"}
    assert record.get("action") == "https://v.example.com/phone/process-voice/CA1"
    assert record.get("recordingStatusCallback") == "https://v.example.com/phone/recording-status/CA1"
    assert int(record.get("timeout")) > 0
    assert (redirect.tag, redirect.text) == (
        "Redirect",
        "https://v.example.com/phone/process-voice/CA1?silences=1",
    )


def test_silence_is_asked_about_then_ends_politely():
    steps = [PATH.silent(count) for count in range(1, SILENCES + 1)]
    assert [step.then for step in steps] == [Then.RECORD] * (SILENCES - 1) + [Then.HANG_UP]
    assert document(steps[0])[-1].text.endswith("?silences=2")
    assert [verb.tag for verb in document(steps[-1])] == ["Say", "Hangup"]
    assert steps[-1].why == "caller_silent"


def test_waiting_pauses_and_asks_again_and_says_something_now_and_then():
    polls = [PATH.waiting("RE1", poll, 1.0) for poll in range(6)]
    assert {step.then for step in polls} == {Then.WAIT}
    pause, redirect = document(polls[0])
    assert (pause.tag, pause.get("length")) == ("Pause", "1")
    assert redirect.text == "https://v.example.com/phone/process-voice/CA1?turn=RE1&poll=1"
    spoken = [bool(step.said) for step in polls]
    assert spoken == [False, True, False, True, False, True]


def test_nobody_waits_for_longer_than_twenty_seconds():
    step = PATH.waiting("RE1", 3, WAIT_S)
    assert (step.then, "sorry" in words(step)[0]) == (Then.MESSAGE, True)
    record = document(step)[-2]
    assert record.get("action").endswith("/process-voice/CA1?message=1")


def test_an_answer_is_read_or_played_and_the_next_turn_recorded():
    read, played = (
        PATH.answered("Nine.", "", False, False),
        PATH.answered("Nine.", "https://v/x", False, False),
    )
    assert [verb.tag for verb in document(read)] == ["Say", "Record", "Redirect"]
    assert [verb.tag for verb in document(played)] == ["Play", "Record", "Redirect"]


def test_after_an_answer_a_call_may_go_live():
    say, connect, redirect = document(PATH.answered("Nine.", "", False, True))
    assert (say.text, connect[0].get("url")) == ("Nine.", "wss://v.example.com/phone/stream-audio/CA1")
    assert redirect.text.endswith("/phone/fallback")


def test_goodbye_is_answered_and_ends_the_call():
    assert [verb.tag for verb in document(PATH.answered("Bye.", "", True, True))] == ["Say", "Hangup"]
    assert words(PATH.answered("", "", True, False)) == ["Thank you for calling. Goodbye."]


def test_an_answer_of_nothing_is_owned_up_to():
    assert "no answer" in words(PATH.answered("", "", False, False))[0]


def test_an_unusable_recording_is_asked_for_again_but_not_for_ever():
    steps = [PATH.unusable(count) for count in range(1, TROUBLES + 1)]
    assert [step.then for step in steps] == [Then.RECORD] * (TROUBLES - 1) + [Then.MESSAGE]
    assert "troubles=1" in document(steps[0])[-2].get("action")


def test_without_an_assistant_a_message_is_taken():
    step = PATH.no_assistant()
    assert (step.then, words(step)[-1]) == (Then.MESSAGE, "This call is recorded.")
    assert words(PATH.message_left())[0].startswith("Thank you")


def test_an_answer_cannot_become_markup():
    say, *_ = document(PATH.answered('</Say><Dial>+1</Dial>&"', "", False, False))
    assert (say.tag, say.text) == ("Say", '</Say><Dial>+1</Dial>&"')


@pytest.mark.parametrize(
    ("language", "tag"),
    [("de", "de-DE"), ("de-AT", "de-AT"), ("pt-BR", "pt-BR"), ("EN", "en-US"), ("it", None), ("", None)],
)
def test_the_agents_words_are_spoken_in_its_language(language, tag):
    say, *_ = document(Path(Agent(language=language)).answered("Ja.", "", False, False))
    assert say.get("language") == tag


def test_the_houses_sentences_are_in_a_language_of_their_own():
    assert Path(Agent(language="de")).silent(1).said[0].language == "de-DE"
    assert Path(Agent(language="xx")).silent(1).said[0].language == "en-US"


def test_an_end_is_nothing_but_an_end():
    assert [verb.tag for verb in document(HANG_UP)] == ["Hangup"]


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_categories=()), max_size=60))
@example("\0\x19\ufffe\uffff\ud800\udfff")
@example("a\x0bb\x1b[0m & <b> ]]> \U0010ffff")
def test_whatever_a_model_says_the_document_can_be_read(text):
    answer = PATH.answered(text, "", False, False)
    greeting = Path(Agent(greeting=text, language="en"), text).opening()

    assert [verb.tag for verb in document(answer)] == ["Say", "Record", "Redirect"]
    assert [verb.tag for verb in document(greeting)][-3:] == ["Say", "Record", "Redirect"]
    said = ET.fromstring(render(greeting, WHERE, lambda: "T")).findall("Say")
    assert all((say.text or "").strip() for say in said)


def test_what_no_document_holds_is_left_out_and_the_rest_is_said():
    answer = PATH.answered("don\x19t\x0bworry\0 \ud83d\ufffe😀", "", False, False)
    assert document(answer)[0].text == "dont worry 😀"


# ---------------------------------------------------------------------- persons, limits, and asking again


def test_a_person_is_dialled_after_the_agents_words_or_the_houses():
    say, dial = document(PATH.transferring("sales", "+15557654321", "I will put you through."))
    assert (say.text, dial.tag, dial.get("answerOnBridge")) == ("I will put you through.", "Dial", "true")
    assert dial.get("action") == "https://v.example.com/phone/transfer-ended/CA1?destination=sales"
    assert [(each.tag, each.text) for each in dial] == [("Number", "+15557654321")]
    assert 0 < int(dial.get("timeout")) <= 30
    assert "connecting" in words(PATH.transferring("sales", "+15557654321"))[0]


def test_a_destinations_name_cannot_bend_the_address():
    *_, dial = document(PATH.transferring('a&b="c/../?', "+15557654321"))
    address = urlsplit(dial.get("action"))
    assert address.path == "/phone/transfer-ended/CA1"
    assert parse_qs(address.query) == {"destination": ['a&b="c/../?']}


def test_whom_nobody_answered_may_go_on_here():
    assert [verb.tag for verb in document(PATH.transfer_failed())] == ["Say", "Say", "Record", "Redirect"]


@pytest.mark.parametrize(("step", "why"), [("time_is_up", "max_duration"), ("too_dear", "max_cost")])
def test_a_limit_ends_with_a_sentence(step, why):
    ending = getattr(PATH, step)()
    assert [verb.tag for verb in document(ending)] == ["Say", "Hangup"]
    assert ending.why == why
    answer = PATH.answered("At nine.", "", False, True, ending=ending)
    assert (words(answer)[0], answer.then, answer.why) == ("At nine.", Then.HANG_UP, why)


def test_a_goodbye_comes_before_a_limit():
    answer = PATH.answered("Bye.", "", True, False, ending=PATH.time_is_up())
    assert (words(answer), answer.why) == (["Bye."], "goodbye")


def test_the_same_is_asked_again_with_its_own_question_and_a_count():
    where = replace(WHERE, asked="/phone/stream-ended/CA1?a=1&wait=4")
    pause, redirect = list(ET.fromstring(render(PATH.asking_again(4), where, lambda: "T")))
    assert (pause.tag, pause.get("length")) == ("Pause", "1")
    assert redirect.text == "https://v.example.com/phone/stream-ended/CA1?a=1&wait=5"


def test_of_the_first_questions_the_caller_hears_nothing_then_he_is_told():
    asked = [PATH.asking_again(waits) for waits in range(7)]
    assert [words(step) for step in asked] == [
        [],
        [],
        [],
        ["One moment, please."],
        [],
        [],
        ["One moment, please."],
    ]
    for step in asked[:4]:
        assert "Pause" not in render(step, WHERE, lambda: "T")
    assert PATH.asking_again(MOST_WAITS).then is Then.MESSAGE


def test_who_is_refused_hears_the_busy_tone():
    (reject,) = document(REJECT)
    assert (reject.tag, reject.get("reason")) == ("Reject", "busy")


@pytest.mark.parametrize(("within_s", "longest_s"), [(0, "120"), (30, "30"), (900, "120")])
def test_no_recording_is_longer_than_the_call_may_be(within_s, longest_s):
    record = document(replace(PATH.silent(1), within_s=within_s))[-2]
    assert record.get("maxLength") == longest_s


@pytest.mark.parametrize("language", ["en", "de", "es", "fr", "hi"])
def test_every_language_has_every_sentence_of_its_own(language):
    ours, english = sentences(language), sentences("en")
    said = asdict(ours)
    assert all(said.values())
    assert language == "en" or not set(said.values()) & set(asdict(english).values())

"""Goodbyes are told from talk about goodbyes."""

from __future__ import annotations

import pytest

from flaskapp.phone.farewell import is_goodbye


@pytest.mark.parametrize(
    "words",
    [
        "Goodbye.",
        "bye",
        "Bye-bye!",
        "Thank you, bye bye",
        "No, that's all, thank you.",
        "that will be all for today",
        "ok thanks, have a nice day!",
        "goodbye then, thank you",
        "Nothing else, thanks.",
        "Auf Wiederhören",
        "Gracias, adiós.",
        "Merci, au revoir.",
        "धन्यवाद, नमस्ते।",
    ],
)
def test_a_farewell_is_heard(words):
    assert is_goodbye(words)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "When do you open?",
        "How do I say goodbye",
        "what does goodbye mean",
        "I want to say goodbye to my contract",
        "Is that everything you have about bicycles?",
        "my dog is called goodbyes",
        "good night is when I sleep, when do you close",
    ],
)
def test_other_words_are_none(words):
    assert not is_goodbye(words)


def test_a_very_long_text_takes_no_time_to_judge():
    assert not is_goodbye("thank you " * 50_000 + "x")

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
        "¡Adiós!",
        "Ciao",
        "tschüs",
        "Tschüss!",
        "Danke, tschu\u0308ss",
        "I have what I need, goodbye.",
        "That's all I wanted to say, goodbye!",
        "Thanks for telling me about it. Bye.",
        "Good night.",
        "No, that’s it, thank you very much. See you then!",
        "Ok, talk to you later.",
        "Well, thanks a lot for your help, have a nice rest of your day.",
        "No thanks, nothing else. Bye",
        "Nein danke, das war alles.",
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
        "can I come and see you",
        "Can I talk to you later?",
        "do you sell nothing else",
        "one pizza, that's all",
        "my order number is 55, that's it",
        "Yes, that's it.",
        "is that all",
        "That's all?",
        "tell her good night",
        "tell her goodbye",
        "What is the word for goodbye?",
        "what is the word for goodbye",
        "I am calling about bye",
        "Cómo se dice adiós",
        "I hope you have a nice day",
        "नमस्ते",
        "Hello, good evening",
        "no, thank you",
        "good night is when I sleep, when do you close",
    ],
)
def test_other_words_are_none(words):
    assert not is_goodbye(words)


def test_a_very_long_text_takes_no_time_to_judge():
    assert not is_goodbye("thank you " * 50_000 + "x")
    assert not is_goodbye("thank you " * 50_000 + "that's all")
    assert not is_goodbye("that's all for now " * 10 + "x")
    assert not is_goodbye("say x " * 33 + "y")

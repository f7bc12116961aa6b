"""A model's markup, and what of it a caller hears."""

from __future__ import annotations

import pytest

from flaskapp.phone.engines.speakable import speakable

SPOKEN = {
    "We are open from nine to five.": "We are open from nine to five.",
    "We are **open** and *happy*.": "We are open and happy.",
    "__Yes__, _really_, ***now***, ~~never~~.": "Yes, really, now, never.",
    "# Opening hours\n\nNine to five.": "Opening hours Nine to five.",
    "We have:\n- apples\n- pears\n* plums": "We have: apples, pears, plums",
    "Do this:\n1. Call.\n2) Wait.": "Do this: Call. Wait.",
    "See [our page](https://x.example/a_b) or <https://y.example>.": "See our page or https://y.example.",
    "Look: ![a map](map.png)": "Look: a map",
    "Type `ls` now.": "Type ls now.",
    "```python\nprint(1)\n```\nThat is all.": "print(1) That is all.",
    "> quoted\n> lines": "quoted lines",
    "One.\n\n---\n\nTwo.": "One. Two.",
    "| Day | Hours |\n|---|---|\n| Monday | nine |": "Day, Hours Monday, nine",
    "A <b>bold</b> word<br/>": "A bold word",
    "two * three * four": "two * three * four",
    "my_file_name and 5 < 6 > 4": "my_file_name and 5 < 6 > 4",
    "It costs 3 * 4 = 12.": "It costs 3 * 4 = 12.",
    "  spaces \n\n  and\tlines  ": "spaces and lines",
    "": "",
    "**": "**",
    "営業時間は**九時**からです。": "営業時間は九時からです。",
}


@pytest.mark.parametrize(("written", "said"), SPOKEN.items())
def test_markup_is_left_out(written, said):
    assert speakable(written) == said


def test_a_long_answer_ends_with_a_sentence():
    text = "This is a sentence of some length. " * 60

    said = speakable(text)

    assert 1150 < len(said) <= 1200
    assert said.endswith("length.")


def test_a_number_s_point_ends_no_sentence():
    assert speakable("It costs 3.50 euros and more", most=14) == "It costs 3.50"


def test_a_long_answer_without_sentences_ends_with_a_word():
    said = speakable("word " * 500)

    assert len(said) <= 1200
    assert said.endswith("word")


def test_one_endless_word_is_cut():
    assert speakable("a" * 5000) == "a" * 1200


def test_sentences_of_other_scripts_end_too():
    assert speakable("はい。" * 1000, most=100) == "はい。" * 33


def test_markup_without_end_takes_no_time():
    for evil in (
        "*" * 50_000,
        "[" * 50_000,
        "_a" * 25_000,
        "<" * 50_000,
        "|" * 50_000,
        "- " * 25_000,
        "`" * 50_000,
    ):
        assert len(speakable(evil)) <= 1200


def test_what_no_voice_says_is_left_out():
    assert speakable("We\0 are\x19 open\x0btoday\ud800.\uffff") == "We are open today."
    assert speakable("\0\x1b\ufffe") == ""

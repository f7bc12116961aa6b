"""A model's text as it can be read aloud on a telephone: no markup, not endless."""

from __future__ import annotations

import re

from flaskapp.phone.voice import sayable

MOST_CHARACTERS = 1200  # about eighty seconds of speech
_SENTENCE_END = re.compile(r"[.!?…](?=[\s\"')\]]|$)|[。！？]")
_ENTRY = "\0"
_PAUSE = re.compile(rf"([.!?:;,])?\s*{_ENTRY}")

# In this order: what holds others comes first.
_MARKUP: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"^[ \t]*(```|~~~).*$", re.M), ""),  # fences; what is between them is read
    (re.compile(r"!?\[([^\]\n]*)\]\([^)\n]*\)"), r"\1"),  # links and pictures: their words
    (re.compile(r"<(https?://[^>\s]+)>"), r"\1"),
    (re.compile(r"</?[a-zA-Z][^<>\n]*>"), ""),
    (re.compile(r"^[ \t]*#{1,6}[ \t]+(.*?)[ \t]*#*[ \t]*$", re.M), r"\1"),
    (re.compile(r"^[ \t]*>+[ \t]?", re.M), ""),
    (re.compile(r"^[ \t]*(?:[-*_][ \t]*){3,}$", re.M), ""),  # rules
    (
        re.compile(r"^[ \t]*\|?[ \t]*:?-{2,}:?[ \t]*(?:\|[ \t]*:?-{2,}:?[ \t]*)*\|?[ \t]*$", re.M),
        "",
    ),  # under a table's head
    (re.compile(r"^[ \t]*(?:[-*+•]|\d{1,3}[.)])\s+", re.M), _ENTRY),  # of a list
    (re.compile(r"(\*\*\*|\*\*|__|~~)(?=\S)(.+?)(?<=\S)\1"), r"\2"),
    (re.compile(r"(?<![\w*])\*(?=\S)([^*\n]+?)(?<=\S)\*(?![\w*])"), r"\1"),
    (re.compile(r"(?<![\w_])_(?=\S)([^_\n]+?)(?<=\S)_(?![\w_])"), r"\1"),
    (re.compile(r"`+([^`\n]*)`+"), r"\1"),
    (re.compile(r"[ \t]*\|[ \t]*"), ", "),
)


def speakable(text: str, most: int = MOST_CHARACTERS) -> str:
    """The text without markup, in one paragraph, at most ``most`` characters, cut at a sentence."""
    text = sayable(text[: 8 * most])  # first: an entry is marked with what it takes out
    for pattern, plain in _MARKUP:
        text = pattern.sub(plain, text)
    lines = (" ".join(line.split()).strip(", ") for line in text.splitlines())
    whole = _PAUSE.sub(lambda found: f"{found[1] or ','} ", " ".join(line for line in lines if line))
    return _shortened(whole.strip(" ,"), most)


def _shortened(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    ends = [found.end() for found in _SENTENCE_END.finditer(text[: most + 1]) if found.end() <= most]
    if ends:
        return text[: ends[-1]]
    return text[:most].rpartition(" ")[0] or text[:most]

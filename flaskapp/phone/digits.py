"""Numbers that are spoken or typed, masked: cards, PINs, codes, whether in digits or in words.

Three digits or more in a row are a number, however they are spaced, and number
words count like digits; each is replaced by a point. Of a line that still
grows whatever number it ends with is masked, too, however short: more of it
may follow. Keys that were pressed are masked whatever they are.
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import groupby, pairwise
from typing import TypeVar

from flaskapp.phone.commands import TellLine
from flaskapp.phone.directives import Message
from flaskapp.phone.transcript import Line

MASK = "•"
LEAST = 3
#: English, German, Spanish, French.
_SPELT = """
    zero oh one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety
    hundred thousand double triple
    null eins ein zwei zwo drei vier fünf sechs sieben acht neun zehn elf zwölf
    cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce
    zéro un deux trois quatre cinq sept huit neuf dix onze douze
"""
WORDS = tuple(dict.fromkeys(_SPELT.split()))
_TOKEN = re.compile(
    rf"\d|(?<![^\W\d_])(?:{'|'.join(sorted(WORDS, key=len, reverse=True))})(?![^\W\d_])", re.IGNORECASE
)
_BETWEEN = re.compile(r"[\W_]{0,4}")
_TAIL = re.compile(r"[\W_]{0,4}([^\W\d_]*)")
_KEYS = re.compile(r"(?<=\[keys pressed: )[^\]]*")
_NAME = re.compile(r"(?=.*[A-Za-z_])[\w.:/-]+")
SHORTEST_PART = 2  # of a word that is still growing
_Line = TypeVar("_Line", Line, TellLine)


def masked(text: str, is_open: bool = False) -> str:
    """The text without its numbers; doing it twice changes nothing more.

    Args:
        is_open: more may follow where it ends.
    """
    shown = list(_KEYS.sub(lambda keys: re.sub(r"[^\s•]", MASK, keys.group()), text))
    plain = "".join(shown)
    for begin, end in _hidden(plain, is_open):
        shown[begin:end] = [MASK, *[""] * (end - begin - 1)]
    return "".join(shown)


def masked_line(line: _Line) -> _Line:
    """A line as it is kept and told; where it was cut off, it may have been in a number's middle."""
    text = masked(line.text, is_open=line.interrupted or not (line.is_final or line.is_said))
    return replace(line, text=text, generated=masked(line.generated))


def masked_message(message: Message) -> Message:
    """A message without numbers in its words; how to call back is what it is for."""
    return replace(message, text=masked(message.text))


def masked_field(text: str) -> str:
    """What a protocol's message says, unless that is the name of something."""
    return text if _NAME.fullmatch(text) else masked(text)


def _hidden(text: str, is_open: bool) -> list[tuple[int, int]]:
    """Where each digit and each word stands that is not to be seen."""
    hidden: list[tuple[int, int]] = []
    for run in _runs(text):
        tail = _TAIL.fullmatch(text, run[-1][1]) if is_open else None
        grows = tail is not None and (not tail[1] or _may_be_number(tail[1]))
        if len(run) >= LEAST or grows:
            hidden += run
    last = re.search(r"(?<![^\W\d_])[^\W\d_]+$", text) if is_open else None
    if last and len(last[0]) >= SHORTEST_PART and _may_be_number(last[0]) and last.span() not in hidden:
        hidden.append(last.span())
    return hidden


def _runs(text: str) -> list[list[tuple[int, int]]]:
    """Digits and number words that follow on each other."""
    spans = [token.span() for token in _TOKEN.finditer(text)]
    gaps = [0][: len(spans)] + [
        int(not _BETWEEN.fullmatch(text, before[1], after[0])) for before, after in pairwise(spans)
    ]
    number, numbered = 0, []
    for span, gap in zip(spans, gaps, strict=True):
        number += gap
        numbered.append((number, span))
    return [[span for _, span in run] for _, run in groupby(numbered, key=lambda each: each[0])]


def _may_be_number(part: str) -> bool:
    return any(word.startswith(part.lower()) for word in WORDS)

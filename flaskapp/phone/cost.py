"""What a call costs: its engine's counts, priced by a table.

Counts have the names that ``engines/realtime.py`` and ``engines/batch.py`` give
them, and prices have the names of the counts that they are for:

    input_tokens                    of a session: all that went in
    |-- input_text_tokens           ... of it text; of that input_cached_text_tokens were known already
    |-- input_audio_tokens          ... and input_cached_audio_tokens
    `-- input_image_tokens          ... and input_cached_image_tokens
    output_tokens                   all that came out
    |-- output_text_tokens
    `-- output_audio_tokens
    seconds                         of sound, where a service counts those

The same with ``transcription_`` before it for who writes down the caller's
words, and with ``chat_`` for the model that answers recordings. What is part of
a sum is not paid again with the sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite

MILLION = 1_000_000
KINDS = ("text", "audio", "image")
SOURCES = ("", "transcription_", "chat_")

#: US dollars per million tokens, or per million seconds: gpt-realtime-2.1, gpt-transcribe (by the second),
#: gpt-4o-transcribe (by the token), gpt-6-luna. Source: https://developers.openai.com/api/docs/pricing
LIST_PRICES: Mapping[str, float] = {
    "input_tokens": 32.0,  # a sum of unknown parts: as if all of it were sound
    "input_text_tokens": 4.0,
    "input_audio_tokens": 32.0,
    "input_image_tokens": 5.0,
    "input_cached_text_tokens": 0.4,
    "input_cached_audio_tokens": 0.4,
    "input_cached_image_tokens": 0.5,
    "output_tokens": 64.0,
    "output_text_tokens": 24.0,
    "output_audio_tokens": 64.0,
    "transcription_seconds": 75.0,
    "transcription_input_tokens": 6.0,
    "transcription_input_text_tokens": 2.5,
    "transcription_input_audio_tokens": 6.0,
    "transcription_output_tokens": 10.0,
    "chat_input_tokens": 0.1,
    "chat_input_cached_tokens": 0.01,
    "chat_output_tokens": 0.5,
}


def _names() -> frozenset[str]:
    inputs = [f"input_{cached}{kind}_tokens" for kind in KINDS for cached in ("", "cached_")]
    outputs = [f"output_{kind}_tokens" for kind in KINDS]
    plain = [
        *("input_tokens", "input_cached_tokens", *inputs),
        *("output_tokens", *outputs, "seconds"),
    ]
    return frozenset(source + name for source in SOURCES for name in plain)


#: Every count that may have a price.
NAMES = _names()


@dataclass(frozen=True)
class Prices:
    """What engines charge, in US dollars per million, by the name of the count.

    A count without a price costs what its sum does: ``chat_input_audio_tokens`` as ``chat_input_tokens``.
    """

    per_million: Mapping[str, float] = field(default_factory=lambda: dict(LIST_PRICES))

    def cost_usd(self, usage: Mapping[str, float]) -> float:
        """What so much costs; names that nobody knows cost nothing."""
        counts = {name: float(usage[name]) for name in NAMES if _is_amount(usage.get(name))}
        return sum(self._of(source, counts) for source in SOURCES) / MILLION

    def _of(self, source: str, counts: Mapping[str, float]) -> float:
        seconds = counts.get(f"{source}seconds", 0.0) * self.per_million.get(f"{source}seconds", 0.0)
        return seconds + self._input(source, counts) + self._output(source, counts)

    def _input(self, source: str, counts: Mapping[str, float]) -> float:
        parts = {kind: counts.get(f"{source}input_{kind}_tokens", 0.0) for kind in KINDS}
        whole = max(counts.get(f"{source}input_tokens", 0.0), sum(parts.values()))
        cached = self._cached(source, counts, parts, whole)
        total = 0.0
        for kind, count in {**parts, "": whole - sum(parts.values())}.items():
            known = cached[kind]
            total += (count - known) * self._price(source, "input", kind, any(parts.values()))
            total += known * self._cached_price(source, kind, any(parts.values()))
        return total

    def _cached(
        self, source: str, counts: Mapping[str, float], parts: Mapping[str, float], whole: float
    ) -> dict[str, float]:
        """How much of each kind was known already; where only the sum is told, text comes first."""
        cached = {
            kind: min(counts.get(f"{source}input_cached_{kind}_tokens", 0.0), count)
            for kind, count in parts.items()
        }
        left = counts.get(f"{source}input_cached_tokens", 0.0) - sum(cached.values())
        for kind, count in parts.items():
            more = max(min(left, count - cached[kind]), 0.0)
            cached[kind] += more
            left -= more
        return {**cached, "": max(min(left, whole - sum(parts.values())), 0.0)}

    def _output(self, source: str, counts: Mapping[str, float]) -> float:
        parts = {kind: counts.get(f"{source}output_{kind}_tokens", 0.0) for kind in KINDS}
        rest = max(counts.get(f"{source}output_tokens", 0.0) - sum(parts.values()), 0.0)
        has_parts = any(parts.values())
        return sum(
            count * self._price(source, "output", kind, has_parts)
            for kind, count in {**parts, "": rest}.items()
        )

    def _price(self, source: str, way: str, kind: str, has_parts: bool) -> float:
        """Of one kind; what a sum has beyond its parts (a model's thoughts, separators) is text."""
        named = kind or ("text" if has_parts else "")
        names = [f"{source}{way}_{named}_tokens"] if named else []
        return self._first(*names, f"{source}{way}_tokens") or 0.0

    def _cached_price(self, source: str, kind: str, has_parts: bool) -> float:
        named = kind or ("text" if has_parts else "")
        names = [f"{source}input_cached_{named}_tokens"] if named else []
        price = self._first(*names, f"{source}input_cached_tokens")
        return self._price(source, "input", kind, has_parts) if price is None else price

    def _first(self, *names: str) -> float | None:
        return next((self.per_million[name] for name in names if name in self.per_million), None)


#: Where nothing is charged, as by a server on this machine.
FREE = Prices({})
MOST_USD_PER_MILLION = 1_000_000


def read_prices(text: str, known: Mapping[str, float] = LIST_PRICES) -> Prices:
    """``input_audio_tokens=10, output_audio_tokens=20`` over the prices that are known.

    Raises:
        ValueError: what is wrong with the text, naming each name that no count has.
    """
    own: dict[str, float] = {}
    problems = []
    for entry in (each.strip() for each in text.split(",") if each.strip()):
        name, _, price = (part.strip() for part in entry.partition("="))
        if name not in NAMES:
            problems.append(f"no count is called {name}" if name.isidentifier() else "there is no name=price")
        elif name in own:
            problems.append(f"{name} is there twice")
        elif not _is_price(price):
            problems.append(f"{name} needs a number from 0 to {MOST_USD_PER_MILLION:,}")
        else:
            own[name] = float(price)
    if problems:
        raise ValueError(
            f"is wrong: {'; '.join(problems)}; write name=price, ... with US dollars per million and names"
            f" such as {', '.join(LIST_PRICES)}"
        )
    return Prices({**known, **own})


def _is_price(text: str) -> bool:
    try:
        return _is_amount(float(text)) and float(text) <= MOST_USD_PER_MILLION
    except ValueError:
        return False


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and value >= 0

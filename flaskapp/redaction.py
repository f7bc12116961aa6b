"""What a log may not show: tickets, keys, passwords and whole phone numbers, taken out of any text."""

from __future__ import annotations

import re
from collections.abc import Iterable

HIDDEN = "<redacted>"
# Shorter ones would be found in innocent words.
SHORTEST_SECRET = 6

# Digits with a plus sign may be spaced as people write them; without it, only a run of 10 to 15
# digits that stands alone is taken for a number. `%2B` is a plus sign in an address.
PHONE = re.compile(
    r"(?<![\w+])\+\d[\d ().-]{5,20}\d(?!\w)"
    r"|%2B\d{7,15}(?!\w)"
    r"|(?<![\w.+:/-])\d{10,15}(?![\w.:/-])"
)
DIGIT = re.compile(r"\d")

# (where a secret is recognised, what is left of it)
PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?i)(/phone/stream-audio/[^/\s?\"']+/)(?!complete\b)[^/\s?\"'&]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)(/phone/speech/[^/\s?\"']+/[^/\s?\"']+/)[^/\s?\"'&]+"), rf"\1{HIDDEN}"),
    (re.compile(r"\bticket\.[A-Za-z0-9_.~+/=-]+"), f"ticket.{HIDDEN}"),
    (
        re.compile(
            r"(?i)\b((?:proxy-)?authorization|api[-_]?key|x-twilio-signature|cookie|set-cookie)"
            r"(['\"]?\s?[:=]\s?['\"]?)(?:basic |bearer )?[^\s,;'\"}\]]+"
        ),
        rf"\1\2{HIDDEN}",
    ),
    (re.compile(r"(?i)\b(basic|bearer) [A-Za-z0-9_.~+/=-]{8,}"), rf"\1 {HIDDEN}"),
    (
        re.compile(r"(?i)\b(ticket|token|password|secret|signature)(['\"]?[=:]\s?['\"]?)[^\s&,;'\"}\]]+"),
        rf"\1\2{HIDDEN}",
    ),
    (re.compile(r"\bsk-[A-Za-z0-9_-]{8,}"), HIDDEN),
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^/\s@'\"]*:[^/\s@'\"]*@"), rf"\1{HIDDEN}@"),
)


def mask_number(number: str) -> str:
    """`+14155550123` -> `*******0123`: the last four digits, enough to find a caller again.

    What has no digits (`anonymous`) is left; what has four or fewer shows none of them.
    """
    digits = DIGIT.findall(number)
    if not digits:
        return number.strip() or "unknown"
    if len(digits) <= 4:
        return "*" * len(digits)
    return "*" * (len(digits) - 4) + "".join(digits[-4:])


class Redactor:
    """Takes secrets and numbers out of text; knows patterns, and the configured values themselves."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted({each for each in secrets if len(each) >= SHORTEST_SECRET}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, text: str) -> str:
        """The same text, fit for a log; doing it twice changes nothing more."""
        if self._known:
            text = self._known.sub(HIDDEN, text)
        for pattern, left in PATTERNS:
            text = pattern.sub(left, text)
        return PHONE.sub(lambda found: mask_number(found.group()), text)

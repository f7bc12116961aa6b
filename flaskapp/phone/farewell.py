"""Whether a caller has just said goodbye."""

from __future__ import annotations

import re

# A farewell ends what is said; "goodbye" in the middle ("say goodbye to my contract") does not.
_FAREWELLS = (
    r"(good ?)?bye(( |-)?bye)?",
    r"good night",
    r"see you( (soon|later|then))?",
    r"talk to you (soon|later)",
    r"have a (nice|good|great|lovely) (day|evening|weekend|night|one)",
    r"(that is|that's|that was|that will be|that would be) (all|it|everything)"
    r"(,? (thank you|thanks|for (now|today)))*",
    r"nothing else(,? (thank you|thanks))*",
    r"(auf wieder(hören|sehen)|tschüss|schönen tag noch)",
    r"(adiós|hasta luego|hasta pronto)",
    r"(au revoir|bonne (journée|soirée))",
    r"(नमस्ते|अलविदा)",
)
_POLITE = (
    r"([,.!। ]+(thank you|thanks|then|now|sir|madam|for your help|so much|very much"
    r"|danke|gracias|merci|धन्यवाद))*"
)
_ENDS = re.compile(rf"(^|[\s,.!?।])({'|'.join(_FAREWELLS)}){_POLITE}[\s.!।]*$", re.IGNORECASE)
_LONGEST = 200  # who says more than this has something to say before the farewell, which may be a quotation


def is_goodbye(words: str) -> bool:
    """Whether these words end in a farewell: English, German, Spanish, French or Hindi."""
    said = " ".join(words[-_LONGEST:].split())
    return bool(_ENDS.search(said)) and not _is_about_it(said)


def _is_about_it(said: str) -> bool:
    """``How do I say goodbye`` asks about the word."""
    return bool(re.search(r"\b(say|says|said|saying|word|means?)\W+\S*\W*\S+\W*$", said, re.IGNORECASE))

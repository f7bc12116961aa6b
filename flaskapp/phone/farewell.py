"""Whether a caller has just said goodbye."""

from __future__ import annotations

import re
import unicodedata

# At the end of whatever was said; "goodbye" in the middle ("goodbye to my contract") is none.
_GOODBYES = (
    r"(?:good ?)?bye(?:[ -]?bye)?",
    r"auf wieder(?:hören|sehen)|tschüss?",
    r"adiós|hasta (?:luego|pronto)",
    r"au revoir",
    r"ciao",
    r"अलविदा",
)
# Only by themselves: elsewhere they ask for something ("can I come and see you") or tell something.
_CLOSINGS = (
    r"good night",
    r"see you(?: (?:soon|later|then|around|tomorrow|next week))?",
    r"talk to you (?:soon|later|tomorrow)",
    r"have a (?:nice|good|great|lovely) (?:rest of (?:the|your) )?(?:day|evening|weekend|night|one)",
    r"(?:that is|that's|that was|that will be|that'll be|that would be) (?:all|it|everything)"
    r"(?: (?:i need|i needed|i wanted|i wanted to know))?",
    r"(?:there is |there's )?nothing else",
    r"schönen (?:tag|abend)(?: noch)?|das (?:war|ist|wäre) alles",
    r"eso es todo|nada más",
    r"bonne (?:journée|soirée)|c'est tout",
    r"(?:धन्यवाद|शुक्रिया) नमस्ते",  # without thanks it is a hello
)
_CONFIRMS = r"(?:yes|yeah|yep|right|exactly) (?:that's|that is) it"
_PLEASANTRIES = (
    r"thank you|thanks|so much|very much|a lot|for (?:your (?:help|time)|everything|now|today)",
    r"no|nope|yes|yeah|yep|ok|okay|oh|well|alright|all right|great|good|perfect|fine|right|so|and|then|now",
    r"i think|i guess|please|sir|madam|ma'am|you too",
    r"nein|ja|gut|vielen|danke|sí|bueno|vale|muchas|gracias|non|oui|bien|merci|beaucoup",
    r"जी|हाँ|नहीं|ठीक है|धन्यवाद|शुक्रिया",
)
_POLITE = (
    r"(?:[,.!। ]+(?:and|thank you|thanks|then|now|sir|madam|for your help|so much|very much"
    r"|danke|gracias|merci|धन्यवाद))*"
)
_ENDS = re.compile(rf"(?:^|[\s,.!?।¡¿\"'])(?P<goodbye>{'|'.join(_GOODBYES)}){_POLITE}[\s.!।\"']*$")
# "How do I say goodbye", "tell her bye" are about the word; "that is all I wanted to say, goodbye" is not.
_IS_ABOUT_IT = re.compile(
    r"\b(?:say|says|said|saying|tells?|telling|told|words?|about|means?|called"
    r"|sagt?|sagen|heißt|wort|dice|decir|palabra|dit(?:-on)?|dire|mot)(?:[\s:\"'¡¿]+[^\s,.;!?।]+){0,2}[\s:\"'¡¿]*$"
)
_PART = re.compile(
    rf"(?:{_CONFIRMS}|(?P<farewell>{'|'.join(_GOODBYES + _CLOSINGS)})|{'|'.join(_PLEASANTRIES)})(?: |$)"
)
_POINTS = re.compile(r"[\s,.!।¡;:…\"“”„«»-]+")
_LONGEST = 200  # who says more than this has something to say before the farewell, which may be a quotation


def is_goodbye(words: str) -> bool:
    """Whether these words end in a goodbye, or are nothing but closing words.

    English, German, Spanish, French or Hindi.
    """
    said = " ".join(words[-_LONGEST:].split()).replace("’", "'")
    said = unicodedata.normalize("NFC", said).lower()
    if found := _ENDS.search(said):
        return not _IS_ABOUT_IT.search(said[: found.start("goodbye")])
    return len(words) <= _LONGEST and _is_closing(_POINTS.sub(" ", said).strip())


def _is_closing(said: str) -> bool:
    """Whether a text without points is closing words and pleasantries from end to end."""
    at, is_farewell = 0, False
    while at < len(said):
        found = _PART.match(said, at)
        if found is None:
            return False
        is_farewell = is_farewell or found["farewell"] is not None
        at = found.end()
    return is_farewell

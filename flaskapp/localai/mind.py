"""The scripted mind of the desk: what was said so far in, the next thing to say or call out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from flaskapp.localai import tools

GREETING = "Hello. I am the local stand-in at this desk. How can I help you?"
ASK_FOR_MESSAGE = "Of course. Please say your message now."
_OPENING_HOURS = "We are open from nine to five, Monday to Friday."
_WORDS_ECHOED = 14  # so that a reply to anything stays a few seconds long


class Speaker(Enum):
    """Whose line it is; a function's call and its result are lines too."""

    CALLER = "caller"
    AGENT = "agent"
    SYSTEM = "system"
    CALL = "call"
    RESULT = "result"


@dataclass(frozen=True)
class Line:
    """One line of the conversation; ``name`` is the function's, for a call."""

    speaker: Speaker
    text: str
    name: str = ""


@dataclass(frozen=True)
class Say:
    """The reply is to be spoken (or written)."""

    text: str


@dataclass(frozen=True)
class Call:
    """The reply is to have a function called, after ``saying`` something; ``arguments`` is JSON."""

    name: str
    arguments: str
    saying: str = ""


_INTENTS = (  # the first that fits; so "no thank you, goodbye" is a goodbye
    ("override", r"\b(ignore|forget)\b.*\b(rules|instructions)\b.*\b(call|dial|ring|transfer|connect)\b"),
    ("hours", r"\b(hours|opening times|open|close|closed)\b"),
    ("message", r"\b(message|voice mail|voicemail|a note|(call|ring) me back)\b"),
    (
        "transfer",
        r"\b(transfer|connect|forward|put me (through|on)|operator|representative|receptionist|agent)\b"
        r"|\b(speak|talk) (to|with)\b.*\b(person|human|someone|somebody|manager|supervisor|department|team"
        r"|sales|billing|support|service|reception|colleague)\b|\breal person$|^(a )?(human|person)$",
    ),
    ("repeat", r"\b(repeat|say (that|it) again|pardon|what (did you say|was that)|come again|once more)\b"),
    ("repeat", r"\bi (did not|didn't|could not|couldn't) (catch|hear|understand|get)\b"),
    ("who", r"\b(robot|machine|computer|who (am i|are you|is this)|your name|what company)\b"),
    ("who", r"\bare you (a (real )?)?(human|person|real)\b"),
    ("where", r"\b(where (are you|is your)|address|located|find you|get there)\b"),
    ("goodbye", r"\b(good ?bye|bye|good night|see you|hang up|nothing else|i am done|i'm done)\b"),
    ("goodbye", r"\b(that is|that's|that was|that will be|that would be) (all|it|everything)\b"),
    ("goodbye", r"\bhave a (nice|good|great) day\b"),
    ("thanks", r"^(great |perfect |okay |many )?(thank you|thanks)\b"),
    ("help", r"\b(help|what can you do|have a question|have a problem|ask you)\b"),
    ("greeting", r"^(hello|hi|hey|good (morning|afternoon|evening))\b"),
    ("wait", r"^(wait|stop|hold on|one moment)\b"),
    ("no", r"^(no|nope|not now)\b"),
    ("yes", r"^(yes|yeah|yep|sure|okay|of course|right|correct|all right)\b"),
)
_SPOKEN = {
    "override": "I would, but I have no telephone here.",
    "transfer": "I am only a stand-in here, so there is nobody I could connect you to.",
    "goodbye": "Thank you for calling. Goodbye.",
    "thanks": "You are welcome. Is there anything else?",
    "who": "I am a scripted stand-in on this machine, not a person.",
    "where": "I have not been told the address.",
    "help": "I can tell you the opening hours, take a message, or connect you to a person.",
    "greeting": "Hello. How can I help you?",
    "wait": "All right, take your time.",
    "yes": "Good. What can I do for you?",
    "no": "All right. Just say goodbye when you are done.",
    "": "Sorry, I could not hear that. Could you say it again?",
}
_AFTERWARDS = {
    "transfer": "One moment please.",
    "message": "Thank you. I have taken your message.",
    "goodbye": "Goodbye.",
    None: "That is done. Is there anything else?",
}
_BEFOREHAND = {  # said in the same response, before the function is called
    "transfer": "I am connecting you now.",
    "override": "I am connecting you now.",
    "goodbye": _SPOKEN["goodbye"],
}
_ASKED_FOR = (  # what a response may be asked to say in its own words; the first that fits
    (r"still there", "Are you still there?"),
    (r"connecting", "I am connecting you now."),
    (r"\btime\b|\blimit", "I am sorry, this call has reached its limit. Thank you for calling. Goodbye."),
    (r"good ?bye", "Thank you for calling. Goodbye."),
    (r"moment|wait|looking|patience", "One moment please."),
)
_IN_SHORT = re.compile(r"\bone (short|brief)\b", re.I)
_GOES_ON = re.compile(r"\b(do not|don't|never) greet", re.I)
_SORRY = "I am sorry, that did not work."
_NOBODY_THERE = "I am sorry, nobody could be reached. Is there anything else I can do?"
_FAILURE = re.compile(
    r"error|fail|unavailable|\b(not|cannot|nobody|refused|busy)\b|no.answer",
    re.I,
)
_KEYS = re.compile(r"\b(?:press|key|dtmf|typ)[a-z]*\b\D*?((?:[0-9*#][\s,.-]*)+)", re.I)
_KEY_NAMES = {"*": "star", "#": "pound"}
_QUOTED = re.compile(r'"([^"]+)"|\N{LEFT DOUBLE QUOTATION MARK}(.+?)\N{RIGHT DOUBLE QUOTATION MARK}', re.S)


def answer(
    lines: Sequence[Line],
    instructions: str,
    asked: str | None = None,
    offered: Sequence[dict[str, Any]] = (),
    forced: str | None = None,
) -> Say | Call:
    """The desk's next move.

    ``instructions`` are the session's, ``asked`` those of this one response, in
    which a text in double quotes is spoken exactly, and one short sentence may
    be asked for. ``offered`` are the function tools as the API describes them;
    ``forced`` names one that must be called now.
    """
    told = "" if _GOES_ON.search(asked or "") else _asked_for(asked or "")
    if told:
        return Say(told)
    last = lines[-1] if lines else None
    if forced is not None:
        return _call_forced(forced, offered, last)
    if last is not None and last.speaker is Speaker.RESULT:
        return Say(_after_result(lines))
    if last is not None and last.speaker is Speaker.CALLER:
        return _to_caller(lines, instructions, offered)
    if any(line.speaker in (Speaker.CALLER, Speaker.AGENT) for line in lines):
        if last is not None and last.speaker is Speaker.SYSTEM and _FAILURE.search(last.text):
            return Say(_NOBODY_THERE)
        return Say("Are you still there?" if "there" in (asked or "") else "Is there anything else?")
    return Say(quoted(instructions) or GREETING)


def intent_of(heard: str) -> str:
    """What the caller is after: a name from the script, "" for silence, "unknown" for the rest."""
    words = heard.lower().strip(" .,!?")
    if not words:
        return ""
    return next((intent for intent, pattern in _INTENTS if re.search(pattern, words)), "unknown")


def quoted(instructions: str) -> str:
    """The first text in double quotes, "" if there is none."""
    found = _QUOTED.search(instructions)
    return (found[1] or found[2]).strip() if found else ""


def keys_in(text: str) -> str:
    """The telephone keys that a text speaks of, "" for none: a caller's ears write no digits."""
    found = _KEYS.search(text)
    return re.sub(r"[^0-9*#]", "", found[1]) if found else ""


def _asked_for(asked: str) -> str:
    """What a response was asked to say, "" if it is to be an answer like any other."""
    if exact := quoted(asked):
        return exact
    if not _IN_SHORT.search(asked):
        return ""
    return next((said for pattern, said in _ASKED_FOR if re.search(pattern, asked, re.I)), "")


def _to_caller(lines: Sequence[Line], instructions: str, offered: Sequence[dict[str, Any]]) -> Say | Call:
    heard = lines[-1].text
    if pressed := keys_in(heard):
        return Say(f"You pressed {' '.join(_KEY_NAMES.get(key, key) for key in pressed)}.")
    intent = intent_of(heard)
    dictating = _is_dictating(lines) and intent not in ("", "goodbye", "repeat", "no", "wait")
    if dictating:
        intent = "message"
    tool = tools.fitting(intent, offered) or tools.spoken_of(heard, offered)
    if tool is not None and (intent != "message" or dictating or not tools.takes_words(tool)):
        return Call(tool["name"], tools.arguments(tool, heard), _BEFOREHAND.get(intent, ""))
    if intent == "message":
        return Say(f"Thank you, I noted: {_echo(heard)}." if dictating else ASK_FOR_MESSAGE)
    if intent == "hours":
        return Say(_told_hours(instructions) or _OPENING_HOURS)
    if intent == "repeat":
        return Say(_said_before(lines))
    return Say(_SPOKEN[intent] if intent in _SPOKEN else _unknown(lines, heard))


def _is_dictating(lines: Sequence[Line]) -> bool:
    """Whether the caller was just asked for the message, and has not given it yet."""
    earlier = [line for line in lines[:-1] if line.speaker in (Speaker.CALLER, Speaker.CALL)]
    if not earlier or earlier[-1].speaker is not Speaker.CALLER:
        return False
    before = [line.text for line in earlier if line.speaker is Speaker.CALLER]
    return intent_of(before[-1]) == "message" and not _noted(lines)


def _noted(lines: Sequence[Line]) -> bool:
    said = [line.text for line in lines if line.speaker is Speaker.AGENT and line.text]
    return bool(said) and said[-1].startswith("Thank you, I noted")


def _told_hours(instructions: str) -> str:
    """The sentence of the instructions that tells the opening hours, if one does."""
    sentences = re.split(r"(?<=[.!?])\s+|\n+", instructions)
    return next((each.strip() for each in sentences if re.search(r"\b(open|hours)\b.*\d", each, re.I)), "")


def _said_before(lines: Sequence[Line]) -> str:
    said = [line.text for line in lines if line.speaker is Speaker.AGENT]
    if not said:
        return "I have not said anything yet. How can I help you?"
    return said[-1] or "I was interrupted. How can I help you?"


def _unknown(lines: Sequence[Line], heard: str) -> str:
    said = " ".join(line.text for line in lines if line.speaker is Speaker.AGENT)
    if "stand-in" in said:
        return f"You said: {_echo(heard)}."
    return f"You said: {_echo(heard)}. I am only the local stand-in, I do not know more."


def _echo(heard: str) -> str:
    words = heard.split()
    return " ".join(words[:_WORDS_ECHOED]) + (" and so on" if len(words) > _WORDS_ECHOED else "")


def _call_forced(name: str, offered: Sequence[dict[str, Any]], last: Line | None) -> Call:
    tool = next((each for each in offered if each["name"] == name), {"name": name})
    return Call(name, tools.arguments(tool, last.text if last else ""))


def _after_result(lines: Sequence[Line]) -> str:
    output = lines[-1].text
    if _FAILURE.search(output):
        return _SORRY
    called = next((line.name for line in reversed(lines) if line.speaker is Speaker.CALL), "")
    intent = tools.intent_for(called)
    return _AFTERWARDS[intent] if intent else tools.words_of(output) or _AFTERWARDS[None]

"""TwiML's verbs and their attributes, as a table.

Sources: Twilio's page of each verb; defaults are Twilio's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


class Url(str):
    """An attribute's text that is a URL, perhaps a relative one."""

    __slots__ = ()


@dataclass(frozen=True)
class Parameter:
    """A custom parameter of a stream."""

    name: str
    value: str


@dataclass(frozen=True)
class Stream:
    """Where the call's audio goes."""

    url: str
    name: str = ""
    track: str = "inbound_track"
    status_callback: str = ""
    status_callback_method: str = "POST"
    children: tuple[Parameter, ...] = ()


@dataclass(frozen=True)
class Connect:
    """Hands the call to a bidirectional stream and waits for its end."""

    action: str = ""
    method: str = "POST"
    children: tuple[Stream, ...] = ()


@dataclass(frozen=True)
class Say:
    """Speaks text."""

    text: str = ""
    voice: str = ""
    language: str = ""
    loop: int = 1


@dataclass(frozen=True)
class Play:
    """Plays a file or keys."""

    url: str = ""
    digits: str = ""
    loop: int = 1


@dataclass(frozen=True)
class Pause:
    """Waits in silence."""

    length: int = 1


@dataclass(frozen=True)
class Record:
    """Records the caller."""

    action: str = ""
    method: str = "POST"
    timeout: int = 5
    finish_on_key: str = "1234567890*#"
    max_length: int = 3600
    play_beep: bool = True
    trim: str = "trim-silence"
    recording_status_callback: str = ""
    recording_status_callback_method: str = "POST"
    recording_status_callback_event: str = "completed"
    transcribe: bool = False
    transcribe_callback: str = ""


@dataclass(frozen=True)
class Gather:
    """Collects keys, while its own Say, Play and Pause are heard."""

    input: str = "dtmf"
    action: str = ""
    method: str = "POST"
    timeout: int = 5
    finish_on_key: str = "#"
    num_digits: int = 0
    action_on_empty_result: bool = False
    speech_timeout: str = ""
    speech_model: str = ""
    enhanced: bool = False
    language: str = ""
    hints: str = ""
    profanity_filter: bool = True
    partial_result_callback: str = ""
    partial_result_callback_method: str = "POST"
    barge_in: bool = True
    children: tuple[Say | Play | Pause, ...] = ()


@dataclass(frozen=True)
class Number:
    """A number inside ``<Dial>``."""

    text: str = ""
    url: str = ""
    method: str = "POST"
    send_digits: str = ""


@dataclass(frozen=True)
class Dial:
    """Connects the caller to somebody else."""

    text: str = ""
    action: str = ""
    method: str = "POST"
    answer_on_bridge: bool = False
    caller_id: str = ""
    time_limit: int = 14400
    timeout: int = 30
    hangup_on_star: bool = False
    record: str = "do-not-record"
    sequential: bool = False
    refer_url: str = ""
    children: tuple[Number, ...] = ()


@dataclass(frozen=True)
class Redirect:
    """Goes on with another document."""

    url: str = ""
    method: str = "POST"


@dataclass(frozen=True)
class Hangup:
    """Ends the call."""


@dataclass(frozen=True)
class Reject:
    """Refuses the call before it is answered."""

    reason: str = "rejected"


Verb = Any  # one of the dataclasses above; which one decides how it is executed


@dataclass(frozen=True)
class Rule:
    """How one element is read: what it becomes, its attributes, text and children."""

    make: Callable[..., Verb]
    attributes: Mapping[str, Callable[[str], object]] = field(default_factory=dict)
    text: str | None = None
    children: Mapping[str, Rule] = field(default_factory=dict)
    required: tuple[str, ...] = ()


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise ValueError(f"not between {low} and {high}")
        return value

    return read


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"not one of {', '.join(words)}")
        return text

    return read


def _words(*allowed: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not set(text.split()) <= set(allowed):
            raise ValueError(f"not from {', '.join(allowed)}")
        return text

    return read


def _short(text: str) -> str:
    if len(text) >= 500:
        raise ValueError("500 characters or more")
    return text


def _keys(text: str) -> str:
    if set(text) - set("0123456789*#wW"):
        raise ValueError("not telephone keys")
    return text


def _boolean(text: str) -> bool:
    return _one_of("true", "false")(text) == "true"


_METHOD = _one_of("GET", "POST", "get", "post")
_ACTION: Mapping[str, Callable[[str], object]] = {"action": Url, "method": _METHOD}
_SAY = Rule(Say, {"voice": str, "language": str, "loop": _whole(0, 1000)}, text="text")
_PLAY = Rule(Play, {"digits": _keys, "loop": _whole(0, 1000)}, text="url")
_PAUSE = Rule(Pause, {"length": _whole(0, 14400)})
_PARAMETER = Rule(Parameter, {"name": _short, "value": _short}, required=("name", "value"))
_STREAM = Rule(
    Stream,
    {
        "url": Url,
        "name": str,
        "track": _one_of("inbound_track"),
        "statusCallback": Url,
        "statusCallbackMethod": _METHOD,
    },
    children={"Parameter": _PARAMETER},
    required=("url",),
)
_RECORD = Rule(
    Record,
    {
        **_ACTION,
        "timeout": _whole(0, 14400),
        "finishOnKey": _keys,
        "maxLength": _whole(1, 14400),
        "playBeep": _boolean,
        "trim": _one_of("trim-silence", "do-not-trim"),
        "recordingStatusCallback": Url,
        "recordingStatusCallbackMethod": _METHOD,
        "recordingStatusCallbackEvent": _words("in-progress", "completed", "absent"),
        "transcribe": _boolean,
        "transcribeCallback": Url,
    },
)
_GATHER = Rule(
    Gather,
    {
        **_ACTION,
        "input": _words("dtmf", "speech"),
        "timeout": _whole(1, 14400),
        "finishOnKey": _keys,
        "numDigits": _whole(1, 1000),
        "actionOnEmptyResult": _boolean,
        "speechTimeout": str,
        "speechModel": str,
        "enhanced": _boolean,
        "language": str,
        "hints": str,
        "profanityFilter": _boolean,
        "partialResultCallback": Url,
        "partialResultCallbackMethod": _METHOD,
        "bargeIn": _boolean,
    },
    children={"Say": _SAY, "Play": _PLAY, "Pause": _PAUSE},
)
_NUMBER = Rule(Number, {"url": Url, "method": _METHOD, "sendDigits": _keys}, text="text")
_DIAL = Rule(
    Dial,
    {
        **_ACTION,
        "answerOnBridge": _boolean,
        "callerId": str,
        "timeLimit": _whole(1, 86400),
        "timeout": _whole(1, 600),
        "hangupOnStar": _boolean,
        "record": str,
        "sequential": _boolean,
        "referUrl": Url,
    },
    text="text",
    children={"Number": _NUMBER},
)

TOP: Mapping[str, Rule] = {
    "Connect": Rule(Connect, _ACTION, children={"Stream": _STREAM}, required=("children",)),
    "Say": _SAY,
    "Play": _PLAY,
    "Pause": _PAUSE,
    "Record": _RECORD,
    "Gather": _GATHER,
    "Dial": _DIAL,
    "Redirect": Rule(Redirect, {"method": _METHOD}, text="url"),
    "Hangup": Rule(Hangup),
    "Reject": Rule(Reject, {"reason": _one_of("rejected", "busy")}),
}
NOT_SIMULATED = frozenset(
    {"Start", "Stop", "Enqueue", "Leave", "Queue", "Refer", "Sip", "Client", "Conference"}
)

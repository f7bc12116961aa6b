"""What a simulated call is asked to do: whom it rings, who speaks, what goes wrong on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from flaskapp.simulator.person import Script
from flaskapp.simulator.report import Message


@dataclass(frozen=True)
class DialOutcome:
    """What comes of a ``<Dial>``: the other side's status after ringing and talking so long.

    ``status``: answered, busy, no-answer, failed or canceled, as ``DialCallStatus`` has them
    (answered is told as completed, once the other side has hung up).
    """

    status: str = "no-answer"
    after_s: float = 0.5
    talked_s: float = 0.0


@dataclass(frozen=True)
class Choices:
    """What Twilio's public sources leave open, or put differently on different pages."""

    continue_after_failed_handshake: bool = True
    action_after_hangup: bool = True
    action_for_empty_recording: bool = False
    handshake_s: float = 10.0


Spelling = Literal["snake", "camel"]
Shape = Literal["get", "form", "text", "json"]


@dataclass(frozen=True)
class Flow:
    """How a flow of Exotel's applets is put together, and how its messages are written.

    ``numbers``: in messages as ``int`` or as ``text``; "" as its pages show them in that spelling.
    ``shape`` of a Passthru's request: ``get`` and ``form`` with ``Stream[...]`` keys; ``text``,
    a GET whose ``Stream`` is one JSON text; ``json``, a body.
    ``voicebots``: how many there are one after the other, for streams that break off.
    ``transfers``: the names that are asked for one after the other; "" for nobody in particular.
    ``is_one_way``: a Stream applet, which listens only, instead of the Voicebot.
    ``passthru_url``: empty for the application's own; ``passthru_s``: how long it may take.
    """

    numbers: Literal["", "int", "text"] = ""
    shape: Shape = "get"
    voicebots: int = 3
    transfers: tuple[str, ...] = ("",)
    is_one_way: bool = False
    passthru_url: str = ""
    passthru_s: float = 10.0


UpdateFate = Literal["well", "error", "gone", "hangs", "lost"]
RecordingFate = Literal["well", "never", "absent", "failed", "page", "truncated", "silent"]


@dataclass(frozen=True)
class Injection:
    """A frame that no carrier sends: text or bytes, ``at_ms`` after the stream's start.

    Negative times go out before ``start``. ``{streamSid}`` and ``{callSid}``
    in a text are filled in.
    """

    at_ms: int
    data: str | bytes


@dataclass(frozen=True)
class Faults:
    """What a faulty carrier may do; the default is a faultless one.

    ``webhook_copies``: the first webhook is sent so many times, at once.
    ``start_call_sid``: ``start`` names this call instead of its own.
    ``flood``: every media frame is sent so many times (10 = ten times the pace).
    ``swap_every``: every n-th frame changes places with the next one.
    ``repeat_every``: every n-th frame is sent twice, same numbers.
    ``lose_every``: every n-th frame is numbered but never sent.
    ``stop_reading_at_ms``: nothing is read from the socket from then on.
    ``break_at_ms``: the call's first stream is broken off (TCP RST, no ``stop``) then, and the
    call goes on; Exotel's only.
    ``returns_marks``: False where marks never come back.
    ``sign_with``: another auth token than the account's.
    ``recordings``: what becomes of the call's first recording, its second, and so on, the last
    for all that follow: ``well``; ``never`` there and nothing said about it; ``absent`` or
    ``failed``, never there and told so by the status callback; a ``page`` of HTML in its place;
    ``truncated``, the file's second half missing; ``silent``, as long as it was and no voice.
    ``updates``: what becomes of the first REST update of the call, its second, and so on, the
    last for all that follow: ``well``; ``error``, 500 and nothing done; ``gone``, 404 with code
    20404 and nothing done; ``hangs``, no answer and nothing done; ``lost``, done, and no answer.
    """

    webhook_copies: int = 1
    start_call_sid: str = ""
    injections: tuple[Injection, ...] = ()
    flood: int = 1
    swap_every: int = 0
    repeat_every: int = 0
    lose_every: int = 0
    stop_reading_at_ms: int | None = None
    break_at_ms: int | None = None
    returns_marks: bool = True
    sign_with: str | None = None
    recordings: tuple[RecordingFate, ...] = ()
    updates: tuple[UpdateFate, ...] = ()


@dataclass(frozen=True)
class CallSpec:
    """One call to be placed.

    ``url`` is the webhook as it is dialled (``http://127.0.0.1:5001/phone/...``);
    empty: the one configured for ``to_number``. ``public_url`` is the origin
    that is signed and that the application believes to have; empty: ``url``'s.
    ``seconds`` is the longest that the caller stays on the line, from answer.
    ``dials``: by number (Exotel: by name), what comes of dialling it; ``dial`` for all others.

    Exotel: ``url`` is the application's origin, its Voicebot's ws(s) URL, or an http(s) URL that
    answers with one; ``api_key`` and ``api_token`` go along as HTTP Basic, unless a URL has
    some itself; ``parameters`` are the applet's own keys and values.
    """

    url: str = ""
    public_url: str = ""
    fallback_url: str = ""
    status_callback: str = ""
    from_number: str = "+15551230001"
    to_number: str = "+15559870000"
    script: Script = field(default_factory=Script)
    seconds: float = 60.0
    signed: bool = True
    carrier: str = "twilio"
    sample_rate_hz: int = 8000
    spelling: Spelling = "snake"
    flow: Flow = field(default_factory=Flow)
    api_key: str = ""
    api_token: str = field(default="", repr=False)
    dial: DialOutcome = field(default_factory=DialOutcome)
    dials: Mapping[str, DialOutcome] = field(default_factory=dict)
    choices: Choices = field(default_factory=Choices)
    faults: Faults = field(default_factory=Faults)
    parameters: Mapping[str, str] = field(default_factory=dict)
    record_stereo: bool = True
    watch: Callable[[Message], None] | None = None
    on_event: Callable[[dict[str, Any]], None] | None = None

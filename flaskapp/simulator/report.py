"""What a simulated call leaves behind: figures, problems and what was heard.

All times in a report are milliseconds since the call's first webhook was sent,
which is when a caller begins to wait.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal


@dataclass(frozen=True)
class Problem:
    """Something the network had to complain about, by the carrier's own error code."""

    code: int
    text: str
    level: Literal["error", "warning"] = "error"
    at_ms: float = 0.0


@dataclass(frozen=True)
class Message:
    """One message on a media socket, as a test may watch it (``at`` is monotonic seconds)."""

    at: float
    direction: Literal["sent", "received"]
    text: str | bytes
    call_sid: str


@dataclass(frozen=True)
class WebhookReport:
    """One request to the application, and how it ended (status 0: no answer)."""

    url: str
    status: int
    at_ms: float
    took_ms: float
    parameters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TurnReport:
    """One utterance of the caller and the reply that was heard at the caller's ear.

    ``latency_ms`` runs from the last voiced frame sent to the first voiced
    sample played; negative where the agent talked over the caller's end, None
    where nothing was heard. ``heard_ms`` is first to last voiced sample.
    ``cut_off``: the call reached its limit before the reply could come.
    """

    utterance: str
    spoke_from_ms: float
    spoke_until_ms: float
    latency_ms: float | None
    heard_from_ms: float | None
    heard_ms: float
    cut_off: bool = False


@dataclass(frozen=True)
class Pacing:
    """How well the caller's own frames kept their 20 ms: lateness is against the deadline."""

    frames: int = 0
    late: int = 0
    lost: int = 0
    p50_late_ms: float = 0.0
    p99_late_ms: float = 0.0
    max_late_ms: float = 0.0


@dataclass(frozen=True)
class MarkReport:
    """A mark that went back to the application; ``cleared`` ones prove nothing was heard."""

    name: str
    at_ms: float
    cleared: bool


@dataclass(frozen=True)
class RecordingReport:
    """A recording that was made: ``seconds`` of the caller's voice under ``sid``.

    ``answer_ms`` runs from the moment when the carrier stopped recording to
    the first voiced sample of speech at the caller's ear - a beep is none -,
    None where nothing was heard before the next recording ended. ``answer``
    is what was heard: the text that the carrier spoke, the URL that it
    played, or nothing for a stream. ``reply_ms`` and ``reply`` are the same
    for the first speech that is more than "one moment": what was spoken by a
    document that only speaks and asks again is left out.
    """

    sid: str
    url: str
    seconds: float
    digits: str
    began_ms: float = 0.0
    ended_ms: float = 0.0
    answer_ms: float | None = None
    answer: str = ""
    reply_ms: float | None = None
    reply: str = ""


@dataclass(frozen=True)
class StreamReport:
    """One media stream of the call.

    ``closed_by``: ``server`` (with ``close_code``; 1006 where it broke off without a word) or
    ``network`` (the caller hung up, or REST took the call elsewhere). ``first_sound_ms``: when
    the first of its audio was heard, None if none was.
    """

    sid: str
    started_ms: float
    ended_ms: float
    closed_by: str
    close_code: int | None = None
    first_sound_ms: float | None = None


@dataclass(frozen=True)
class DialReport:
    """One ``<Dial>``: what was rung and what came of it.

    ``number`` is the first of ``numbers``; ``status`` as ``DialCallStatus`` told it.
    ``heard_until_ms``: when the caller had last heard anybody before, None if never;
    ``cut_ms``: audio of the agent that was thrown away for it, unheard.
    """

    number: str
    numbers: list[str]
    at_ms: float
    ended_ms: float
    status: str
    talked_s: float = 0.0
    caller_id: str = ""
    heard_until_ms: float | None = None
    cut_ms: float = 0.0


@dataclass(frozen=True)
class Handover:
    """Between two media streams: when one ended, when the next stood, and the longest stretch
    that touches this time in which the caller heard nothing and did not speak."""

    ended_ms: float
    resumed_ms: float
    silence_ms: float


@dataclass
class CallReport:
    """One simulated call, from dialling to the last callback.

    ``ended_by``: ``caller``, ``network`` (the application's TwiML or REST) or ``limit``, at
    ``ended_ms``. ``goodbye_to_hangup_ms``: from the agent's last audible sample to that moment,
    None where he was never heard. ``rejected``: the reason of a ``<Reject>``. ``silences``:
    see ``dead_air``. ``sample_rate_hz``: of the line, and so of ``stereo``.

    A carrier that wants audio in its own pace and chunks tells in ``violations`` how often each of
    its rules was broken, in ``ahead_ms`` how far ahead of being heard the farthest audio came, and
    in ``underruns`` how often its buffer ran dry in the middle of a reply, ``underrun_ms`` in all.
    """

    call_sid: str
    status: str = "queued"
    answered: bool = False
    why_not: str = ""
    ended_by: str = ""
    ended_ms: float = 0.0
    goodbye_to_hangup_ms: float | None = None
    rejected: str = ""
    stream_sids: list[str] = field(default_factory=list)
    streams: list[StreamReport] = field(default_factory=list)
    duration_s: float = 0.0
    first_sound_ms: float | None = None
    first_sound_after_start_ms: float | None = None
    greeting_ms: float = 0.0
    longest_silence_ms: float = 0.0
    longest_silence_from_ms: float = 0.0
    silences: list[tuple[float, float]] = field(default_factory=list)
    turns: list[TurnReport] = field(default_factory=list)
    pacing: Pacing = field(default_factory=Pacing)
    problems: list[Problem] = field(default_factory=list)
    webhooks: list[WebhookReport] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    dialled: list[str] = field(default_factory=list)
    dials: list[DialReport] = field(default_factory=list)
    recordings: list[RecordingReport] = field(default_factory=list)
    marks: list[MarkReport] = field(default_factory=list)
    received_media: int = 0
    received_bytes: int = 0
    sample_rate_hz: int = 8000
    violations: dict[str, int] = field(default_factory=dict)
    ahead_ms: float = 0.0
    underruns: int = 0
    underrun_ms: float = 0.0
    played_ms: float = 0.0
    cleared_ms: float = 0.0
    stereo: bytes = field(default=b"", repr=False)
    lateness_ms: list[float] = field(default_factory=list, repr=False)

    @property
    def errors(self) -> list[Problem]:
        """Problems that make the call a failure, warnings left out."""
        return [problem for problem in self.problems if problem.level == "error"]

    def dead_air(
        self, least_ms: float = 500.0, since_ms: float = 0.0, until_ms: float = float("inf")
    ) -> list[tuple[float, float]]:
        """(from, to) of each stretch after the answer in which the caller heard nothing and did not speak.

        Those that touch the given time, whole, if they are long enough. Recording after a beep,
        ringing somebody else and talking to him are no dead air.
        """
        return [
            (start, end)
            for start, end in self.silences
            if end - start >= least_ms and start <= until_ms and end >= since_ms
        ]

    def handovers(self) -> list[Handover]:
        """What the caller went through between each stream and the next one."""
        found = []
        for before, after in pairwise(self.streams):
            quiet = self.dead_air(0.0, before.ended_ms, after.started_ms)
            longest = max((end - start for start, end in quiet), default=0.0)
            found.append(Handover(before.ended_ms, after.started_ms, longest))
        return found

    @property
    def failed(self) -> bool:
        return not self.answered or bool(self.errors)

    @property
    def reason(self) -> str:
        """Why the call failed, in one line; empty when it did not."""
        if self.why_not:
            return self.why_not
        first = next(iter(self.errors), None)
        return f"error {first.code}: {first.text}" if first else ""

    def to_json(self) -> dict[str, Any]:
        """Plain lists, dicts, strings and numbers; the sound and each frame's lateness are left out."""
        names = [f.name for f in dataclasses.fields(self) if f.name not in ("stereo", "lateness_ms")]
        plain = {name: _plain(getattr(self, name)) for name in names}
        return {**plain, "failed": self.failed, "reason": self.reason}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 2)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(item) for name, item in dataclasses.asdict(value).items()}
    return value

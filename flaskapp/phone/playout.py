"""What the caller has heard of the agent's audio that was sent.

An engine speaks faster than real time and never learns what was played, so
the bridge keeps the account. Two witnesses: the clock (audio sent to an idle
line starts at once, later audio when the earlier ends) and the carrier's marks
(a mark returns when all audio before it has been played). The clock gives the
position, marks tell how far the real line lags behind it. A mark that returns
because of ``clear`` proves nothing and is not asked.

A clip of our own that keeps the caller company takes its time on the line like
everything else, but it is nobody's words: no item, and nothing that was cut.

All times are seconds on one clock that the caller of these functions reads.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flaskapp.phone.agent_track import AgentTrack

MAX_LAG_S = 2.0
MANY_SPANS = 128
CLIP = "(clip)"  # stands for an item's id


@dataclass(frozen=True, slots=True)
class Clip:
    """A sound of our own: base64 in the stream's format, and how long it lasts."""

    payload: bytes
    duration_ms: float


@dataclass(frozen=True, slots=True)
class Sounds:
    """What a call plays of its own, in its stream's format; None: nothing.

    Attributes:
        hold: keeps the caller company while there is no engine.
        greeting: the agent's, as the engine spoke it before.
    """

    hold: Clip | None = None
    greeting: Clip | None = None


@dataclass(slots=True)
class Span:
    """A stretch of one item's audio that plays without a gap."""

    item_id: str
    content_index: int
    start: float
    seconds: float

    @property
    def end(self) -> float:
        return self.start + self.seconds


@dataclass(frozen=True, slots=True)
class Heard:
    """How much of an item was heard, of how much was received, in ms of audio."""

    item_id: str
    content_index: int
    heard_ms: int
    received_ms: int


@dataclass(slots=True)
class Playout:
    """The agent's audio on its way to the caller's ear.

    Attributes:
        track: is told of it, where somebody keeps it; None: nobody does.
    """

    spans: list[Span] = field(default_factory=list)
    ends_at: float = 0.0
    lag: float = 0.0
    marks: dict[str, float] = field(default_factory=dict)
    marks_made: int = 0
    track: AgentTrack | None = None

    def sent(
        self, item_id: str, content_index: int, duration_ms: float, now: float, payload: bytes = b""
    ) -> None:
        """Audio of an item was handed to the carrier; ``payload`` for the track, unless others tell it."""
        seconds = duration_ms / 1000
        last = self.spans[-1] if self.spans else None
        if last and now <= self.ends_at and (last.item_id, last.content_index) == (item_id, content_index):
            last.seconds += seconds
        else:
            self._forget_old(item_id, now)
            if self.track is not None and (now > self.ends_at or last is None):
                self.track.begins(max(self.ends_at, now))
            self.ends_at = max(self.ends_at, now)
            self.spans.append(Span(item_id, content_index, self.ends_at, seconds))
        self.ends_at += seconds
        if payload and self.track is not None:
            self.track.keep(payload)

    def goes_on(self, seconds: float, now: float) -> None:
        """More audio of the part whose was the last."""
        last = self.spans[-1]
        if now <= self.ends_at:
            last.seconds += seconds
            self.ends_at += seconds
        else:
            self.sent(last.item_id, last.content_index, seconds * 1000, now)

    def mark(self) -> str:
        """A new mark behind everything sent so far: its name."""
        self.marks_made += 1
        name = f"m{self.marks_made}"
        self.marks[name] = self.ends_at
        return name

    def mark_reached(self, name: str, now: float) -> None:
        """A mark came back: the line is this far behind the clock."""
        due = self.marks.pop(name, None)
        if due is not None:  # else: unknown, or returned because of a clear
            self.lag = min(max(now - due, 0.0), MAX_LAG_S)

    def is_playing(self, now: float) -> bool:
        """Whether the caller may still be hearing something."""
        if now - self.lag < self.ends_at:
            return True
        return bool(self.marks) and now - MAX_LAG_S < self.ends_at

    @property
    def is_unused(self) -> bool:
        """Whether nothing was ever sent."""
        return self.ends_at == 0.0

    def remaining_s(self, now: float) -> float:
        """Seconds until the line falls silent, as the clock sees it."""
        return max(self.ends_at + self.lag - now, 0.0)

    def heard(self, item_id: str, now: float) -> Heard:
        """What the caller has heard of one item; never more than was received."""
        at = now - self.lag
        spans = [span for span in self.spans if span.item_id == item_id]
        heard = sum(min(max(at - span.start, 0.0), span.seconds) for span in spans)
        received = sum(span.seconds for span in spans)
        index = spans[-1].content_index if spans else 0
        return Heard(item_id, index, int(heard * 1000 + 1e-6), int(received * 1000 + 1e-6))

    def items(self) -> set[str]:
        """The items whose audio was sent, but for those long played."""
        return {span.item_id for span in self.spans} - {CLIP}

    def replies_end_at(self) -> float:
        """When the last of the agent's audio ends, or ended; 0.0 when none is known of."""
        for span in reversed(self.spans):
            if span.item_id != CLIP:
                return span.end
        return 0.0

    def clear(self, now: float) -> list[Heard]:
        """Everything not played yet is dropped: the items this cuts short, in playing order."""
        items = dict.fromkeys(span.item_id for span in self.spans if span.item_id != CLIP)
        cut = [heard for item in items if (heard := self.heard(item, now)).heard_ms < heard.received_ms]
        self.spans.clear()
        self.marks.clear()
        self.ends_at = min(self.ends_at, now - self.lag)  # the line is silent from now on
        if self.track is not None:
            self.track.cut(now, self.lag)
        return cut

    def _forget_old(self, item_id: str, now: float) -> None:
        """Items long played need no account, the one being sent does: the list stays short on long calls."""
        spans, horizon = self.spans, now - MAX_LAG_S - self.lag
        if len(spans) > 16 and spans[0].item_id != item_id and spans[0].end < horizon:
            needed = {span.item_id for span in spans if span.end >= horizon} | {item_id}
            spans = self.spans = [span for span in spans if span.item_id in needed]
        if len(spans) > MANY_SPANS:
            self.spans = _joined(spans, now - 2 * MAX_LAG_S)


def _joined(spans: list[Span], horizon: float) -> list[Span]:
    """The same, but what no lag makes unheard any more is one span for each item: its gaps do not matter."""
    joined: list[Span] = []
    for span in spans:
        last = joined[-1] if joined else None
        if (
            last
            and span.end < horizon
            and (last.item_id, last.content_index) == (span.item_id, span.content_index)
        ):
            seconds = last.seconds + span.seconds
            joined[-1] = Span(span.item_id, span.content_index, span.end - seconds, seconds)
        else:
            joined.append(span)
    return joined

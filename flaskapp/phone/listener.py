"""What a bridge tells the rest of the house about its call; by default nobody listens.

Called on the audio's path: an implementation takes note and returns, the
slow part is done elsewhere (``scribe.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flaskapp.phone.commands import TellLine, TellPlace, TellTurn
from flaskapp.phone.directives import Message
from flaskapp.phone.events import StreamStarted
from flaskapp.phone.transcript import Line


@dataclass(frozen=True)
class CallEnded:
    """How a live call ended.

    Attributes:
        needs_fallback: the caller may still be on the line, unserved.
        duration_ms: since the call's first second, as all times of a call.
        usage: token counts summed over the call's responses.
        dropped_frames: caller frames beyond the pace, agent messages beyond the queue.
        lines: this leg's own.
        heard_until_ms: all caller audio before this has reached a transcript, or was silence to the engine.
        owes_reply: the caller said something that was not answered, or the answer was cut off.
        moves: another worker shall take the call up where it is; the caller is still there.
        destination: the caller shall be joined to this person (a name in the agent's configuration).
        cost_usd: of the whole call so far; 0.0 where nobody knows prices.
        memo: what the call's next leg must know (``Past.memo``).
        base_ms: where in the call this leg began.
    """

    call_sid: str
    reason: str
    needs_fallback: bool
    duration_ms: int
    usage: dict[str, Any] = field(default_factory=dict)
    dropped_frames: int = 0
    lines: tuple[Line, ...] = ()
    heard_until_ms: int = 0
    owes_reply: bool = False
    moves: bool = False
    destination: str = ""
    cost_usd: float = 0.0
    memo: dict[str, Any] = field(default_factory=dict)
    base_ms: int = 0


class Listener:
    """All that there is to hear; override what you want."""

    def call_started(self, call_sid: str, started: StreamStarted) -> None:
        """The carrier's stream was admitted."""

    def engine_opened(self, call_sid: str) -> None:
        """The engine's connection stands."""

    def engine_closed(self, call_sid: str) -> None:
        """The engine's connection is gone."""

    def reconnected(self, call_sid: str, result: str) -> None:
        """An engine was opened again for this call: "ok" or "failed"."""

    def placed(self, call_sid: str, place: TellPlace) -> None:
        """A line has its place, and no words yet; or it will never have any."""

    def line(self, call_sid: str, line: TellLine) -> None:
        """A transcript line grew or became final."""

    def turn(self, call_sid: str, turn: TellTurn, bridge_s: float, first_sound_s: float | None) -> None:
        """A reply's first audio left: our share of the wait; for the first one, the time since the start."""

    def happened(self, call_sid: str, at_ms: int, kind: str, detail: dict[str, Any]) -> None:
        """Something for the call's history."""

    def message(self, call_sid: str, message: Message) -> None:
        """The caller leaves a message for somebody."""

    def fault(self, call_sid: str, at_ms: int, kind: str, detail: str) -> None:
        """Something went wrong."""

    def traced(self, call_sid: str, at_ms: int, leg: str, is_out: bool, message: bytes) -> None:
        """What a leg's protocol said, but for audio: "carrier" or "engine", by us (``is_out``) or to us."""

    def frame_delay(self, in_s: float, out_s: float) -> None:
        """How long the last batch of each direction took through the bridge (sampled)."""

    def call_ended(self, ended: CallEnded) -> None:
        """The call is over; told before the carrier's stream is closed."""

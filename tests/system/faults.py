"""An engine's failures, one by one: how each is brought about, and what became of the caller."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flaskapp.simulator.person import Script, Utterance
from flaskapp.simulator.report import CallReport
from flaskapp.simulator.sounds import tone
from tests.behaviour import Behaviour
from tests.fakes import FakeRealtime
from tests.front_door import FrontDoor

CALLER = Script(
    (Utterance(tone(1.2, 300), name="first"), Utterance(tone(1.2, 420), name="second")),
    quiet_ms=500,
    greeting_wait_s=12.0,
    reply_wait_s=25.0,
)


def _first(**behaviour: Any) -> Callable[[FakeRealtime, FrontDoor, int], None]:
    """Each call's first session acts like this, the next one politely."""

    def arrange(engine: FakeRealtime, door: FrontDoor, calls: int) -> None:
        engine.script.extend(Behaviour(**behaviour) for _ in range(calls))

    return arrange


def _always(**behaviour: Any) -> Callable[[FakeRealtime, FrontDoor, int], None]:
    def arrange(engine: FakeRealtime, door: FrontDoor, calls: int) -> None:
        engine.behaviour = Behaviour(**behaviour)

    return arrange


def _door(state: str) -> Callable[[FakeRealtime, FrontDoor, int], None]:
    def arrange(engine: FakeRealtime, door: FrontDoor, calls: int) -> None:
        door.realtime = state  # type: ignore[assignment]

    return arrange


@dataclass(frozen=True)
class Scene:
    """A failure.

    Attributes:
        arrange: brings it about for so many calls.
        goes_on: where the call goes on then, "live" or "recorded".
        answers: "each" thing that is said has one of its own; where nothing but the clip can be heard for
            long, the caller takes it for an answer, speaks again, and has both answered "together".
    """

    arrange: Callable[[FakeRealtime, FrontDoor, int], None]
    goes_on: str
    answers: str = "each"


#: By what happens, in the words of who watches.
SCENES: Mapping[str, Scene] = {
    "1 refused": Scene(_door("resets"), "recorded"),
    "2 hangs at connect": Scene(_door("stalls"), "recorded"),
    "2 hangs once at connect": Scene(_first(hangs=True), "live"),
    "3 says 401": Scene(_always(handshake_status=401), "recorded"),
    "4 says 429": Scene(_always(handshake_status=429, retry_after="1"), "recorded"),
    "4 says 429 once": Scene(_first(handshake_status=429, retry_after="1"), "live"),
    "5 says 503": Scene(_always(handshake_status=503), "recorded"),
    "6 accepts and closes": Scene(_always(closes_after_s=0.7), "recorded"),
    "7 dies in a reply": Scene(_first(dies_after_ms=300), "live"),
    "8 stalls": Scene(_first(stalls_after=1), "live"),
    "8 stalls at once": Scene(_first(stalls=True), "live"),
    "8 stalls for ever": Scene(_always(stalls=True), "recorded", answers="together"),
    "9 a reply fails": Scene(_first(fails_replies=1), "live"),
    "9 every reply fails": Scene(_always(fails_replies=999), "recorded"),
    "12 the session expires": Scene(_first(expires_after_s=3.0), "live"),
}


@dataclass(frozen=True)
class Verdict:
    """What became of one caller; times in ms."""

    scene: str
    call_sid: str
    is_answered: bool
    first_sound_ms: float
    silence_ms: float
    said: int
    caller_lines: tuple[str, ...]
    agent_lines: int
    has_last_word: bool
    modes: frozenset[str]
    rows: int
    why: str

    @property
    def is_complete(self) -> bool:
        """Each thing that the caller said is one line, and was answered."""
        due = self.said if SCENES[self.scene].answers == "each" else 1
        return len(self.caller_lines) == self.said and self.agent_lines >= due and self.has_last_word


def judge(scene: str, report: CallReport, turns: list[Any], rows: int) -> Verdict:
    """``turns``: the call's final turns in the history; ``rows``: how many rows it has there."""
    spoken = [turn for turn in turns if turn["text"]]
    callers = tuple(turn["text"] for turn in spoken if turn["speaker"] == "caller")
    return Verdict(
        scene,
        report.call_sid,
        report.answered and all(turn.latency_ms is not None or turn.cut_off for turn in report.turns),
        report.first_sound_ms if report.first_sound_ms is not None else float("inf"),
        report.longest_silence_ms,
        len(report.turns),
        callers,
        sum(turn["speaker"] == "agent" for turn in spoken),
        bool(spoken) and spoken[-1]["speaker"] == "agent",
        frozenset(turn["mode"] for turn in spoken),
        rows,
        report.reason,
    )

"""What may be in the way of a recorded turn, and with how much patience it is tried again."""

from __future__ import annotations

from dataclasses import dataclass

from flaskapp.phone import errors
from flaskapp.store import keys

READY_WITHIN_S = 900.0
AI_BACK_WITHIN_S = 7 * keys.DAY_S  # what is said on a Friday evening is understood on Monday
DELETED_WITHIN_S = keys.DAY_S


@dataclass(frozen=True)
class Trouble:
    """What is in the way of a turn, and with how much patience it is tried again.

    Attributes:
        name: what the history calls it.
        pauses_s: after the first attempt, the second ...; the last one for all others.
        within_s: given up when it has been the same trouble for so long.
        told: what the caller is told meanwhile, as an outcome's kind; empty: to wait.
    """

    name: str
    pauses_s: tuple[float, ...]
    within_s: float
    told: str = ""

    def pause_s(self, attempts: int) -> float:
        """How long to wait after so many attempts."""
        return self.pauses_s[min(attempts, len(self.pauses_s)) - 1]


#: The first that an error is an instance of.
TROUBLES: tuple[tuple[type[Exception], Trouble], ...] = (
    (errors.NotReady, Trouble("waiting", (15.0,), READY_WITHIN_S)),
    (errors.Unreachable, Trouble("unreachable", (15.0, 15.0, 30.0, 60.0), AI_BACK_WITHIN_S)),
    # Wrong credentials are put right within hours or days; the recording is still there then.
    (errors.FetchRefused, Trouble("refused", (5.0, 15.0, 60.0, 300.0, 600.0), AI_BACK_WITHIN_S, "failed")),
    (
        errors.EngineError,
        Trouble("unavailable", (5.0, 10.0, 20.0, 40.0, 60.0), AI_BACK_WITHIN_S, "unavailable"),
    ),
)
UNDELETED = Trouble("undeleted", (60.0, 120.0, 300.0, 600.0), DELETED_WITHIN_S)

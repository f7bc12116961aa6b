"""Whether an engine that failed a call is opened again, when, and how the caller is kept company meanwhile.

An *outage* lasts from the moment at which the caller is without the engine -
his stream's start, a loss, a stall - until a session stands. Pure policy:
times are seconds since the call began, and whoever asks knows the clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

OUTAGE_S = 6.0
STEP_WITHIN_S = 3.0  # for the connection, then for the session
REST_S = (0.25, 1.0)  # before the first and the second reopening, when an attempt failed
ASKED_REST_S = 1.0  # when a busy server does not say how long
LONGEST_REST_S = 3.0
SHORT_LIFE_S = 5.0
SHORT_LIVES = 2
FRESH_AFTER_S = 10.0
YOUNG_S = 3.0
OUR_PATIENCE = {"engine_slow", "engine_stalled"}  # we ended it, not the engine

EXPIRED = "session_expired"
GOING_AWAY = 1001
ALREADY_REPLYING = "conversation_already_has_active_response"
BENIGN_ERRORS = {
    ALREADY_REPLYING,
    "response_cancel_not_active",
    "input_audio_buffer_commit_empty",
}

LINGER_S = 10.0  # who is given up may go on speaking for so long
QUIET_MS = 800.0  # and has finished when he has said nothing for so long
NO_AUDIO_S = 2.0  # or when nothing at all has come

HOLD_AFTER_S = 1.0
HOLD_EVERY_S = 3.0
UNHEARD_FOR_S = 2.0  # who has heard nothing at all since his stream began hears something then
IDLE_S = 0.5
STALLED_AFTER_S = 7.0
STALLED_AGAIN_S = 4.0  # a session in the place of one that stalled
IGNORED_AFTER_S = 3.0  # who asks for a second time has waited before
STALLED = "engine_stalled"


@dataclass(frozen=True)
class Rule:
    """How often to open again after a failure, and whether the server says when."""

    tries: int = 2
    asks_for_rest: bool = False


ANY = Rule()
#: By HTTP status or WebSocket close code: what no second try mends is not tried.
RULES: Mapping[int, Rule] = MappingProxyType(
    {
        401: Rule(0),
        403: Rule(0),
        404: Rule(0),
        429: Rule(1, asks_for_rest=True),
        3000: Rule(0),  # the key is refused after the handshake
        4000: Rule(0),  # another shape of the protocol is wanted
    }
)


@dataclass(slots=True)
class Owed:
    """What a live engine owes the caller.

    Attributes:
        since: since when a reply of which nothing was heard; None: nothing, or he speaks again.
        dead_since: of which not even the making has begun; kept while he speaks again.
        turns: how many turns went unanswered since then.
        spoke_until: when the caller said his last word, as far as anybody knows.
    """

    since: float | None = None
    dead_since: float | None = None
    turns: int = 0
    spoke_until: float = 0.0

    def turn(self, at: float, spoke_until: float = 0.0) -> None:
        """The caller stopped speaking, or we asked for a reply."""
        self.waits(at)
        self.turns += 1
        self.spoke_until = max(self.spoke_until, spoke_until)

    def waits(self, at: float) -> None:
        self.since = at
        self.dead_since = at if self.dead_since is None else self.dead_since

    def speaks(self) -> None:
        """The caller goes on."""
        self.since = None

    def lives(self, at: float) -> None:
        """A reply is being made."""
        self.since = at if self.since is None else self.since
        self.dead_since, self.turns = None, 0

    def nothing(self) -> None:
        self.since, self.dead_since, self.turns = None, None, 0

    def is_ignored(self, at: float, patience_s: float) -> bool:
        """Whether the caller has spoken to a dead engine more than once, and waits again."""
        if self.since is None or self.dead_since is None or self.turns < 2:
            return False
        waited_s = at - self.since
        return waited_s >= IGNORED_AFTER_S or (waited_s >= 1.0 and at - self.dead_since >= patience_s)


@dataclass(slots=True)
class Recovery:
    """What one call has tried.

    Attributes:
        since: when the outage began; None while the engine serves.
        reopened: tries spent; forgotten once a session has lived ten seconds.
        is_again: what is being opened now is a reopening.
        has_held: the caller has heard the clip in this outage.
        has_stalled: a session kept him waiting in vain, and none has replied since.
        is_proven: the session that stands has begun to reply.
        idle_at: when the carrier's line was last found to bring nothing.
        unheard_ms: from here on no session has taken the stream's audio; None while one does.
    """

    since: float | None = None
    reopened: int = 0
    opened_at: float | None = None
    live_at: float | None = None
    short_lives: int = 0
    is_again: bool = False
    has_held: bool = False
    has_stalled: bool = False
    is_proven: bool = False
    idle_at: float = 0.0
    unheard_ms: float | None = None

    def begins(self, at: float, unheard_ms: float = 0.0) -> None:
        """The stream starts: the caller waits for an engine from now on."""
        self.since, self.unheard_ms = at, unheard_ms

    def opening(self, at: float) -> float:
        """A connection is dialled: by when it must stand."""
        return self._due(at)

    def opened(self, at: float) -> float:
        """It stands: by when its session must be agreed."""
        self.opened_at = at
        return self._due(at)

    def _due(self, at: float) -> float:
        return min(at + STEP_WITHIN_S, (at if self.since is None else self.since) + OUTAGE_S)

    def joined(self, at: float) -> bool:
        """The session is agreed, the outage over; whether that was a reopening."""
        self.live_at, self.since, self.unheard_ms = at, None, None
        self.has_held = self.is_proven = False
        was_again, self.is_again = self.is_again, False
        return was_again

    def replies(self) -> bool:
        """The session begins to reply; whether for the first time."""
        was_proven, self.is_proven, self.has_stalled = self.is_proven, True, False
        return not was_proven

    @property
    def patience_s(self) -> float:
        """How long a live engine may keep the caller waiting."""
        return STALLED_AGAIN_S if self.has_stalled else STALLED_AFTER_S

    def lost(
        self, at: float, reason: str = "", status: int = 0, retry_after_s: float | None = None
    ) -> float | None:
        """Connection or session is gone: when to open again, None to give up.

        Args:
            status: HTTP status of a refusal, or the close code.
        """
        was_slow, stalls_again = reason in OUR_PATIENCE, reason == STALLED and self.has_stalled
        self.has_stalled = self.has_stalled or reason == STALLED
        was_live, rule = self.live_at is not None, RULES.get(status, ANY)
        self._count_lives(at, was_slow)
        if was_live or self.since is None:
            self.since = at
        if stalls_again or self.short_lives >= SHORT_LIVES or self.reopened >= rule.tries:
            return None
        rest_s = 0.0 if was_live or was_slow else REST_S[self.reopened]
        if rule.asks_for_rest:
            rest_s = ASKED_REST_S if retry_after_s is None else retry_after_s
        if rest_s > LONGEST_REST_S or at + rest_s >= self.since + OUTAGE_S:
            return None
        self.reopened += 1
        self.is_again = True
        return at + rest_s

    def _count_lives(self, at: float, was_slow: bool) -> None:
        if self.opened_at is not None:
            is_short = at - self.opened_at < SHORT_LIFE_S and not was_slow
            self.short_lives = self.short_lives + 1 if is_short else 0
        if self.live_at is not None and at - self.live_at >= FRESH_AFTER_S:
            self.reopened = 0
        self.opened_at = self.live_at = None

    def is_young(self, at: float) -> bool:
        """Whether the session that stands may not have dealt yet with what it was given at its beginning."""
        return self.live_at is not None and at - self.live_at < YOUNG_S

    def wants_clip(self, at: float, silent_since: float) -> bool:
        """Whether a caller whose line has been silent since then should hear that he is not forgotten."""
        if self.since is None or self.has_held:
            return at - silent_since >= HOLD_EVERY_S
        return at - max(self.since, silent_since) >= HOLD_AFTER_S

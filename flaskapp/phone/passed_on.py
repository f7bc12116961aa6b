"""What of a call's audio may be passed on without asking the call, which is told of it afterwards.

Nothing follows from such audio but that it is passed on and counted: whoever
passes it on (``fast_path.py``) asks how much it may be, and tells before
anything else happens to the call.
"""

from __future__ import annotations

import math

from flaskapp.phone import events as ev
from flaskapp.phone.attention import Attention
from flaskapp.phone.endings import Limits

MEDIA_WITHIN_S = 15.0
RENEWED_FROM = 5 / 6  # of the time that an engine lets a session last: from here on in a pause
DRY_S = 0.5  # for so long an engine that speaks may have nothing for the line
CALM_S = 0.95  # somebody just speaks: so long nobody looks what time has brought
DEAD_AFTER_S = 1.0  # a line that has brought nothing for so long is dead, or nearly
NAP_S = 5.0  # of such a call; sockets are pinged by then


class PassedOn(Attention):
    """One leg's, of which ``Call`` makes a whole call."""

    began: float
    _limits: Limits

    @property
    def hears(self) -> float:
        """Caller audio until then (ms of the stream) may be passed on and told of later; 0: none may."""
        return self.intake.due_ms if self._is_live else 0.0

    @property
    def speaks(self) -> tuple[str, str, int] | None:
        """Response, item and part whose audio may be; None: of no one."""
        talk = self.talk
        spans = talk.playout.spans
        if not (self._is_live and talk.item_id and spans) or talk.reply_id in ("", *talk.silenced):
            return None
        if spans[-1].item_id != talk.item_id:  # a clip of our own came between
            return None
        return talk.reply_id, talk.item_id, spans[-1].content_index

    def heard(self, payloads: bytes, until_ms: float, now: float) -> None:
        """This was passed on to the engine, slice by slice, the last of it just then.

        Args:
            payloads: in one piece (``payloads.BETWEEN``).
            until_ms: where on the stream's clock it ends.
        """
        at, talk = now - self.began, self.talk
        talk.given_ms += until_ms - self.intake.received_ms
        talk.given_at = at
        self.intake.took(payloads, until_ms, at)

    def spoke(self, audio: ev.ReplyAudio, now: float) -> None:
        """This is passed on to the carrier."""
        talk = self.talk
        talk.playout.sent(
            audio.item_id, audio.content_index, audio.duration_ms, now - self.began, audio.payload
        )
        if talk.greeting.reply_id:
            talk.greeting.takes(audio.payload)

    def calm_s(self, now: float) -> float:
        """For so long all that time could bring about can wait: somebody speaks, or the line is dead."""
        talk, memory, at = self.talk, self.memory, now - self.began
        if not self._is_live or memory.deadline is not None or memory.moves_by is not None:
            return 0.0
        waits = talk.owed.since is not None or talk.settling or self.keypad.has_any or self.tools.uses
        if waits or self.endings.closing is not None:
            return 0.0
        # An engine that stops in mid-reply leaves the caller in silence, which is for the clock to see.
        if talk.is_speaking or (talk.reply_id and at < talk.playout.ends_at + DRY_S):
            return CALM_S
        return self._nap_s(at)

    def _nap_s(self, at: float) -> float:
        """The same where nobody says anything: no longer than until the clock may have the next word."""
        # How far the caller was understood changes when a session is no longer young.
        if self.talk.playout.is_playing(at) or self.recovery.is_young(at):
            return 0.0
        due_at = min(self.intake.last_at + MEDIA_WITHIN_S, self._renewed_from, self.endings.due_from(at))
        if due_at - at <= CALM_S:
            return 0.0
        if at - self.intake.last_at <= DEAD_AFTER_S:
            return CALM_S if self.talk.is_idle(at) else 0.0
        nap_s = min(due_at - at, NAP_S)
        self.recovery.idle_at = at + nap_s  # nobody looks meanwhile: an engine need not have gone on
        return nap_s

    @property
    def _renewed_from(self) -> float:
        """From when on its session may be renewed in a pause."""
        limit_s, since = self._limits.session_s, self.recovery.live_at
        return since + limit_s * RENEWED_FROM if limit_s and since is not None else math.inf

"""What of a call's audio may be passed on without asking the call, which is told of it afterwards.

Nothing follows from such audio but that it is passed on and counted: whoever
passes it on (``fast_path.py``) asks how much it may be, and tells before
anything else happens to the call.
"""

from __future__ import annotations

from collections.abc import Sequence

from flaskapp.phone import events as ev
from flaskapp.phone.attention import Attention

DRY_S = 0.5  # for so long an engine that speaks may have nothing for the line


class PassedOn(Attention):
    """One leg's, of which ``Call`` makes a whole call."""

    began: float

    @property
    def hears(self) -> float:
        """So many ms of caller audio may be passed on and told of later; 0: ``receive`` must have it."""
        return self.intake.spare_ms if self._is_live else 0.0

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

    def heard(self, audios: Sequence[ev.CallerAudio], now: float) -> None:
        """This was passed on to the engine, the last of it just then."""
        at, talk = now - self.began, self.talk
        self.intake.took(audios, at)
        for audio in audios:
            talk.given_ms += audio.duration_ms
        talk.given_at = at

    def spoke(self, audio: ev.ReplyAudio, now: float) -> None:
        """This is passed on to the carrier."""
        talk = self.talk
        talk.playout.sent(audio.item_id, audio.content_index, audio.duration_ms, now - self.began)
        if talk.greeting.reply_id:
            talk.greeting.takes(audio.payload)

    def is_calm(self, now: float) -> bool:
        """Whether somebody speaks, and all that time could bring about can wait for a second."""
        talk, memory = self.talk, self.memory
        # An engine that stops in mid-reply leaves the caller in silence, which is for the clock to see.
        is_heard = talk.reply_id and now - self.began < talk.playout.ends_at + DRY_S
        if not self._is_live or not (is_heard or talk.is_speaking) or memory.deadline is not None:
            return False
        waits = talk.owed.since is not None or talk.settling or self.keypad.keys or self.tools.uses
        return not waits and self.endings.closing is None and memory.moves_by is None

"""What a caller said that no live engine understood: handed to a job, so that no word is lost."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from redis.exceptions import RedisError

from flaskapp.phone.audio import SPEECH_MS, mulaw_to_pcm16, voiced_ms
from flaskapp.phone.listener import CallEnded
from flaskapp.phone.resumption import cost_usd, write_down
from flaskapp.phone.transcript import CALLER
from flaskapp.store.audio import AudioBuffer
from flaskapp.store.history import CallChanged, Entry, RecordingChanged
from flaskapp.store.jobs import Jobs
from flaskapp.store.live import LiveStore
from flaskapp.store.turns import Turn, TurnBook
from flaskapp.tickets import TICKET_LASTS_S

log = logging.getLogger(__name__)

#: A call in one of these states waits for its next leg; so does one whose stream broke, as far as is known.
UNDER_WAY = ("live", "moving", "transferring")
BROKE = "carrier_lost"
#: How a call ends that others go on with: a person, or whatever its flow has for it.
TRANSFERRED, HANDED_OVER = "transferred", "handed_over"
HUNG_UP = "caller_hung_up"
TWILIO = "twilio"


class Leftovers:
    """Looks at a call's buffered audio when its live stream is over.

    Args:
        note: has entries written to the history soon.
    """

    def __init__(
        self,
        book: TurnBook,
        audio: AudioBuffer,
        live: LiveStore,
        jobs: Jobs,
        note: Callable[..., None],
    ) -> None:
        self._book, self._audio, self._live, self._jobs, self._note = book, audio, live, jobs, note
        #: Is told that a call is over for good; possibly more than once.
        self.over: Callable[[str], None] = lambda call_sid: None

    def live_ended(self, ended: CallEnded) -> str:
        """A live stream is over: the key of the turn that its unanswered words became, or an empty text.

        If the call may go on on another stream, all is left for that one to hear.
        """
        goes_on = ended.moves or (ended.reason == BROKE and not ended.needs_fallback)
        if goes_on and not self._live.recall(ended.call_sid).get("is_over"):
            return ""
        key = self.take(ended.call_sid, ended.heard_until_ms, ended.needs_fallback)
        if key or not (ended.needs_fallback and ended.owes_reply):
            return key
        return self._owed(ended)

    def _owed(self, ended: CallEnded) -> str:
        """The caller's last words were understood, and never answered."""
        said = [line for line in ended.lines if line.text]
        if not said or said[-1].speaker != CALLER:
            return ""
        sid, last = ended.call_sid, said[-1]
        turn = Turn(
            sid,
            f"owed-{last.item_id}"[:64],
            "words",
            position=self._live.next_position(sid, 2),
            at_ms=last.end_ms,
            called=self._live.recall(sid).get("called", ""),
            claimed_at=time.time(),
        )
        return self._submit(turn)

    def take(self, call_sid: str, heard_until_ms: int, wants_reply: bool) -> str:
        """Have what was said after ``heard_until_ms`` understood; the turn's key, empty if nothing was said.

        Args:
            wants_reply: the caller is still on the line and waits for an answer.
        """
        try:
            chunks = self._audio.read(call_sid, heard_until_ms)
            voice_ms, _ = voiced_ms(mulaw_to_pcm16(b"".join(chunk.mulaw for chunk in chunks)))
            if voice_ms < SPEECH_MS:
                self._audio.delete(call_sid)
                return ""
            last = chunks[-1]
            to_ms = last.start_ms + len(last.mulaw) // 8
            key = f"unheard-{call_sid[-24:]}-{heard_until_ms}"
            known = self._live.recall(call_sid)
            turn = Turn(
                call_sid,
                key,
                "buffer",
                from_ms=heard_until_ms,
                to_ms=to_ms,
                position=self._live.next_position(call_sid, 2),
                at_ms=chunks[0].start_ms,
                duration_ms=to_ms - chunks[0].start_ms,
                wants_reply=wants_reply,
                called=known.get("called", ""),
                claimed_at=time.time(),
            )
            return self._submit(turn)
        except RedisError as error:
            log.warning("Redis is away: %s", error, extra={"call_sid": call_sid})
            return ""

    def _submit(self, turn: Turn) -> str:
        """Claim the turn and have it worked on: its key."""
        if self._book.claim(turn):
            self._note(_claimed(turn))
        self._jobs.submit("turn", turn.call_sid, turn.key)
        return turn.key

    def _waits_in_vain(self, known: Mapping[str, str]) -> bool:
        """Whether no stream can come any more: its ticket opens none."""
        return _never_came(known) and self._live.now() - float(known["joined_at"]) >= TICKET_LASTS_S

    def came_late(self, call_sid: str) -> None:
        """Redis was away when the call's stream ended, and has its audio now."""
        known = self._live.recall(call_sid)
        if known.get("state") == "ended" and not known.get("pending_turn"):
            self.take(call_sid, int(known.get("heard_until_ms", "0")), wants_reply=False)

    def fall(self, call_sid: str, known: dict[str, str], wants_reply: bool = True) -> str:
        """A live leg broke off, and none follows it: the turn that its unheard words became, if any.

        Args:
            wants_reply: the caller waits for an answer of ours.
        """
        write_down(call_sid, self._live, self._note)
        if usage := self._live.usage(call_sid):  # of a worker that did not live to tell it
            self._note(CallChanged(call_sid, {"usage": usage}))
        key = self.take(call_sid, int(known.get("heard_until_ms", "0")), wants_reply)
        self._live.remember(call_sid, state="ended", needs_fallback="1", pending_turn=key)
        self._live.count(call_sid, "falls")
        self._live.remember(call_sid, fell_at_ms=str(self._live.elapsed_ms(call_sid)))
        return key

    def abandoned(self, call_sid: str, why: str = "worker_lost") -> None:
        """Nobody takes this call up any more: close its books.

        Args:
            why: the ending's reason for the history, unless its stream's end had one.
        """
        known = self._live.recall(call_sid)
        if is_left_to_its_flow(known):  # how its stream ended is written already
            self._note(CallChanged(call_sid, {"status": closing_status(known)}))
            self._live.forget_soon(call_sid)
            self.over(call_sid)
        if known.get("state") not in UNDER_WAY and not self._waits_in_vain(known):
            return
        log.warning("Nobody took a call up: %s", why, extra={"call_sid": call_sid})
        write_down(call_sid, self._live, self._note)
        self.take(call_sid, int(known.get("heard_until_ms", "0")), wants_reply=False)
        reason = _reason(known) if why == "worker_lost" else why
        self._note(CallChanged(call_sid, _ending(known, reason, self._live.usage(call_sid))))
        # Last of all: should any of this fail, the sweeper comes again.
        self._live.remember(call_sid, state="ended", reason=reason, needs_fallback="1")
        self._live.forget_soon(call_sid)
        self.over(call_sid)


def _never_came(known: Mapping[str, str]) -> bool:
    """Whether a stream was asked for that is not there; its carrier may send no word of the call's end."""
    return (known.get("state"), known.get("path")) == ("ringing", "live") and "joined_at" in known


def is_left_to_its_flow(known: Mapping[str, str]) -> bool:
    """Whether live AI has given a call up whose carrier may never ask what follows: its flow just goes on."""
    is_given_up = (known.get("state"), known.get("needs_fallback")) == ("ended", "1")
    return is_given_up and _carrier(known) != TWILIO and "forgotten" not in known


def closing_status(known: Mapping[str, str]) -> str:
    """How a call stands that is over, where its carrier sends no word of that: as it was served at all."""
    return "completed" if known.get("leg") or known.get("was_recorded") else "failed"


def _carrier(known: Mapping[str, str]) -> str:
    return known.get("carrier") or TWILIO


def _reason(known: Mapping[str, str]) -> str:
    """How a call ended that nobody took up, where its stream's end does not say that its worker died."""
    state, is_asked = known.get("state"), _carrier(known) == TWILIO
    if state == "moving" and known.get("reason") == BROKE:
        return BROKE
    if _never_came(known):
        return HUNG_UP
    if state == "transferring" and not is_asked:  # its flow has had it dialled, for all we know
        return TRANSFERRED
    return "worker_lost" if is_asked or "leg" in known else HUNG_UP  # before his stream came about


def _ending(known: dict[str, str], reason: str, usage: dict[str, float]) -> dict[str, Any]:
    """What the history is told."""
    told: dict[str, Any] = {"ended_reason": reason, "ended_at": datetime.now(UTC)}
    if _carrier(known) != TWILIO or _never_came(known):
        told["status"] = closing_status(known)
    if usage:
        told["usage"] = usage
    if cost_usd(known):
        told["cost_usd"] = cost_usd(known)
    return told


def _claimed(turn: Turn) -> Entry:
    about = {
        "status": "claimed",
        "source": turn.source,
        "duration_ms": turn.duration_ms,
        "position": turn.position,
        "at_ms": turn.at_ms,
    }
    return RecordingChanged(turn.call_sid, turn.key, about)

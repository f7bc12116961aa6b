"""Short-lived tickets: who holds one may open one call's stream, speak for it, or hear its answers."""

from __future__ import annotations

import hmac
import secrets

from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer

from flaskapp.phone.errors import TicketError
from flaskapp.store.live import LiveStore

TICKET_LASTS_S = 300
CLOCKS_DIFFER_S = 60


class Tickets:
    """Short-lived tickets that open one call's stream, once, and others that only fetch its speech."""

    def __init__(self, secret_key: str, live: LiveStore) -> None:
        self._serializer = URLSafeTimedSerializer(secret_key, salt="call-ticket")
        # It stands in addresses that carriers keep in their logs: it must open nothing else.
        self._speech = URLSafeTimedSerializer(secret_key, salt="speech-ticket")
        self._live = live

    def issue(self, call_sid: str) -> str:
        """A ticket for this call: URL-safe text of fewer than 250 characters."""
        return self._serializer.dumps([call_sid, secrets.token_urlsafe(9)])

    def issue_speech(self, call_sid: str) -> str:
        """A ticket for the sound of this call's answers, and for nothing else."""
        return self._speech.dumps([call_sid, secrets.token_urlsafe(9)])

    def check_speech(self, ticket: str, call_sid: str) -> None:
        """Check a ticket of ``issue_speech``.

        Raises:
            TicketError: as ``check``.
        """
        _opened(self._speech, ticket, call_sid)

    def for_stream(self, call_sid: str) -> str:
        """The ticket that the call's document carries: the same one when the carrier asks again."""
        given = self._live.recall(call_sid).get("ticket", "")
        if (good := self.good(call_sid, given)) != given:
            self._live.remember(call_sid, ticket=good)
        return good

    def good(self, call_sid: str, given: str) -> str:
        """The ticket that was given before, if it still opens the call's stream; else a new one."""
        try:
            self.check(given, call_sid)
        except TicketError:
            return self.issue(call_sid)
        return given

    def check(self, ticket: str, call_sid: str) -> str:
        """The ticket's own id.

        Raises:
            TicketError: missing, forged, expired or another call's.
        """
        return _opened(self._serializer, ticket, call_sid)

    def redeem(self, ticket: str) -> str:
        """Use up a ticket, whichever call it is for: that call.

        Raises:
            TicketError: forged, expired or used before.
        """
        call_sid = str(_loaded(self._serializer, ticket)[0])
        self.spend(ticket, call_sid)
        return call_sid

    def spend(self, ticket: str, call_sid: str) -> None:
        """Check a ticket and use it up.

        Raises:
            TicketError: as ``check``, or used before.
        """
        ticket_id = self.check(ticket, call_sid)
        if not self._live.spend(call_sid, ticket, ticket_id, TICKET_LASTS_S + 2 * CLOCKS_DIFFER_S):
            raise TicketError("used before")


def _opened(serializer: URLSafeTimedSerializer, ticket: str, call_sid: str) -> str:
    sid, ticket_id = _loaded(serializer, ticket)
    if not hmac.compare_digest(str(sid).encode(), call_sid.encode()):
        raise TicketError("another call's")
    return str(ticket_id)


def _loaded(serializer: URLSafeTimedSerializer, ticket: str) -> tuple[object, object]:
    if not ticket:
        raise TicketError("missing")
    try:
        sid, ticket_id = serializer.loads(ticket, max_age=TICKET_LASTS_S + CLOCKS_DIFFER_S)
    except SignatureExpired as error:
        raise TicketError("expired") from error
    except (BadSignature, ValueError, TypeError) as error:
        raise TicketError("forged") from error
    return sid, ticket_id

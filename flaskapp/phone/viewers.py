"""Live transcripts to whoever reads along: a WebSocket for each reader, who is let in by right."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from flask import Blueprint, abort, current_app, g, request
from flask.sansio.blueprints import BlueprintSetupState
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from flaskapp.access import (
    CALL_SID,
    OperatorsSession,
    has_operators_password,
    has_session_cookie,
    is_foreign_page,
    is_local,
    operators_session,
)
from flaskapp.observability import bound_call
from flaskapp.phone.errors import LegClosed, TicketError
from flaskapp.phone.feed import Reader, Readers
from flaskapp.phone.room import Streams
from flaskapp.phone.server_socket import ServerSocket, need_gunicorn, sock
from flaskapp.phone.wire import Wire
from flaskapp.problems import register_problems
from flaskapp.tickets import Tickets

log = logging.getLogger(__name__)

#: The first message comes so soon, and a call that it names is known so soon.
SAYS_WHAT_WITHIN_S = 5.0
KNOWN_WITHIN_S = 30.0
LOOKS_EVERY_S = 1.0
#: So long a slow reader may take over what was said last; one who takes nothing at all goes sooner.
LAST_WORDS_S = 60.0
GONE_WITHIN_S = 3.0
MESSAGES_A_MINUTE = 100
MOST_READERS = 1000
#: What the system keeps for a reader beside our queue: a large buffer would hide for long that he is gone.
SEND_BUFFER_BYTES = 16 << 10
GOING_AWAY, NO_RIGHT, TRY_AGAIN, BROKEN = 1001, 1008, 1013, 1011
#: The same to those who may not read a call and to those who name none: nobody learns which calls there are.
UNKNOWN = "no such call, or not yours to read"
TICKET = "ticket."

viewers = Blueprint("viewers", __name__)
register_problems(viewers)


@dataclass(frozen=True)
class Right:
    """What was shown before the handshake was answered.

    Attributes:
        reads_all: an operator, or this machine.
        call_sid: the call that a ticket among the subprotocols is for.
        session: what ``reads_all`` rests on, where it may end.
    """

    reads_all: bool = False
    call_sid: str = ""
    session: OperatorsSession | None = None


@dataclass(frozen=True)
class Wish:
    """A reader's first message."""

    call_sid: str
    ticket: str = ""
    after: int = 0


@viewers.before_request
def _check() -> None:
    """Everything that can be refused before the 101 is: foreign pages, and proofs that prove nothing."""
    need_gunicorn()
    if is_foreign_page():
        abort(403, "Pages of other origins may not read transcripts.")
    if current_app.extensions["drain"].is_set():
        abort(503, "This worker is about to end.")
    g.right = _right()
    if not cast(Streams, current_app.extensions["reading"]).enter(MOST_READERS):
        abort(503, "This worker has no room for another reader.")
    g.is_counted = True


@viewers.record_once
def _begin_to_count(state: BlueprintSetupState) -> None:
    """Sockets, from the handshake on, whether they have named a call or not."""
    state.app.extensions.setdefault("reading", Streams())


@viewers.teardown_request
def _make_room(error: BaseException | None) -> None:
    if g.pop("is_counted", False):
        cast(Streams, current_app.extensions["reading"]).leave()


def _right() -> Right:
    session, has_password = operators_session(), has_operators_password()
    if (has_session_cookie() and session is None) or (
        "Authorization" in request.headers and not has_password
    ):
        challenge = WWWAuthenticate("basic", {"realm": "Answerline operator"})
        raise Unauthorized("This session or password is not valid.", www_authenticate=challenge)
    offered = (each.strip() for each in request.headers.get("Sec-WebSocket-Protocol", "").split(","))
    given = next((each for each in offered if each.startswith(TICKET)), "")
    if given:
        g.subprotocol = given
    return Right(
        is_local() or has_password or session is not None,
        _redeemed(given.removeprefix(TICKET)) if given else "",
        None if has_password or is_local() else session,
    )


def _redeemed(ticket: str) -> str:
    try:
        return cast(Tickets, current_app.extensions["tickets"]).redeem(ticket)
    except TicketError as error:
        raise Unauthorized(f"The ticket is not valid: {error}.") from error


def client(ws: ServerSocket) -> None:
    """A call's live transcript: plain text or JSON says which; see docs/one-call.md."""
    own = current_app.extensions
    gauge = own["metrics"].websockets.labels("client")
    ws.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    gauge.inc()
    try:
        Viewer(ws.wire, g.right, own["tickets"], own["readers"], own["drain"].is_set).run()
    except LegClosed:
        pass
    except Exception:  # the socket's edge: what escapes here would be written into it as HTTP
        log.exception("A reader's socket failed")
        ws.wire.close(BROKEN, "internal error")
    finally:
        gauge.dec()


sock.route("/client", bp=viewers)(client)


class Viewer:
    """One reader's connection, from its 101 to its end.

    Args:
        is_draining: whether this worker is about to end.
    """

    def __init__(
        self,
        wire: Wire,
        right: Right,
        tickets: Tickets,
        readers: Readers,
        is_draining: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wire, self._right, self._tickets, self._readers = wire, right, tickets, readers
        self._is_draining, self._clock = is_draining, clock
        self._heard: deque[float] = deque(maxlen=MESSAGES_A_MINUTE + 1)
        self._first = b""

    def run(self) -> None:
        """Serve until the connection is closed.

        Raises:
            LegClosed: it is.
        """
        self._serve()
        gone_by = self._clock() + GONE_WITHIN_S
        while self._clock() < gone_by:
            self._wire.receive(LOOKS_EVERY_S)
            self._wire.tick(self._clock())

    def _serve(self) -> None:
        """Until one of us has closed."""
        asked_until = self._clock() + SAYS_WHAT_WITHIN_S
        while not self._first:
            if self._clock() >= asked_until:
                return self._wire.close(NO_RIGHT, "no call was named")
            if not self._listen(asked_until):
                return None
        wish = _read(self._first)
        if wish is None or not self._may_read(wish):
            return self._wire.close(NO_RIGHT, UNKNOWN)
        reader = Reader(wish.call_sid, wish.after, self._wire)
        known_until = self._clock() + KNOWN_WITHIN_S
        with bound_call(wish.call_sid):
            self._readers.add(reader)
            try:
                self._follow(reader, known_until)
            finally:
                self._readers.remove(reader)

    def _follow(self, reader: Reader, known_until: float) -> None:
        over_at: float | None = None
        while self._listen(self._clock() + LOOKS_EVERY_S):
            now = self._clock()
            if reader.is_over:
                over_at = now if over_at is None else over_at
                if not self._wire.waiting.messages:
                    return self._wire.close()
                if now - over_at > LAST_WORDS_S:
                    return reader.send_away()
            elif not reader.is_known and now >= known_until:
                if self._readers.is_away:
                    return self._wire.close(TRY_AGAIN, "the transcript cannot be read right now")
                return self._wire.close(NO_RIGHT, UNKNOWN)
        return None

    def _listen(self, until: float) -> bool:
        """Take what the reader says, a second at most; False: he has been sent away."""
        messages = self._wire.receive(min(max(until - self._clock(), 0.0), LOOKS_EVERY_S))
        now = self._clock()
        self._wire.tick(now)
        if messages and not self._first:
            self._first = messages[0] or b" "
        self._heard.extend([now] * len(messages))
        if len(self._heard) > MESSAGES_A_MINUTE and now - self._heard[0] < 60.0:
            self._wire.close(NO_RIGHT, "too many messages")
            return False
        session = self._right.session
        if session is not None and not session.is_on(fresh=False):
            self._wire.close(NO_RIGHT, "signed out")
            return False
        if self._is_draining():
            self._wire.close(GOING_AWAY, "this server ends; come again")
            return False
        return True

    def _may_read(self, wish: Wish) -> bool:
        """A ticket that is shown is checked, and used up, even where none is needed."""
        if not wish.ticket:
            return self._right.reads_all or self._right.call_sid == wish.call_sid
        try:
            self._tickets.spend(wish.ticket, wish.call_sid)
        except TicketError as error:
            log.info("A ticket is refused: %s", error)
            return False
        return True


def _read(message: bytes) -> Wish | None:
    """Which call, and from where: plain text, or JSON; None if it says neither."""
    text = message.decode().strip()
    if not text.startswith("{"):
        return Wish(text) if CALL_SID.fullmatch(text) else None
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return None
    call_sid, ticket, after = told.get("call_sid"), told.get("ticket") or "", told.get("after") or 0
    is_whole = isinstance(after, int) and not isinstance(after, bool) and 0 <= after < 1 << 53
    if not (
        isinstance(call_sid, str) and CALL_SID.fullmatch(call_sid) and isinstance(ticket, str) and is_whole
    ):
        return None
    return Wish(call_sid, ticket, after)

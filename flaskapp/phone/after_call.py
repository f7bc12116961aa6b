"""What follows when a call is over: its outcome is settled, and its operator's own system is told.

Whoever sees a call's end says ``over``, which only notes it, behind everything
else that was noted of the call. The sweeper finds the note when it is due and
submits a job; the job waits until the call's words are in, and sends them until
they are accepted. What is sent is described in docs/call-webhook.md.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import http.client
import json
import logging
import random
import secrets
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import certifi

from flaskapp.config import Settings
from flaskapp.phone.agent import Agents
from flaskapp.phone.transcript import AGENT, CALLER
from flaskapp.signing import WEBHOOK_PREFIX, hkdf, webhook_key
from flaskapp.store.deliveries import Due
from flaskapp.store.history import OPEN_RECORDINGS, CallChanged, CallOver, History

log = logging.getLogger(__name__)

EVENT = "call.ended"
#: What other workers still have to say of the call is said by then.
SETTLED_AFTER = timedelta(seconds=2)
WAITED_FOR = timedelta(minutes=5)
GIVEN_UP_AFTER = timedelta(days=3)
LOOKS_AGAIN_S = (1.0, 15.0)  # while words are still being understood: at least, at most
PAUSES_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)  # after the first attempt, the second ...
CONNECT_S = 5.0
ANSWER_S = 10.0
GONE = 410
NO_URL = "CALL_WEBHOOK_URL is empty"

#: The outcome that goes with an ending, whatever was said.
BY_ENDING = {"busy": "rejected", "max_duration": "limit", "max_cost": "limit", "worker_lost": "lost"}
NOTHING_IN_IT = {"silent", "absent", "blocked_url", "too_large", "not_audio"}
UNDERSTOOD = {"answered", "understood", "silent"}

Row = Mapping[str, Any]
Post = Callable[[str, bytes, Mapping[str, str]], int]


# ---------------------------------------------------------------------- what came of it


def outcome(call: Row, turns: Sequence[Row], message: Row | None) -> str:
    """What came of a call, in one word.

    Args:
        call, turns: as the history has them.
        message: what the caller left, or None.
    """
    reason = call["ended_reason"] or ""
    if reason == "transferred":
        return "transferred"
    if message is not None:
        return "message"
    if reason in BY_ENDING:
        return BY_ENDING[reason]
    has_spoken = any(turn["speaker"] == CALLER and turn["text"].strip() for turn in turns)
    return "answered" if has_spoken else "nothing_said"


def message_of(call: Row, turns: Sequence[Row], recordings: Sequence[Row]) -> dict[str, str] | None:
    """What the caller left for somebody: by the agent's tool, or as a call's last recording.

    The words of a recording are empty as long as nobody has understood it.
    """
    if call["message"] is not None:
        return dict(call["message"])
    left = [each for each in recordings if each["status"] != "blocked_url"]
    if call["ended_reason"] != "message_left" or not left:
        return None
    last = max(left, key=lambda each: -1 if each["position"] is None else each["position"])
    if last["status"] in NOTHING_IN_IT:
        return None
    words = [turn["text"] for turn in turns if turn["item"] == last["recording_sid"]]
    return {"text": words[0] if words else "", "name": "", "callback": ""}


def is_complete(call: Row, turns: Sequence[Row], recordings: Sequence[Row]) -> bool:
    """Whether nothing more is to be expected of a call that is over."""
    is_understood = all(each["status"] not in OPEN_RECORDINGS for each in recordings)
    return call["ended_at"] is not None and is_understood and all(turn["is_final"] for turn in turns)


def transcript(turns: Sequence[Row]) -> list[dict[str, Any]]:
    """The lines as they were heard: an answer that nobody was there to hear is none."""
    told = ("speaker", "start_ms", "end_ms", "interrupted", "mode")
    return [
        {"text": turn["text"], **{name: turn[name] for name in told}} for turn in turns if was_heard(turn)
    ]


def was_heard(turn: Row) -> bool:
    """Whether a line has words that the other one was there to hear."""
    is_lost = turn["speaker"] == AGENT and turn["interrupted"] and turn["mode"] != "live"
    return bool(turn["text"]) and not is_lost


class AfterCall:
    """Settles calls that are over, and tells the operator's own system of them.

    Args:
        note: has entries written to the history soon, in their order.
        post: URL, body and headers -> the answer's status; raises OSError or http.client.HTTPException.
        now: the time, in UTC.
        jitter: from 0 to 1, so that many calls are not tried again at once.
    """

    def __init__(
        self,
        history: History,
        note: Callable[..., None],
        agents: Agents,
        settings: Settings,
        *,
        post: Post | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._history, self._note, self._agents = history, note, agents
        self._url, self._secret = settings.call_webhook_url, secret(settings)
        self._recordings_url = settings.twilio_api_base_url
        self._deletes = settings.delete_recordings
        self._post, self._now, self._jitter = post or send, now, jitter
        #: Is told that nothing more is to be expected of a call; possibly more than once.
        self.told: Callable[[str], None] = lambda call_sid: None
        #: The same; what it raises has the job tried again.
        self.settled: Callable[[str], None] = lambda call_sid: None

    def over(self, call_sid: str) -> None:
        """A call is over for good; said twice, it is so once."""
        self.told(call_sid)
        now = self._now()
        self._note(CallOver(call_sid, f"evt_{secrets.token_hex(16)}", now, now + SETTLED_AFTER))

    def deliver(self, call_sid: str) -> None:
        """Do what is due about a call; nothing if that is not now, or somebody else is at it.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database is away; it is due again in a minute.
        """
        due = self._history.deliveries.claim(call_sid, self._now())
        call = self._history.call(call_sid) if due else None
        if due is None or call is None:
            return
        turns, recordings = self._history.turns(call_sid), self._history.recordings(call_sid)
        found = self._settled(call, turns, recordings)
        age, whole = self._now() - due.created_at, is_complete(call, turns, recordings)
        if not whole and age < WAITED_FOR:
            least, most = LOOKS_AGAIN_S
            self._history.deliveries.postpone(due, self._in(min(most, max(least, age.total_seconds() / 4))))
            return
        self.settled(call_sid)
        self.told(call_sid)  # whoever saw the end may not have lived to say so
        if not self._url:
            self._history.deliveries.given_up(due, NO_URL, self._now())
        else:
            told = self._told({**call, **found}, turns, recordings)
            self._send(due, {"event": EVENT, "id": due.event_id, **told, "is_complete": whole})

    def _settled(self, call: Row, turns: Sequence[Row], recordings: Sequence[Row]) -> dict[str, Any]:
        """What came of the call, kept in its row; a message only once it has its words."""
        message = message_of(call, turns, recordings)
        found = {"outcome": outcome(call, turns, message), "message": message}
        is_worded = message is None or message["text"]
        changed = {
            name: value
            for name, value in found.items()
            if value != call[name] and (is_worded or name == "outcome")
        }
        if changed:
            self._history.write([CallChanged(call["call_sid"], changed)])
        return found

    def _told(self, call: Row, turns: Sequence[Row], recordings: Sequence[Row]) -> dict[str, Any]:
        """The call, as its operator's system is told."""
        first = ("call_sid", "carrier", "caller", "called")
        then = ("duration_ms", "mode", "ended_reason", "outcome", "message")
        return {
            **{name: call[name] for name in first},
            "agent": self._agents.for_number(call["called"] or "").name,
            "started_at": _moment(call["started_at"]),
            "ended_at": _moment(call["ended_at"]),
            **{name: call[name] for name in then},
            "transcript": transcript(turns),
            "usage": call["usage"] or {},
            "cost_usd": call["cost_usd"],
            "recordings": [self._recording(each) for each in recordings if _is_carriers(each)],
        }

    def _recording(self, row: Row) -> dict[str, Any]:
        """A recording of the carrier's, with its address there; None where there is, or will be, nothing."""
        sid, account = row["recording_sid"], row["account_sid"]
        is_kept = bool(account) and not (self._deletes and row["status"] in UNDERSTOOD)
        url = f"{self._recordings_url}/2010-04-01/Accounts/{account}/Recordings/{sid}"
        has_url = is_kept and row["status"] not in ("absent", "blocked_url")
        return {
            "recording_sid": sid,
            "url": url if has_url else None,
            "duration_ms": row["duration_ms"],
            "status": row["status"],
        }

    # ------------------------------------------------------------------ until it is accepted

    def _send(self, due: Due, told: Mapping[str, Any]) -> None:
        """One attempt, and what follows from it."""
        sid, kept = due.call_sid, self._history.deliveries
        body = json.dumps(told, ensure_ascii=False).encode("utf-8", "replace")
        signed = headers(self._secret, due.event_id, int(self._now().timestamp()), body)
        try:
            status = self._post(self._url, body, signed)
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            status, said = 0, type(error).__name__  # not its words: the receiver chooses those
        else:
            said = f"HTTP {status}"
        if 200 <= status < 300:
            kept.accepted(due, self._now())
            log.info("The call's webhook is delivered", extra={"call_sid": sid})
        elif status == GONE or self._now() - due.created_at > GIVEN_UP_AFTER:
            kept.given_up(due, said, self._now())
            tries = due.attempts + 1
            log.error("The call's webhook is given up, attempt %d: %s", tries, said, extra={"call_sid": sid})
        else:
            if said != due.last_error:
                log.warning("The call's webhook is not accepted: %s", said, extra={"call_sid": sid})
            pause_s = PAUSES_S[min(due.attempts, len(PAUSES_S) - 1)]
            kept.failed(due, said, self._in(pause_s * (0.8 + 0.4 * self._jitter())))

    def _in(self, seconds: float) -> datetime:
        return self._now() + timedelta(seconds=seconds)


def _is_carriers(recording: Row) -> bool:
    """Not a part of our own buffer."""
    return recording["source"] in (None, "recording")


def _moment(at: datetime | None) -> str | None:
    """``2026-11-21T12:00:00.000Z``."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else None


# ---------------------------------------------------------------------- signed and sent


def secret(settings: Settings) -> str:
    """What signs, as receivers' libraries take it: ``whsec_`` and base64.

    CALL_WEBHOOK_SECRET may be that already, or another text, whose UTF-8 bytes are the key; where it is
    empty the key comes of SECRET_KEY.
    """
    text = settings.call_webhook_secret.get_secret_value() if settings.call_webhook_secret else ""
    ours = settings.secret_key.get_secret_value() if settings.secret_key else ""
    key = webhook_key(text) if text else hkdf(ours.encode(), b"answerline call webhook")
    return WEBHOOK_PREFIX + base64.b64encode(key).decode()


def headers(spelled: str, event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of one attempt (https://www.standardwebhooks.com).

    Args:
        spelled: as ``secret`` gives it.
        timestamp: seconds since 1970; receivers refuse one that is minutes away.
    """
    key = base64.b64decode(spelled.removeprefix(WEBHOOK_PREFIX))
    signed = hmac.digest(key, f"{event_id}.{timestamp}.".encode() + body, "sha256")
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
        "Content-Type": "application/json",
        "User-Agent": "Answerline",
    }


def send(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    within_s: float = ANSWER_S,
    tls: ssl.SSLContext | None = None,
) -> int:
    """One POST: the answer's status. Redirects are not followed, and its body is not read.

    Args:
        tls: certificates to trust; the usual ones where it is not given.

    Raises:
        OSError, http.client.HTTPException: no connection, a broken one, or no answer within ``within_s``.
    """
    where = urlsplit(url)
    is_secure, name = where.scheme == "https", where.hostname or ""
    sent = {**headers, "Host": where.netloc, "Connection": "close"}
    with contextlib.ExitStack() as closing:
        port = where.port or (443 if is_secure else 80)
        wire = closing.enter_context(socket.create_connection((name, port), CONNECT_S))
        is_late = closing.enter_context(_cut_off(wire, within_s))
        wire.settimeout(within_s)
        try:
            if is_secure:
                trusted = tls or ssl.create_default_context(cafile=certifi.where())
                wire = closing.enter_context(trusted.wrap_socket(wire, server_hostname=name))
            connection = http.client.HTTPConnection(name, port)
            connection.auto_open = 0  # it has this one wire
            connection.sock = wire
            target = f"{where.path or '/'}{'?' + where.query if where.query else ''}"
            connection.request("POST", target, body, sent)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            if is_late.is_set():
                raise TimeoutError(f"no answer within {within_s:g} s") from error
            raise


@contextlib.contextmanager
def _cut_off(wire: socket.socket, after_s: float) -> Iterator[threading.Event]:
    """Cuts a connection when its time is up, whatever still drips: an event that is set by then."""
    is_late = threading.Event()
    handle = wire.dup()  # TLS takes the socket's own away

    def cut() -> None:
        is_late.set()
        with contextlib.suppress(OSError):  # closed by the other side already
            handle.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(after_s, cut)
    timer.daemon = True
    timer.start()
    try:
        yield is_late
    finally:
        timer.cancel()
        handle.close()

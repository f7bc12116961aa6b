"""Writes what workers that are gone knew of their calls' ends: their last entries, and their lines."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from redis.exceptions import RedisError
from sqlalchemy import exc

from flaskapp.phone.resumption import cost_usd, write_down
from flaskapp.store import ends, keys
from flaskapp.store.database import in_short
from flaskapp.store.ends import Ends
from flaskapp.store.history import CallChanged, CallOpened, CallOver, Entry, History
from flaskapp.store.live import LiveStore

log = logging.getLogger(__name__)

#: A writer that lives has written by then, unless the database is away.
OTHERS_WRITE_WITHIN_S = 5.0
AT_ONCE = 500
PROLONGED_EVERY_S = 20.0  # well within the lifetime of what is to be kept
TWILIO = "twilio"
#: A call in one of these states is somebody's: on a stream, between two, or on its way to a person.
IN_HANDS = ("live", "moving", "transferring")
AWAY = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError)


class Restorer:
    """Carries kept ends to the history where those who noted them did not.

    Args:
        on_over: told of a call that is over for good, where nobody lived to say so; harmless if somebody did.
    """

    def __init__(
        self, live: LiveStore, history: History, on_over: Callable[[str], None] = lambda call_sid: None
    ) -> None:
        self._live, self._history, self._on_over = live, history, on_over
        self._ends = Ends(live.redis)
        self._prolonged_at = 0.0

    def restore(self, now: float) -> None:
        """Write what has been waiting for too long. ``now``: seconds since 1970.

        Raises:
            redis.exceptions.RedisError: Redis is away.
            sqlalchemy.exc.SQLAlchemyError: the database is away; what is not written stays.
        """
        waiting = self._ends.unwritten(now - OTHERS_WRITE_WITHIN_S, AT_ONCE)
        try:
            for call_sid, marks in groupby(sorted(waiting, key=ends.call_of), ends.call_of):
                self._write_if_possible(call_sid, list(marks))
        except AWAY:
            self._prolong(now)
            raise

    def _write_if_possible(self, call_sid: str, marks: list[str]) -> None:
        try:
            self._write(call_sid, marks)
        except (*AWAY, RedisError):
            raise
        except Exception as error:  # one call's trouble is not the others'; it is tried again
            log.error("%s", in_short(error), extra={"call_sid": call_sid})

    def _write(self, call_sid: str, marks: list[str]) -> None:
        """One call's: ``marks`` in the order in which they were noted."""
        log.warning("What a worker noted of a call's end is written by another", extra={"call_sid": call_sid})
        row = self._history.call(call_sid) or {}
        noted = [each for mark in marks for each in _read(mark)]
        entries = [*self._known(call_sid, row), *(_still_new(row, each) for each in noted)]
        try:
            self._history.write(entries)
        except AWAY:
            raise
        except (exc.SQLAlchemyError, ValueError):  # one of them no database will ever take
            for entry in entries:
                self._write_alone(entry)
        known = self._live.recall(call_sid)
        is_told = any(isinstance(each, CallOver) for each in noted)
        if not is_told and (known.get("state"), known.get("needs_fallback")) == ("ended", "0"):
            self._on_over(call_sid)
        self._ends.written(marks)

    def _write_alone(self, entry: Entry) -> None:
        try:
            self._history.write([entry])
        except AWAY:
            raise
        except (exc.SQLAlchemyError, ValueError) as error:
            name = type(error).__name__
            log.error("A note cannot be written: %s", name, extra={"call_sid": entry.call_sid})

    def _known(self, call_sid: str, row: dict[str, Any]) -> list[Entry]:
        """What Redis itself still knows of the call: who called whom, its costs, its lines."""
        known = self._live.recall(call_sid)
        told: list[Entry] = []
        if "began" in known:
            began = datetime.fromtimestamp(float(known["began"]), UTC)
            carrier, caller, called = (known.get(name, "") for name in ("carrier", "caller", "called"))
            path = known.get("path", "live")
            told.append(CallOpened(call_sid, carrier or TWILIO, caller, called, path, began))
        if known and known.get("state") not in IN_HANDS:
            usage, spent_usd = self._live.usage(call_sid), cost_usd(known)
            if sum(usage.values()) > sum((row.get("usage") or {}).values()):
                told.append(CallChanged(call_sid, {"usage": usage}))
            if spent_usd > (row.get("cost_usd") or 0.0):
                told.append(CallChanged(call_sid, {"cost_usd": spent_usd}))
            write_down(call_sid, self._live, lambda *lines: told.extend(lines))
        return told

    def _prolong(self, now: float) -> None:
        """What is forgotten soon after a call's end is not, as long as the history does not have it."""
        if 0 <= now - self._prolonged_at < PROLONGED_EVERY_S:
            return
        self._prolonged_at, redis = now, self._live.redis
        names = [name for sid in self._ends.calls() for name in (keys.call(sid), keys.lines(sid))]
        with redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.ttl(name)
            lifetimes = pipe.execute()
            for name, seconds in zip(names, lifetimes, strict=True):
                if 0 <= seconds < keys.FORGOTTEN_S:
                    pipe.expire(name, keys.FORGOTTEN_S)
            pipe.execute()


def _read(mark: str) -> list[Entry]:
    try:
        return [ends.entry_of(mark)]
    except ValueError as error:
        log.error("What was kept cannot be read: %s", error, extra={"call_sid": ends.call_of(mark)})
        return []


def _still_new(row: dict[str, Any], entry: Entry) -> Entry:
    """What the history does not know better by now: it may have this end, or a later one."""
    if not isinstance(entry, CallChanged):
        return entry
    fields, known_end = dict(entry.fields), row.get("ended_at")
    if known_end is not None and "ended_at" in fields and fields["ended_at"] <= known_end:
        fields = {name: value for name, value in fields.items() if name == "status"}
    if row.get("message") is not None:
        fields.pop("message", None)
    return replace(entry, fields=fields)

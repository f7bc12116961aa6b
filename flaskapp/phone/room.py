"""Whether there is room for another stream (MAX_CALLS), and how many come in at the same time."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import cast

from flask import Blueprint, abort, current_app, g
from flask.sansio.blueprints import BlueprintSetupState

from flaskapp.config import Settings
from flaskapp.phone.resumption import BROKEN_OFF
from flaskapp.store.live import LiveStore

log = logging.getLogger(__name__)


class Streams:
    """How many streams a worker has, each from its check before the handshake to its socket's end."""

    def __init__(self) -> None:
        self._count = 0
        self._guard = threading.Lock()

    def enter(self, most: int | None) -> bool:
        """One more, at once; False if there are ``most`` already."""
        with self._guard:
            if most is not None and self._count >= most:
                return False
            self._count += 1
            return True

    def leave(self) -> None:
        with self._guard:
            self._count -= 1

    @property
    def count(self) -> int:
        """How many there are at the moment."""
        return self._count


#: Coming in takes many short works in a row. Between those of so few streams others' frames pass in time.
AT_ONCE = 2
#: Whoever takes longer waits for somebody else - the carrier, Redis - and is in nobody's way.
INSIDE_S = 0.1
#: Carriers give up soon after.
AT_THE_DOOR_S = 5.0
LOOKS_EVERY_S = 0.02


class Doorway:
    """Streams come in one after the other, a few at the same time: others speak already.

    Args:
        at_once: so many are inside, each until it leaves, or for ``inside_s``.
    """

    def __init__(
        self,
        at_once: int = AT_ONCE,
        inside_s: float = INSIDE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._at_once, self._inside_s, self._clock = at_once, inside_s, clock
        self._inside: dict[str, float] = {}  # until when each counts
        self._waiting: deque[threading.Event] = deque()
        self._guard = threading.Lock()

    def enter(self, call_sid: str, within_s: float = AT_THE_DOOR_S) -> None:
        """Wait for one's turn; not for ever."""
        turn, give_up_at = threading.Event(), self._clock() + within_s
        with self._guard:
            self._waiting.append(turn)
        try:
            while not self._has_turn(call_sid, turn, give_up_at):
                turn.wait(max(self._changes_at(give_up_at) - self._clock(), LOOKS_EVERY_S))
                turn.clear()
        finally:
            with self._guard:
                self._waiting.remove(turn)
                self._wake()

    def leave(self, call_sid: str) -> None:
        """It has come in, or is gone; harmless for one that has left already."""
        with self._guard:
            self._inside.pop(call_sid, None)
            self._wake()

    def _has_turn(self, call_sid: str, turn: threading.Event, give_up_at: float) -> bool:
        now = self._clock()
        with self._guard:
            self._inside = {sid: until for sid, until in self._inside.items() if until > now}
            is_next = self._waiting[0] is turn and len(self._inside) < self._at_once
            if not is_next and now < give_up_at:
                return False
            self._inside[call_sid] = now + self._inside_s
            return True

    def _wake(self) -> None:
        if self._waiting and len(self._inside) < self._at_once:
            self._waiting[0].set()

    def _changes_at(self, give_up_at: float) -> float:
        """When there is room at the latest, or no more patience."""
        return min([give_up_at, *self._inside.values()])


def counts_streams(blueprint: Blueprint) -> None:
    """Have the room that a request of this blueprint found be free again when it is over."""
    blueprint.record_once(_begin_to_count)
    blueprint.teardown_request(_make_room)


def find_room(call_sid: str) -> None:
    """MAX_CALLS is about new calls: one whose stream broke off, or was handed over, is always taken up.

    Whoever is refused here was let in by a webhook a moment ago, as others were: the carrier asks next
    what follows, and is told to record.

    Args:
        call_sid: empty where that is not known yet.
    """
    own = current_app.extensions
    if "warm_up" in own:  # in a worker that has just begun: before the stream, not in it
        own["warm_up"]()
    cast(Doorway, own["doorway"]).enter(call_sid)
    streams, most = cast(Streams, own["streams"]), cast(Settings, own["settings"]).max_calls
    if not streams.enter(most):
        if cast(LiveStore, own["live_store"]).recall(call_sid).get("state") not in BROKEN_OFF:
            log.warning("A stream is refused: this worker is full", extra={"call_sid": call_sid})
            own["metrics"].fallbacks.labels("full").inc()
            abort(503, "This worker has no room for another call.")
        streams.enter(None)
    g.has_room, g.came_as = True, call_sid


def keep_room() -> Callable[[], None]:
    """The room that this request found stays taken when it is over, until what is returned is called."""
    if not g.pop("has_room", False):
        return lambda: None
    own, came_as = current_app.extensions, g.pop("came_as")

    def make_room() -> None:
        cast(Streams, own["streams"]).leave()
        cast(Doorway, own["doorway"]).leave(came_as)

    return make_room


def _begin_to_count(state: BlueprintSetupState) -> None:
    own = state.app.extensions
    own.setdefault("streams", Streams())
    own["scribe"].came_in = own.setdefault("doorway", Doorway()).leave


def _make_room(error: BaseException | None) -> None:
    keep_room()()

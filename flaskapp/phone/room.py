"""How many streams this worker has, and whether there is room for another (MAX_CALLS)."""

from __future__ import annotations

import logging
import threading
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
    streams, most = cast(Streams, own["streams"]), cast(Settings, own["settings"]).max_calls
    if not streams.enter(most):
        if cast(LiveStore, own["live_store"]).recall(call_sid).get("state") not in BROKEN_OFF:
            log.warning("A stream is refused: this worker is full", extra={"call_sid": call_sid})
            own["metrics"].fallbacks.labels("full").inc()
            abort(503, "This worker has no room for another call.")
        streams.enter(None)
    g.has_room = True


def _begin_to_count(state: BlueprintSetupState) -> None:
    state.app.extensions.setdefault("streams", Streams())


def _make_room(error: BaseException | None) -> None:
    if g.pop("has_room", False):
        cast(Streams, current_app.extensions["streams"]).leave()

"""Keeps new calls off an engine that does not serve, and finds out when it does again.

Three states: *well*; *doubtful* after a failure that nothing has made up for;
*open* after several in a short time, or after one that no second try mends.
While it is not well a thread opens a session now and then to see; from one that
let callers wait in vain it wants to see that a reply begins, too.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from flaskapp.phone.engines.connection import Engine
from flaskapp.phone.engines.realtime import RealtimeSession
from flaskapp.phone.errors import EngineUnreachable, LegError
from flaskapp.phone.recovery import STALLED
from flaskapp.phone.wire import Wire

log = logging.getLogger(__name__)

FAILURES = 5
WITHIN_S = 30.0
PROBE_EVERY_S = 5.0
PROBE_REFUSED_EVERY_S = 30.0
ASKED_WITHIN_S = 300.0
CREATED_WITHIN_S = 3.0
#: What only a person can mend, and what he would have to look at.
HOPELESS: Mapping[int, str] = MappingProxyType(
    {
        401: "the engine does not accept our key or token (401)",
        403: "our key or token may not use this engine (403)",
        404: "the engine knows no such address, model or deployment (404)",
        3000: "the engine does not accept our key (close code 3000)",
        4000: "the engine wants another shape of the protocol (close code 4000)",
    }
)


class Health(StrEnum):
    """What is thought of the engine."""

    WELL = "well"
    DOUBTFUL = "doubtful"
    OPEN = "open"


class Breaker:
    """What one worker has seen of its engine.

    Args:
        probe: opens a session, has it reply if told to, and closes it; raises ``LegError`` when that fails.
        clock: seconds, monotonic.
        wait: lets the thread rest so many seconds.
    """

    def __init__(
        self,
        probe: Callable[[bool], None],
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], Any] = time.sleep,
    ) -> None:
        self._probe, self._clock, self._wait = probe, clock, wait
        self._guard = threading.Lock()
        self._health = Health.WELL
        self._failed_at: deque[float] = deque(maxlen=FAILURES)
        self._is_hopeless = self._has_stalled = False
        self._asked_at = clock()
        self._prober: threading.Thread | None = None

    def failed(self, kind: str, status: int = 0) -> None:
        """A session did not come about, or was lost; ``status``: HTTP's, or the close code."""
        now = self._clock()
        with self._guard:
            self._failed_at.append(now)
            self._has_stalled = self._has_stalled or kind == STALLED
            is_often = len(self._failed_at) == FAILURES and now - self._failed_at[0] <= WITHIN_S
            is_news = status in HOPELESS and not self._is_hopeless
            self._is_hopeless = self._is_hopeless or status in HOPELESS
            was_open = self._health is Health.OPEN
            is_open = was_open or is_often or self._is_hopeless
            self._health = Health.OPEN if is_open else Health.DOUBTFUL
        if is_news:
            log.error("No new calls go to the engine: %s", HOPELESS[status])
        elif is_open and not was_open:
            log.warning("No new calls go to the engine for now: %s", kind)
        self._look_after()

    def succeeded(self) -> None:
        """A session replies, or was seen to be granted."""
        with self._guard:
            was_open = self._health is Health.OPEN
            self._health, self._is_hopeless, self._has_stalled = Health.WELL, False, False
            self._failed_at.clear()
        if was_open:
            log.info("New calls go to the engine again")

    @property
    def health(self) -> Health:
        """Asking keeps the engine looked after."""
        if self._health is not Health.WELL:
            self._look_after()
        return self._health

    @property
    def allows_new_calls(self) -> bool:
        """Whether a call may be sent to the engine."""
        return self.health is not Health.OPEN

    @property
    def is_well(self) -> bool:
        """Whether a call that is served otherwise may return to the engine."""
        return self.health is Health.WELL

    def _look_after(self) -> None:
        with self._guard:
            self._asked_at = self._clock()
            if self._prober is None:
                self._prober = threading.Thread(target=self._watch, name="engine-probe", daemon=True)
                self._prober.start()

    def _watch(self) -> None:
        """Until it is well again, or nobody has asked for long."""
        while True:
            self._wait(PROBE_REFUSED_EVERY_S if self._is_hopeless else PROBE_EVERY_S)
            with self._guard:
                is_forgotten = self._clock() - self._asked_at > ASKED_WITHIN_S
                if self._health is Health.WELL or is_forgotten:
                    self._prober = None
                    return
            try:
                self._probe(self._has_stalled)
            except LegError as error:
                log.debug("The engine does not serve yet: %s", error)
            except Exception:  # this thread's edge: whatever it was, the engine is looked at again
                log.exception("The engine could not be probed")
            else:
                self.succeeded()


def probe(engine: Engine, wants_reply: bool = False) -> None:
    """Open a session and close it when the engine has said that there is one.

    Args:
        wants_reply: have it begin to say a word, which costs a few tokens.

    Raises:
        LegError: there was none.
    """
    wire = engine.open()
    try:
        _await(wire, b'"session.created"')
        if wants_reply:
            wire.send([RealtimeSession().response_create("Say: yes.")])
            _await(wire, b'"response.created"')
    finally:
        wire.close()
        wire.abort()
        wire.dispose(close_socket=True)


def _await(wire: Wire, name: bytes) -> None:
    deadline = time.monotonic() + CREATED_WITHIN_S
    while (left_s := deadline - time.monotonic()) > 0:
        if any(name in message for message in wire.receive(left_s)):
            return
    raise EngineUnreachable(f"no {name.decode()} in time")

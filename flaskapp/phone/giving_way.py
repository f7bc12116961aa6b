"""Whatever is done beside the calls' frames gives way to them: so much in a row, then the event loop looks.

The event loop runs all that is ready before it looks at its sockets again. Each piece of an opening - a
request, what follows an answer of Redis's - is short; of many calls that open they come together, and frames
would wait for the sum. Whoever must wait stands in a queue, of which the loop asks as many as there is time
for: were each to look for itself whether it is its turn, a thousand calls that end at once would do little
else.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from flaskapp.phone.waiting import is_cooperative

#: So much in a row; the last piece of it takes as long as it takes.
BUSY_S = 0.001
#: A pause of no length would not do: gevent looks at its sockets only after a whole lot of those.
MOMENT_S = 1e-6


class _Turns:
    """One turn of the event loop after the other: when its work began, and who waits for a later one.

    Attributes:
        hub: whose loop it is.
    """

    def __init__(self, hub: Any) -> None:
        self.hub, self._loop = hub, hub.loop
        self._number, self._began = -1, 0.0
        self._waiting: deque[list[Any]] = deque()  # each a greenlet; who has waited longest first
        self._asks = self._loop.timer(MOMENT_S)
        self._asked: Any = None  # who was asked last

    def enter(self, greenlet: Any) -> None:
        """Go on in this turn, if there is time left and nobody waits; otherwise when one is asked to.

        Whoever was asked uses up the turn that he was given: what he does has many pieces, perhaps.
        """
        if greenlet is self._asked and self._loop.iteration == self._number and self._has_time():
            return
        if not self._waiting:
            if self._has_time():
                return
            self._asks.start(self._ask)
        own = [greenlet]
        self._waiting.append(own)
        try:
            while own:
                self.hub.switch()
        finally:
            if own:  # it was killed, or waited too long for something
                self._waiting.remove(own)
        self._asked = greenlet

    def _has_time(self) -> bool:
        number, now = self._loop.iteration, time.perf_counter()
        if number != self._number:
            self._number, self._began = number, now
        return now - self._began <= BUSY_S

    def _ask(self) -> None:
        """Called by the event loop, once in a turn: at least one goes on."""
        try:
            self._has_time()  # others may have begun it
            while self._waiting:
                self._waiting.popleft().pop().switch()
                if not self._has_time():
                    break
        finally:
            if self._waiting:
                self._asks.start(self._ask)


_turns: _Turns | None = None


def give_way() -> None:
    """Between two pieces of work: wait until frames have passed, if enough was done since they last did.

    Whoever has waited longest goes on first. In the event loop itself, where nothing may wait, and in a
    process without one nothing happens; nor in a thread, which holds up nobody's frames.
    """
    global _turns
    if not is_cooperative():
        return
    import gevent

    hub, greenlet = gevent.get_hub(), gevent.getcurrent()
    if greenlet is hub or not hub.loop.default:
        return
    if _turns is None or _turns.hub is not hub:
        _turns = _Turns(hub)
    _turns.enter(greenlet)


def pause() -> None:
    """Frames pass now, however little was done; elsewhere other threads do."""
    time.sleep(MOMENT_S)

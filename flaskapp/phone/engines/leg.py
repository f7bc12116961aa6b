"""One session's connection, from dialling to its end, read by a thread of its own.

A call may have several of these, one after the other; each says with all that
it reports which one it is, so that what comes late can be told from what is due.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence

from flaskapp.phone import events as ev
from flaskapp.phone.audio import PCMU
from flaskapp.phone.engines.connection import Engine
from flaskapp.phone.engines.realtime import RealtimeSession
from flaskapp.phone.errors import EngineRejected, EngineUnreachable, LegClosed
from flaskapp.phone.listener import Listener
from flaskapp.phone.wire import Wire

log = logging.getLogger(__name__)

Report = Callable[[Sequence[ev.Event], float, "EngineLeg"], None]


class EngineLeg:
    """Dials when it is started; whatever happens is reported as events.

    Args:
        report: takes events, when they came and who reports them.
        listener: hears of connections that stand and are gone.
        audio_format: of what the session speaks.

    Attributes:
        is_given_up: nobody wants it any more.
    """

    def __init__(
        self,
        engine: Engine,
        call_sid: str,
        report: Report,
        listener: Listener,
        clock: Callable[[], float],
        audio_format: str = PCMU,
    ) -> None:
        self.is_given_up = False
        self._engine, self._call_sid, self._audio_format = engine, call_sid, audio_format
        self._report, self._listener, self._clock = report, listener, clock
        self._wire: Wire | None = None
        self._thread = threading.Thread(target=self._serve, name="engine-leg", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def send(self, messages: Iterable[bytes], *, droppable: bool = False) -> None:
        """Nothing happens while there is no connection."""
        if self._wire is not None:
            self._wire.send(messages, droppable=droppable)

    def tick(self, now: float) -> None:
        if self._wire is not None:
            self._wire.tick(now)

    def close(self) -> None:
        """No more of it: a connection is closed, one that is being dialled as soon as it stands."""
        self.is_given_up = True
        if self._wire is not None:
            self._wire.close()

    def abort(self) -> None:
        """End a connection that does not close."""
        if self._wire is not None:
            self._wire.abort()

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def join(self, within_s: float) -> None:
        self._thread.join(within_s)

    def _serve(self) -> None:
        """Open the session, then read it to its end."""
        try:
            self._read(self._engine.open())
        except EngineRejected as error:
            self._lost(ev.EngineClosed("engine_rejected", 1006, error.status, error.retry_after_s), error)
        except EngineUnreachable as error:
            self._lost(ev.EngineClosed("engine_unreachable"), error)
        except LegClosed as closed:
            self._lost(ev.EngineClosed("engine_lost", closed.code), closed)
        except Exception as error:  # the call's edge: nothing may leave the caller in silence
            log.exception("The engine leg failed", extra={"call_sid": self._call_sid})
            self._lost(ev.EngineClosed("engine_fault"), error)

    def _read(self, wire: Wire) -> None:
        self._tell(self._listener.engine_opened)
        try:
            self._wire = wire
            self._report([ev.EngineOpened()], self._clock(), self)
            if self.is_given_up:  # nobody lets time pass for it any more
                wire.close()
                wire.abort()
            decode = RealtimeSession(self._audio_format).decode
            while True:
                messages = wire.receive()
                now = self._clock()
                events = [event for message in messages if (event := decode(message)) is not None]
                if events:
                    self._report(events, now, self)
        finally:
            self._wire = None
            wire.dispose(close_socket=True)
            self._tell(self._listener.engine_closed)

    def _lost(self, closed: ev.EngineClosed, error: Exception) -> None:
        if not self.is_given_up:
            log.warning("%s: %s", closed.reason, error, extra={"call_sid": self._call_sid})
        self._report([closed], self._clock(), self)

    def _tell(self, hear: Callable[[str], None]) -> None:
        """A listener that fails does not end the session."""
        try:
            hear(self._call_sid)
        except Exception:  # anybody's
            log.exception("%s failed", hear, extra={"call_sid": self._call_sid})

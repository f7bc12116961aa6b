"""One session's connection, from dialling to its end.

A call may have several of these, one after the other; each says with all that
it reports which one it is, so that what comes late can be told from what is due.
"""

from __future__ import annotations

import _thread
import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn, Protocol

from flaskapp.phone import events as ev
from flaskapp.phone.audio import PCMU
from flaskapp.phone.engines.connection import Engine
from flaskapp.phone.engines.realtime import RealtimeSession
from flaskapp.phone.errors import EngineRejected, EngineUnreachable, LegClosed
from flaskapp.phone.giving_way import give_way
from flaskapp.phone.listener import Listener
from flaskapp.phone.reader import Reader
from flaskapp.phone.tap import ENGINE, Tap
from flaskapp.phone.wire import Wire

log = logging.getLogger(__name__)

#: How a connection is reported that stood, and is gone: whether it broke off or we closed it.
LOST = "engine_lost"

Report = Callable[[Sequence[ev.Event], float, "EngineLeg"], None]


class Hears(Protocol):
    """Takes messages in the event loop (``fast_path.py``)."""

    def from_engine(self, leg: Any, messages: Sequence[bytes]) -> None:
        """What one read brought."""

    def reader_of(self, leg: Any) -> Reader:
        """What reads the leg's socket."""


class EngineLeg:
    """Dials when it is started; whatever happens is reported as events.

    Args:
        report: takes events, when they came and who reports them.
        listener: hears of connections that stand and are gone.
        audio_format: of what the session speaks.
        hear: takes messages as they come, in the event loop; None: a thread reads and reports them.
        tap: is told by that thread of what is no audio.

    Attributes:
        is_given_up: nobody wants it any more.
        reader: what reads its socket in the event loop; None: nothing does.
    """

    def __init__(
        self,
        engine: Engine,
        call_sid: str,
        report: Report,
        listener: Listener,
        clock: Callable[[], float],
        audio_format: str = PCMU,
        hear: Hears | None = None,
        tap: Tap | None = None,
    ) -> None:
        self.is_given_up = False
        self.reader: Any = None
        self._engine, self._call_sid, self._audio_format = engine, call_sid, audio_format
        self._report, self._listener, self._clock, self._hear = report, listener, clock, hear
        self._tap = tap
        self._wire: Wire | None = None
        self._gone = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._serve, name="engine-leg", daemon=True).start()

    def send(self, messages: Sequence[bytes], *, droppable: bool = False) -> None:
        """Nothing happens while there is no connection."""
        if self._wire is not None:
            self._wire.send(messages, droppable=droppable)

    @property
    def outlet(self) -> Wire | None:
        """Where the event loop sends the caller's audio; None: there is no connection."""
        return self._wire

    def tick(self, now: float) -> None:
        if self._wire is not None:
            self._wire.tick(now)

    def pause(self, is_paused: bool) -> None:
        """Hear nothing for now, or go on."""
        if self._wire is not None:
            self._wire.pause(is_paused)

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
        return self._gone.is_set()

    def join(self, within_s: float) -> None:
        self._gone.wait(within_s)

    def _serve(self) -> None:
        """Open the session; then the event loop reads it, or this thread does."""
        try:
            give_way()
            wire = self._engine.open()
            give_way()
        except Exception as error:  # the call's edge: nothing may leave the caller in silence
            self._end(error)
            return
        self._tell(self._listener.engine_opened)
        try:
            self._wire = wire
            self._report([ev.EngineOpened()], self._clock(), self)
            if self.is_given_up:  # nobody lets time pass for it any more
                wire.close()
                wire.abort()
            if self._hear is None or not wire.can_listen:
                self._read(wire)
            hear = self._hear
            wire.listen(partial(hear.from_engine, self), self._ended, hear.reader_of(self))
        except Exception as error:  # the call's edge
            self._finish(wire, error)

    def _read(self, wire: Wire) -> NoReturn:
        """Until it is over.

        Raises:
            LegClosed: that is how it always ends.
        """
        decode = RealtimeSession(self._audio_format).decode
        while True:
            messages = wire.receive()
            now = self._clock()
            events = []
            for message in messages:
                event = decode(message)
                if self._tap is not None and type(event) is not ev.ReplyAudio:
                    self._tap.took(ENGINE, message, now)
                if event is not None:
                    events.append(event)
            if events:
                self._report(events, now, self)

    def _ended(self, closed: LegClosed) -> None:
        """Called in the event loop, which cannot wait for the rest."""
        if self._wire is not None:
            _thread.start_new_thread(self._finish, (self._wire, closed))

    def _finish(self, wire: Wire, error: Exception) -> None:
        self._wire = None
        try:
            wire.dispose(close_socket=True)
            self._tell(self._listener.engine_closed)
        finally:
            self._end(error)

    def _end(self, error: Exception) -> None:
        """Report why it is over."""
        if isinstance(error, EngineRejected):
            lost = ev.EngineClosed("engine_rejected", 1006, error.status, error.retry_after_s)
        elif isinstance(error, EngineUnreachable):
            lost = ev.EngineClosed("engine_unreachable")
        elif isinstance(error, LegClosed):
            lost = ev.EngineClosed(LOST, error.code)
        else:
            lost = ev.EngineClosed("engine_fault")
            log.error("The engine leg failed", exc_info=error, extra={"call_sid": self._call_sid})
        if not self.is_given_up:
            log.warning("%s: %s", lost.reason, error, extra={"call_sid": self._call_sid})
        try:
            self._report([lost], self._clock(), self)
        finally:
            self._gone.set()

    def _tell(self, hear: Callable[[str], None]) -> None:
        """A listener that fails does not end the session."""
        try:
            hear(self._call_sid)
        except Exception:  # anybody's
            log.exception("%s failed", hear, extra={"call_sid": self._call_sid})

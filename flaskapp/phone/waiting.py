"""How a socket is waited for: by a greenlet or the event loop under gevent, by a thread elsewhere."""

from __future__ import annotations

import select
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol


class Socket(Protocol):
    """Something with a socket's number."""

    def fileno(self) -> int: ...


class Waiter(Protocol):
    """Waits until a socket can be read or written; one waiter for each direction and party."""

    def wait(self, timeout_s: float | None = None) -> bool:
        """Whether it became ready in time; None waits for ever."""

    def close(self) -> None:
        """Free what waiting needs; nobody may be waiting."""


def is_cooperative() -> bool:
    """Whether gevent has taken over this process's sockets."""
    monkey = sys.modules.get("gevent.monkey")
    return bool(monkey and monkey.is_module_patched("socket"))


def native_lock() -> Any:
    """The interpreter's own lock, for what never waits while it is held: a tenth of the cost of gevent's."""
    if is_cooperative():
        return sys.modules["gevent.monkey"].get_original("_thread", "allocate_lock")()
    return threading.Lock()


def waiter(sock: Socket, for_writing: bool = False) -> Waiter:
    """The right waiter for this process."""
    return _GreenletWaiter(sock, for_writing) if is_cooperative() else _ThreadWaiter(sock, for_writing)


class LateWaiter:
    """One for reading, made when somebody waits: a socket that the event loop watches needs none."""

    __slots__ = ("_sock", "_waiter")

    def __init__(self, sock: Socket) -> None:
        self._sock = sock
        self._waiter: Waiter | None = None

    def wait(self, timeout_s: float | None = None) -> bool:
        """As every waiter does."""
        self._waiter = self._waiter or waiter(self._sock)
        return self._waiter.wait(timeout_s)

    def close(self) -> None:
        """Free what waiting needs, until somebody waits again."""
        if self._waiter is not None:
            self._waiter.close()
            self._waiter = None


class _ThreadWaiter:
    def __init__(self, sock: Socket, for_writing: bool) -> None:
        self._poll = select.poll()
        self._poll.register(sock.fileno(), select.POLLOUT if for_writing else select.POLLIN)

    def wait(self, timeout_s: float | None = None) -> bool:
        return bool(self._poll.poll(None if timeout_s is None else timeout_s * 1000))

    def close(self) -> None:
        pass


class _GreenletWaiter:
    """One libev watcher for the socket's life, left running from one wait to the next.

    Making or starting one for every wait costs more than the wait.
    """

    def __init__(self, sock: Socket, for_writing: bool) -> None:
        import gevent

        self._gevent: Any = gevent
        self._hub: Any = gevent.get_hub()
        self._watcher: Any = self._hub.loop.io(sock.fileno(), 2 if for_writing else 1)
        self._waiting: Any = None
        self._is_running = False

    def wait(self, timeout_s: float | None = None) -> bool:
        if timeout_s is None:
            self._wait()
            return True
        with self._gevent.Timeout(timeout_s, False):
            self._wait()
            return True
        return False

    def _wait(self) -> None:
        self._waiting = self._gevent.getcurrent()
        if not self._is_running:
            self._is_running = True
            self._watcher.start(self._ready)
        try:
            while self._waiting is not None:
                self._hub.switch()
        finally:
            self._waiting = None

    def _ready(self) -> None:
        """Called by the hub: nobody may be waiting yet, then it is told again when somebody is."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.switch()
        else:
            self._is_running = False
            self._watcher.stop()

    def close(self) -> None:
        self._watcher.close()


class Watcher:
    """Has gevent's event loop call whenever a socket can be read; never under plain threads.

    What is called runs between all greenlets: it must neither wait nor fail.
    """

    def __init__(self, sock: Socket, readable: Callable[[], None]) -> None:
        import gevent

        loop = gevent.get_hub().loop
        self._io: Any = loop.io(sock.fileno(), 1, priority=loop.MAXPRI)  # before greenlets that can go on
        self._readable, self._is_paused = readable, False
        self._io.start(readable)

    @property
    def has_failed(self) -> bool:
        """Whether what is called has failed: the event loop then calls it no more."""
        return not self._is_paused and not self._io.active

    def pause(self, is_paused: bool) -> None:
        """Call no more for now, or again."""
        self._is_paused = is_paused
        if is_paused:
            self._io.stop()
        else:
            self._io.start(self._readable)

    def close(self) -> None:
        self._io.close()

"""One WebSocket on a raw socket: all that a read brought at once, whole writes, no waiting for slow peers.

The protocol itself (frames, masks, close handshake, conformance) is the
``websockets`` package's Sans-I/O one; this file is its rim. It is read by
whoever calls ``receive``, or, under gevent, by the event loop itself, which
tells of what came (``listen``). Sending never waits: what the socket does not
take at once is queued, within bounds, and written by whoever drains the queue.
"""

from __future__ import annotations

import _thread
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import cast

from websockets.client import ClientProtocol
from websockets.http11 import Request, Response
from websockets.protocol import SEND_EOF, Protocol, Side, State

from flaskapp.phone import frames
from flaskapp.phone.errors import LegClosed
from flaskapp.phone.handshake import shake_hands
from flaskapp.phone.inlet import Inlet
from flaskapp.phone.occasional import Occasional
from flaskapp.phone.outbox import Outbox, Waiting
from flaskapp.phone.reader import READ_BYTES, WAIT, Reader
from flaskapp.phone.tls import TlsSocket
from flaskapp.phone.waiting import LateWaiter, Watcher, is_cooperative, native_lock, waiter

PING_EVERY_S = 20.0
PONG_WITHIN_S = 20.0
CLOSE_WITHIN_S = 1.0
STALLED_AFTER_S = 10.0
MAX_REASON_BYTES = 123  # RFC 6455, 5.5


class Wire:
    """A WebSocket after its handshake.

    Args:
        sock: connected; becomes non-blocking.
        protocol: ``ServerProtocol`` or ``ClientProtocol`` in state OPEN.
        queue_bytes: what may wait for a slow peer; beyond it the oldest droppable goes.
        takes_binary: binary messages are read like text; otherwise they close with 1003.

    Attributes:
        is_clear: it is open and nothing waits: whoever works in the event loop may ``put`` a frame by itself.
        put: of the socket, which does not wait; what it does not take, and what it raises, goes to ``left``.
    """

    # With slots a frame touches few of the lines that hold this; first what it touches.
    __slots__ = (
        *("is_clear", "put", "_inlet", "_is_dead", "_is_client", "_drainer", "_tls", "_lock", "_recv"),
        *("_outbox", "_clock", "_closed_by", "_ended", "_hear", "_max_size", "_moved_at"),
        *("_pinged_at", "_pong_by", "_protocol", "_reader", "_sock", "_ssl", "_wants_eof", "_watcher"),
        "__weakref__",
    )

    def __init__(
        self,
        sock: socket.socket | TlsSocket,
        protocol: Protocol,
        *,
        queue_bytes: int = 1 << 20,
        takes_binary: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        sock.settimeout(0.0)
        with contextlib.suppress(OSError):  # not every socket is TCP
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self._sock, self._protocol, self._clock = sock, Occasional(protocol), clock
        self._ssl = sock if isinstance(sock, ssl.SSLSocket) else None  # the server's own, if it does TLS
        self._tls = sock if isinstance(sock, TlsSocket) else None
        # gevent's own methods know how to wait, which a non-blocking socket never does: past them.
        plain = sock if self._ssl or self._tls else getattr(sock, "_sock", sock)
        self._recv, self.put = plain.recv, plain.send
        self._reader = LateWaiter(sock)
        self._lock = native_lock()  # nothing below waits with it held
        self._inlet = Inlet(self._protocol, takes_binary, self._answer)
        self._is_client = protocol.side is Side.CLIENT
        self._watcher: Watcher | None = None
        self._hear: Callable[[Sequence[bytes]], None] = lambda messages: None
        self._max_size = protocol.max_size or 1 << 62
        self._ended: Callable[[LegClosed], None] | None = None
        self._outbox = Outbox(queue_bytes)
        self._drainer: threading.Event | None = None  # set when whoever drains is done
        self._is_dead = self._wants_eof = False
        self._pinged_at = self._moved_at = clock()
        self._pong_by: float | None = None
        self._closed_by: float | None = None
        if self._tls is not None:
            self._tls.stuck = self._drain_soon
        self._note_state()

    @property
    def dropped(self) -> int:
        return self._outbox.dropped

    @property
    def waiting(self) -> Waiting:
        """What the peer has not taken yet."""
        with self._lock:
            size = self._outbox.size + self._unsent
            return Waiting(self._outbox.messages, size, self._clock() - self._moved_at if size else 0.0)

    def open(self, request: Request, within_s: float) -> None:
        """A client's handshake; what came with the answer is kept for ``receive``.

        Raises:
            InvalidHandshake, InvalidStatus: as the protocol found it (``websockets.exceptions``).
            TimeoutError: no answer in time.
        """
        protocol = cast(ClientProtocol, self._protocol.there())
        protocol.send_request(request)
        self._flush()
        answer = shake_hands(protocol, self._read, within_s, self._clock)
        self._inlet.note_state()
        self._note_state()
        if answer:
            with self._lock:
                self._inlet.feed(answer)

    def accept(self, answer: Response) -> None:
        """A server's handshake: send the 101 that a ``ServerProtocol`` gave."""
        with self._lock:
            self._write(answer.serialize(), 0, False)

    # ------------------------------------------------------------------ reading

    def receive(self, timeout_s: float | None = None) -> list[bytes]:
        """Every message that has come, as UTF-8 bytes; waits for one; ``[]`` when time ran out.

        Raises:
            LegClosed: the connection is over, and all that came before was returned.
        """
        deadline = None if timeout_s is None else self._clock() + timeout_s
        inlet = self._inlet
        while not inlet.messages:
            if inlet.over is not None:
                raise inlet.over
            data = self._read(None if deadline is None else max(deadline - self._clock(), 0.0))
            if data is None:
                return []
            with self._lock:
                inlet.feed(data)
        messages, inlet.messages = inlet.messages, []
        return messages

    def unread(self, messages: list[bytes]) -> None:
        """Give messages back, to be received once more before all others; for the wire's reader only."""
        self._inlet.messages = [*messages, *self._inlet.messages]

    def _read(self, timeout_s: float | None) -> bytes | None:
        """What the socket has; ``b""`` at its end; None when time ran out."""
        while True:
            try:
                # Decrypted bytes may wait inside TLS, where the socket does not show them.
                if not (self._ssl and self._ssl.pending()) and not self._reader.wait(timeout_s):
                    return None
                if not (self._ssl or self._tls):
                    return self._recv(READ_BYTES)
                with self._lock:  # OpenSSL does not let one thread read while another writes
                    return self._recv(READ_BYTES)
            except WAIT:
                continue
            except (OSError, ValueError):
                return b""

    # ------------------------------------------------------------------ told by the event loop

    @property
    def can_listen(self) -> bool:
        """Whether there is an event loop that calls back."""
        return is_cooperative() and self._ssl is None

    def listen(
        self,
        hear: Callable[[Sequence[bytes]], None],
        ended: Callable[[LegClosed], None],
        reader: Reader | None = None,
    ) -> None:
        """Have the event loop read from now on, and tell of what came as soon as it is there.

        All are called in the loop itself, except for what had come before: they must neither wait nor
        fail. ``ended`` is called once, after all messages; nobody may ``receive`` any more.

        Args:
            reader: reads; what it takes for itself, ``hear`` is not told of.
        """
        self._hear, self._ended = hear, ended
        self._tell()
        if self._ended is not None:
            if reader is None or self._max_size < READ_BYTES:  # a lone frame may be too long
                reader = Reader()
            self._reader.close()
            self._watcher = Watcher(self._sock, reader.reads(self._recv, self._inlet, self._took))

    def pause(self, is_paused: bool) -> None:
        """Read nothing for now, or go on; the peer is held up as soon as the system's buffers are full."""
        if self._watcher is not None:
            self._watcher.pause(is_paused)

    def _took(self, data: bytes) -> None:
        self._inlet.feed(data)
        self._tell()

    def _tell(self) -> None:
        inlet = self._inlet
        if messages := inlet.messages:
            inlet.messages = []
            self._hear(messages)
        if inlet.over is not None and self._ended is not None:
            self._note_state()
            ended, self._ended = self._ended, None
            self._unwatch()
            ended(inlet.over)

    def _unwatch(self) -> None:
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None

    # ------------------------------------------------------------------ writing

    def send(self, messages: Sequence[bytes], *, droppable: bool = False) -> None:
        """Text messages, in one write; never waits. Nothing happens on a closed connection.

        Args:
            droppable: audio that may go if the peer does not read.
        """
        with self._lock:
            if self._inlet.is_open and not self._is_dead and messages:
                self._write(frames.text_frames(messages, self._is_client), len(messages), droppable)

    def left(self, frame: bytes, sent: int, error: Exception | None = None) -> None:
        """Of a droppable frame that was ``put``: what the socket did not take follows."""
        if error is not None and not isinstance(error, WAIT):
            self.abort()
        self._keep(frame, sent, 1, True)

    def drop_queued(self) -> None:
        """Forget audio that the peer has not taken yet: it must not be played any more."""
        with self._lock:
            self._outbox.drop()

    def _answer(self) -> None:
        """The protocol has read something."""
        self._note_state()
        if self._inlet.is_open and self._outbox.is_full:
            self._protocol.data_to_send()  # pings of a peer that reads nothing: no answer can reach it
        self._flush()

    def _flush(self) -> None:
        """Send what the protocol has to say for itself: handshakes, pongs, closes."""
        chunks = self._protocol.data_to_send()
        if not chunks:
            return
        self._wants_eof = self._wants_eof or SEND_EOF in chunks
        if (data := b"".join(chunks)) and not self._is_dead:
            self._write(data, 0, False)
        if self._wants_eof and not self._outbox.size and not self._unsent:
            self._shut(socket.SHUT_WR)

    def _write(self, data: bytes, messages: int, droppable: bool) -> None:
        sent = 0 if self._outbox.size else self._try_send(data)
        if sent < len(data):
            self._keep(data, sent, messages, droppable)

    def _try_send(self, data: bytes | memoryview) -> int:
        try:
            return self.put(data)
        except WAIT:
            return 0
        except (OSError, ValueError):  # it never will take any more
            self.abort()
            return 0

    def _keep(self, data: bytes, sent: int, messages: int, droppable: bool) -> None:
        """What the socket did not take goes out as soon as it does."""
        if sent < len(data):
            self._outbox.put(data, sent, messages, droppable)
            self._drain_soon()

    def _drain_soon(self) -> None:
        if self._drainer is None and not self._is_dead:
            self._moved_at = self._clock()
            self._drainer = threading.Event()
            self._note_state()
            _thread.start_new_thread(self._drain, (self._drainer,))  # unlike Thread.start it does not wait

    def _drain(self, done: threading.Event) -> None:
        """Write what is queued as the peer takes it; ends when the queue is empty."""
        ready = waiter(self._sock, for_writing=True)
        try:
            while not self._drained():
                ready.wait(1.0)
        finally:
            ready.close()
            done.set()

    @property
    def _unsent(self) -> int:
        """Encrypted bytes that no outbox may drop any more."""
        return len(self._tls.unsent) if self._tls is not None else 0

    def _drained(self) -> bool:
        with self._lock:
            while (self._outbox.size or self._unsent) and not self._is_dead:
                left = self._unsent
                sent = self._try_send(self._outbox.head() if self._outbox.size else b"")
                if not sent and self._unsent == left:
                    return self._is_dead
                self._moved_at = self._clock()
                if sent:
                    self._outbox.taken(sent)
            self._drainer = None
            self._note_state()
            if self._wants_eof:
                self._shut(socket.SHUT_WR)
            return True

    # ------------------------------------------------------------------ keeping and ending

    def tick(self, now: float) -> None:
        """Pings, and the ends of patience; call it once a second or more often."""
        self._pong_by = None if self._inlet.has_pong else self._pong_by
        if self._watcher is not None and self._watcher.has_failed:
            self._inlet.over = LegClosed()
            self.abort()
            self._tell()
        if self._is_overdue(now):
            self.abort()
        elif now - self._pinged_at >= PING_EVERY_S and self._pong_by is None:
            self._pinged_at, self._pong_by, self._inlet.has_pong = now, now + PONG_WITHIN_S, False
            with self._lock:
                if self._inlet.is_open and not self._is_dead:  # by itself: no protocol is made for it
                    self._write(frames.ping(self._is_client), 0, False)

    def _is_overdue(self, now: float) -> bool:
        """Whether the peer failed to answer a close or a ping, or stopped reading, for too long."""
        limits = (
            self._closed_by,
            self._pong_by,
            self._moved_at + STALLED_AFTER_S if self._outbox or self._unsent else None,
        )
        return any(limit is not None and now > limit for limit in limits)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begin the close handshake; the reader sees the end within a second."""
        with self._lock:
            if self._protocol.state is State.OPEN:
                self._protocol.send_close(code, reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore"))
                self._closed_by, self._inlet.is_deaf = self._clock() + CLOSE_WITHIN_S, True
                self._inlet.note_state()
                self._note_state()
                self._flush()

    def abort(self) -> None:
        """End it now, without a word: nothing more goes out, and the reader wakes, who reports the end."""
        self._is_dead = True
        self._note_state()
        self._shut(socket.SHUT_RDWR)

    def dispose(self, close_socket: bool = False) -> None:
        """Free everything; only its reader may call this, after the end."""
        if (drainer := self._drainer) is not None:
            drainer.wait(CLOSE_WITHIN_S)  # the last words to a slow peer
            self.abort()
            drainer.wait()
        self._unwatch()
        self._linger()
        self._is_dead = True
        self._note_state()
        self._reader.close()
        with contextlib.suppress(OSError):
            if close_socket:
                self._sock.close()

    def _linger(self) -> None:
        """Let a peer that we cut off in the middle of a message read why: unread bytes would reset it."""
        if self._protocol.close_sent is None or self._protocol.close_rcvd is not None:
            return
        deadline = self._clock() + CLOSE_WITHIN_S
        while not self._is_dead and (left_s := deadline - self._clock()) > 0:
            if not self._read(left_s):
                return

    def _note_state(self) -> None:
        self.is_clear = self._drainer is None and not self._is_dead and self._inlet.is_open

    def _shut(self, how: int) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._sock.shutdown(how)

"""One WebSocket on a raw socket: all that a read brought at once, whole writes, no waiting for slow peers.

The protocol itself (frames, masks, close handshake, conformance) is the
``websockets`` package's Sans-I/O one; this file is its rim. Sending never
waits: what the socket does not take at once is queued, within bounds, and
written by whoever drains the queue; nobody else writes meanwhile.
"""

from __future__ import annotations

import _thread
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from typing import cast

from websockets.client import ClientProtocol
from websockets.frames import OP_BINARY, OP_CONT, OP_PONG, OP_TEXT, Frame
from websockets.http11 import Request, Response
from websockets.protocol import SEND_EOF, Protocol, Side, State

from flaskapp.phone import frames
from flaskapp.phone.errors import LegClosed
from flaskapp.phone.outbox import Outbox, Waiting
from flaskapp.phone.waiting import native_lock, waiter

READ_BYTES = 65_536
PING_EVERY_S = 20.0
PONG_WITHIN_S = 20.0
CLOSE_WITHIN_S = 1.0
STALLED_AFTER_S = 10.0
MAX_REASON_BYTES = 123  # RFC 6455, 5.5
_WAIT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Wire:
    """A WebSocket after its handshake.

    Args:
        sock: connected; becomes non-blocking.
        protocol: ``ServerProtocol`` or ``ClientProtocol`` in state OPEN.
        queue_bytes: what may wait for a slow peer; beyond it the oldest droppable goes.
        takes_binary: binary messages are read like text; otherwise they close with 1003.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        sock: socket.socket,
        protocol: Protocol,
        *,
        queue_bytes: int = 1 << 20,
        takes_binary: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        sock.settimeout(0.0)
        with contextlib.suppress(OSError):  # not every socket is TCP
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self._sock, self._protocol, self._clock = sock, protocol, clock
        self._takes_binary = takes_binary
        self._is_tls = isinstance(sock, ssl.SSLSocket)
        # gevent's own methods know how to wait, which a non-blocking socket never does: past them.
        plain = sock if self._is_tls else getattr(sock, "_sock", sock)
        self._recv, self._send = plain.recv, plain.send
        self._reader = waiter(sock)
        self._lock = native_lock()  # nothing below waits with it held
        # The fast path (``frames``) takes plain text frames while the protocol is calm: open, between frames.
        self._is_calm = self._is_open = protocol.state is State.OPEN
        self._is_client = protocol.side is Side.CLIENT
        self._max_size = protocol.max_size or 1 << 62
        self._carry = b""  # the beginning of a plain frame, or of a header
        self._owed = 0  # bytes of a frame that the protocol has begun to read
        self._inbox: list[bytes] = []
        self._parts: list[bytes] = []
        self._outbox = Outbox(queue_bytes)
        self._drainer: threading.Event | None = None  # set when whoever drains is done
        self._over: LegClosed | None = None
        self._is_dead = False
        self._wants_eof = False
        self._pinged_at = self._moved_at = clock()
        self._pong_by: float | None = None
        self._closed_by: float | None = None

    @property
    def dropped(self) -> int:
        return self._outbox.dropped

    @property
    def waiting(self) -> Waiting:
        """What the peer has not taken yet."""
        with self._lock:
            size = self._outbox.size
            return Waiting(self._outbox.messages, size, self._clock() - self._moved_at if size else 0.0)

    def open(self, request: Request, within_s: float) -> None:
        """A client's handshake; what came with the answer is kept for ``receive``.

        Raises:
            InvalidHandshake, InvalidStatus: as the protocol found it (``websockets.exceptions``).
            TimeoutError: no answer in time.
        """
        protocol, deadline = cast(ClientProtocol, self._protocol), self._clock() + within_s
        protocol.send_request(request)
        self._flush()
        answer = b""
        while protocol.state is State.CONNECTING and protocol.handshake_exc is None:
            data = self._read(max(deadline - self._clock(), 0.0))
            if data is None:
                raise TimeoutError("no answer to the WebSocket handshake")
            if not data:
                protocol.receive_eof()
                break
            answer = self._answered(answer + data)
        if protocol.handshake_exc is not None:
            raise protocol.handshake_exc
        protocol.events_received()
        self._note_state()
        if answer:
            with self._lock:
                self._take(answer)

    def _answered(self, answer: bytes) -> bytes:
        """Give the protocol an answer's head, and a refusal's body; what remains are frames."""
        head, end, rest = answer.partition(b"\r\n\r\n")
        if not end or self._protocol.reader.buffer:
            return answer
        self._protocol.receive_data(head + end)
        if self._protocol.state is State.CONNECTING and rest:
            self._protocol.receive_data(rest)
            return b""
        return rest

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
        while not self._inbox:
            if self._over is not None:
                raise self._over
            data = self._read(None if deadline is None else max(deadline - self._clock(), 0.0))
            if data is None:
                return []
            with self._lock:
                self._take(data)
        messages, self._inbox = self._inbox, []
        return messages

    def unread(self, messages: list[bytes]) -> None:
        """Give messages back, to be received once more before all others; for the wire's reader only."""
        self._inbox = [*messages, *self._inbox]

    def _read(self, timeout_s: float | None) -> bytes | None:
        """What the socket has; ``b""`` at its end; None when time ran out."""
        while True:
            try:
                # Decrypted bytes may wait inside TLS, where the socket does not show them.
                if not (self._is_tls and self._sock.pending()) and not self._reader.wait(timeout_s):  # type: ignore[attr-defined]
                    return None
                if not self._is_tls:
                    return self._recv(READ_BYTES)
                with self._lock:  # OpenSSL does not let one thread read while another writes
                    return self._recv(READ_BYTES)
            except _WAIT:
                continue
            except (OSError, ValueError):
                return b""

    def _take(self, data: bytes) -> None:
        """What one read brought; nothing is the end."""
        if self._is_calm and data and not self._owed and not self._carry:
            self._inbox, at = frames.cut_texts(data, not self._is_client, self._max_size)
            if at < len(data):
                self._split(data, at)
        elif data:
            self._split(self._carry + data, 0)
        else:
            if self._carry:
                self._heed(self._carry)
            self._protocol.receive_eof()
            self._take_frames(self._protocol.events_received())

    def _split(self, data: bytes, at: int) -> None:
        """Frame by frame from ``at`` on: plain text becomes a message, all else is the protocol's."""
        size, owed = len(data), min(self._owed, len(data))
        if owed:
            self._owed -= owed
            self._heed(data[:owed])
            at = owed
        while at < size and self._over is None:
            bounds = frames.measure(data, at)
            if bounds is None:
                break
            start, end = bounds
            if self._is_plain(data, at, end - start):
                if end > size:
                    break
                self._deliver(frames.payload(data, start, end, not self._is_client))
            else:
                self._owed = max(end - size, 0)
                self._heed(data[at:end])
            at = end
        self._carry = data[at:]

    def _is_plain(self, data: bytes, at: int, length: int) -> bool:
        is_text = data[at] == frames.TEXT and (data[at + 1] < frames.MASKED) is self._is_client
        return is_text and self._is_calm and length <= self._max_size

    def _heed(self, data: bytes) -> None:
        """Let the protocol read, and answer what it wants answered."""
        self._protocol.receive_data(data)
        self._take_frames(self._protocol.events_received())
        if self._is_open and self._outbox.is_full:
            self._protocol.data_to_send()  # pings of a peer that reads nothing: no answer can reach it
        self._flush()

    def _note_state(self) -> None:
        self._is_open = self._protocol.state is State.OPEN
        self._is_calm = self._is_open and self._protocol.cur_size is None

    def _take_frames(self, received: Iterable[object]) -> None:
        """Turn the protocol's frames into messages, and see whether the connection is over."""
        for frame in received:
            if isinstance(frame, Frame) and self._over is None:
                self._take_frame(frame)
        protocol = self._protocol
        if self._over is None and (
            protocol.state is State.CLOSED or protocol.parser_exc or protocol.close_rcvd
        ):
            close = protocol.close_rcvd or protocol.close_sent
            self._over = LegClosed(close.code, close.reason) if close else LegClosed()
        self._note_state()

    def _take_frame(self, frame: Frame) -> None:
        if frame.opcode is OP_PONG:
            self._pong_by = None
            return
        if frame.opcode not in (OP_TEXT, OP_BINARY, OP_CONT):
            return
        if frame.opcode is OP_BINARY and not self._takes_binary:
            self._fail(1003, "text only")
            return
        if frame.data:  # empty fragments cost their sender nothing: they must not be kept
            self._parts.append(bytes(frame.data))
        if frame.fin:
            message = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            self._parts = []
            self._deliver(message)

    def _deliver(self, message: bytes) -> None:
        if not message.isascii():
            try:
                message.decode()
            except UnicodeDecodeError:
                self._fail(1007, "not UTF-8")
                return
        if self._closed_by is None:  # else we have said that we listen no more
            self._inbox.append(message)

    def _fail(self, code: int, reason: str) -> None:
        self._protocol.fail(code, reason)
        self._over = LegClosed(code, reason)
        self._note_state()
        self._flush()

    # ------------------------------------------------------------------ writing

    def send(self, messages: Iterable[bytes], *, droppable: bool = False) -> None:
        """Text messages, in one write; never waits. Nothing happens on a closed connection.

        Args:
            droppable: audio that may go if the peer does not read.
        """
        with self._lock:
            if self._is_open and not self._is_dead:
                whole = [frames.text_frame(message, self._is_client) for message in messages]
                if whole:
                    self._write(whole[0] if len(whole) == 1 else b"".join(whole), len(whole), droppable)

    def drop_queued(self) -> None:
        """Forget audio that the peer has not taken yet: it must not be played any more."""
        with self._lock:
            self._outbox.drop()

    def _flush(self) -> None:
        """Send what the protocol has to say for itself: handshakes, pongs, closes."""
        chunks = self._protocol.data_to_send()
        if not chunks:
            return
        self._wants_eof = self._wants_eof or SEND_EOF in chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        if data and not self._is_dead:
            self._write(data, 0, False)
        if self._wants_eof and not self._outbox.size:
            self._shut(socket.SHUT_WR)

    def _write(self, data: bytes, messages: int, droppable: bool) -> None:
        sent = 0 if self._outbox.size else self._try_send(data)
        if sent == len(data):
            return
        self._outbox.put(data, sent, messages, droppable)
        if self._drainer is None and not self._is_dead:
            self._moved_at = self._clock()
            self._drainer = threading.Event()
            _thread.start_new_thread(self._drain, (self._drainer,))  # unlike Thread.start it does not wait

    def _try_send(self, data: bytes | memoryview) -> int:
        try:
            return self._send(data)
        except _WAIT:
            return 0
        except (OSError, ValueError):
            self._is_dead = True
            self._shut(socket.SHUT_RDWR)  # wakes the reader, who reports the end
            return 0

    def _drain(self, done: threading.Event) -> None:
        """Write what is queued as the peer takes it; ends when the queue is empty."""
        ready = waiter(self._sock, for_writing=True)
        try:
            while not self._drained():
                ready.wait(1.0)
        finally:
            ready.close()
            done.set()

    def _drained(self) -> bool:
        with self._lock:
            while self._outbox.size and not self._is_dead:
                sent = self._try_send(self._outbox.head())
                if not sent:
                    return self._is_dead
                self._moved_at = self._clock()
                self._outbox.taken(sent)
            self._drainer = None
            if self._wants_eof:
                self._shut(socket.SHUT_WR)
            return True

    # ------------------------------------------------------------------ keeping and ending

    def tick(self, now: float) -> None:
        """Pings, and the ends of patience; call it once a second or more often."""
        if self._is_overdue(now):
            self.abort()
        elif now - self._pinged_at >= PING_EVERY_S and self._pong_by is None:
            self._pinged_at, self._pong_by = now, now + PONG_WITHIN_S
            with self._lock:
                if self._protocol.state is State.OPEN:
                    self._protocol.send_ping(b"")
                    self._flush()

    def _is_overdue(self, now: float) -> bool:
        """Whether the peer failed to answer a close or a ping, or stopped reading, for too long."""
        limits = (self._closed_by, self._pong_by, self._moved_at + STALLED_AFTER_S if self._outbox else None)
        return any(limit is not None and now > limit for limit in limits)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begin the close handshake; the reader sees the end within a second."""
        with self._lock:
            if self._protocol.state is State.OPEN:
                self._protocol.send_close(code, reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore"))
                self._closed_by = self._clock() + CLOSE_WITHIN_S
                self._note_state()
                self._flush()

    def abort(self) -> None:
        """End it now, without a word."""
        self._is_dead = True
        self._shut(socket.SHUT_RDWR)

    def dispose(self, close_socket: bool = False) -> None:
        """Free everything; only its reader may call this, after the end."""
        drainer = self._drainer
        if drainer is not None:
            drainer.wait(CLOSE_WITHIN_S)  # the last words to a slow peer
            self.abort()
            drainer.wait()
        self._linger()
        self._is_dead = True
        self._reader.close()
        if close_socket:
            with contextlib.suppress(OSError):
                self._sock.close()

    def _linger(self) -> None:
        """Let a peer that we cut off in the middle of a message read why: unread bytes would reset it."""
        if self._protocol.close_sent is None or self._protocol.close_rcvd is not None:
            return
        deadline = self._clock() + CLOSE_WITHIN_S
        while not self._is_dead and (left_s := deadline - self._clock()) > 0:
            if not self._read(left_s):
                return

    def _shut(self, how: int) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._sock.shutdown(how)

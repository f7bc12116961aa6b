"""Makes messages of the bytes that a WebSocket brings: plain text at once, everything else by the protocol.

Nearly all that comes on a call are whole text frames; ``frames`` cuts those
out. Fragments, pings, closes and whatever breaks the rules go to the
``websockets`` package's Sans-I/O protocol, byte for byte. No socket in here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from websockets.frames import OP_BINARY, OP_CONT, OP_PONG, OP_TEXT, Frame
from websockets.protocol import Side, State

from flaskapp.phone import frames
from flaskapp.phone.errors import LegClosed
from flaskapp.phone.occasional import Occasional


class Inlet:
    """What one connection brings, once its handshake is done.

    Args:
        protocol: the connection's; told of everything that is no plain text.
        takes_binary: binary messages are read like text; otherwise they close with 1003.
        answer: the protocol may have something to say now.

    Attributes:
        messages: what has come, as UTF-8, until somebody takes it.
        over: how the connection ended; None: it has not.
        is_open: nobody has begun to close it.
        is_plain: what comes next begins a message, and may be plain text.
        is_deaf: we have said that we listen no more.
        has_pong: a pong came since this was last set back.
    """

    __slots__ = (
        *("is_plain", "is_open", "messages", "over", "is_deaf", "has_pong", "_protocol", "_takes_binary"),
        *("_answer", "_is_masked", "_max_size", "_carry", "_owed", "_parts", "_is_calm"),
    )

    def __init__(
        self, protocol: Occasional, takes_binary: bool = False, answer: Callable[[], None] = lambda: None
    ) -> None:
        self.messages: list[bytes] = []
        self.over: LegClosed | None = None
        self.is_deaf = self.has_pong = False
        self._protocol, self._takes_binary, self._answer = protocol, takes_binary, answer
        self._is_masked = protocol.side is Side.SERVER
        self._max_size = protocol.max_size or 1 << 62
        self._carry = b""  # the beginning of a plain frame, or of a header
        self._owed = 0  # bytes of a frame that the protocol has begun to read
        self._parts: list[bytes] = []
        self.note_state()

    def note_state(self) -> None:
        """The protocol may have moved on: its state is read here and nowhere else."""
        self.is_open = self._protocol.state is State.OPEN
        # Plain frames are taken while it is calm: open, and between two messages.
        self._is_calm = self.is_open and self._protocol.cur_size is None
        self.is_plain = self._is_calm and not self._owed and not self._carry
        if self.is_plain:
            self._protocol.rest()

    def feed(self, data: bytes) -> None:
        """What one read brought; nothing is the end."""
        if self.is_plain and data:
            texts, at = frames.cut_texts(data, self._is_masked, self._max_size)
            # Not added to the others, of which there hardly ever are any: that costs a list.
            self.messages = self.messages + texts if self.messages else texts
            if at < len(data):
                self._split(data, at)
        elif data:
            self._split(self._carry + data, 0)
        else:
            if self._carry:
                self._heed(self._carry)
            self._protocol.receive_eof()
            self._take_frames(self._protocol.events_received())

    def fail(self, code: int, reason: str) -> None:
        """The peer breaks a rule: the connection is over."""
        self._protocol.fail(code, reason)
        self.over = LegClosed(code, reason)
        self.note_state()
        self._answer()

    def _split(self, data: bytes, at: int) -> None:
        """Frame by frame from ``at`` on: plain text becomes a message, all else is the protocol's."""
        size, owed = len(data), min(self._owed, len(data))
        if owed:
            self._owed -= owed
            self._heed(data[:owed])
            at = owed
        while at < size and self.over is None:
            bounds = frames.measure(data, at)
            if bounds is None:
                break
            start, end = bounds
            if self._is_text(data, at, end - start):
                if end > size:
                    break
                self._deliver(frames.payload(data, start, end, self._is_masked))
            elif self._is_calm and end <= size and frames.is_pong(data, at, self._is_masked):
                self.has_pong = True  # all that a silent call brings, thousands of times: no protocol for it
            else:
                self._owed = max(end - size, 0)
                self._heed(data[at:end])
            at = end
        self._carry = data[at:]
        self.note_state()

    def _is_text(self, data: bytes, at: int, length: int) -> bool:
        is_text = data[at] == frames.TEXT and (data[at + 1] >= frames.MASKED) is self._is_masked
        return is_text and self._is_calm and length <= self._max_size

    def _heed(self, data: bytes) -> None:
        """Let the protocol read, and answer what it wants answered."""
        self._protocol.receive_data(data)
        self._take_frames(self._protocol.events_received())
        self._answer()

    def _take_frames(self, received: Iterable[object]) -> None:
        """Turn the protocol's frames into messages, and see whether the connection is over."""
        for frame in received:
            if isinstance(frame, Frame) and self.over is None:
                self._take_frame(frame)
        protocol = self._protocol
        if self.over is None and (
            protocol.state is State.CLOSED or protocol.parser_exc or protocol.close_rcvd
        ):
            close = protocol.close_rcvd or protocol.close_sent
            self.over = LegClosed(close.code, close.reason) if close else LegClosed()
        self.note_state()

    def _take_frame(self, frame: Frame) -> None:
        if frame.opcode is OP_PONG:
            self.has_pong = True
            return
        if frame.opcode not in (OP_TEXT, OP_BINARY, OP_CONT):
            return
        if frame.opcode is OP_BINARY and not self._takes_binary:
            self.fail(1003, "text only")
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
                self.fail(1007, "not UTF-8")
                return
        if not self.is_deaf:
            self.messages.append(message)

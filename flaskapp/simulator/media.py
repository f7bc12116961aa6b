"""One media stream of any carrier: the WebSocket between the network and the application, both ways.

Frames leave on the line's 20 ms deadlines; what comes in is checked strictly
and goes to the playout buffer; marks go back when they are due. How messages
are written and read is the carriers' own.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod

import aiohttp

from flaskapp.simulator.connection import Socket
from flaskapp.simulator.faulty import FaultyFrames
from flaskapp.simulator.journal import Journal
from flaskapp.simulator.line import Line
from flaskapp.simulator.playout import MarkBack
from flaskapp.simulator.spec import CallSpec

BROKE_OFF = 1006
CLOSE_S = 5.0
VANISHED_S = 60.0


class MediaStream(ABC):
    """Listens to the line and feeds its playout while the socket is open."""

    def __init__(
        self,
        socket: Socket,
        line: Line,
        journal: Journal,
        spec: CallSpec,
        *,
        account_sid: str,
        call_sid: str,
        stream_sid: str,
    ) -> None:
        self.stream_sid = stream_sid
        self.started_at = 0.0
        self.ended_at = 0.0
        self.closed_by = "network"
        self.close_code: int | None = None
        self.received_media = 0
        self.received_bytes = 0
        self.returned: list[MarkBack] = []
        self._socket = socket
        self._line = line
        self._journal = journal
        self._spec = spec
        self._account_sid = account_sid
        self._call_sid = call_sid
        self._sequence = 0
        self._chunk = 0
        self._marks_sent = len(line.playout.marks)
        self._marks_changed = asyncio.Event()
        self._faulty = FaultyFrames(spec.faults, {"streamSid": stream_sid, "callSid": call_sid})
        self._silent = False

    async def run(self) -> None:
        """Serves the stream until the server closes it or the call ends.

        Cancelling it (the call was redirected) says ``stop`` and closes, too.
        """
        await self._open()
        reading = asyncio.create_task(self._read())
        marking = asyncio.create_task(self._send_marks())
        gone = asyncio.create_task(self._line.gone.wait())
        try:
            await asyncio.wait({reading, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.ended_at = self._journal.clock()
            self._line.listener = None
            self._line.playout.clear(self._journal.clock())
            marking.cancel()
            if not reading.done():
                await self._leave(reading)
            for task in (reading, marking, gone):
                task.cancel()
            await asyncio.gather(reading, marking, gone, return_exceptions=True)
            self._socket.reset() if self._silent else await self._socket.close()

    @abstractmethod
    async def frame(self, sound: bytes, due: float, *, voiced: bool) -> bool:
        """Takes 20 ms of the caller; False where the server reads too slowly and they were dropped."""

    @abstractmethod
    async def digit(self, digit: str) -> None:
        """Sends a key that was pressed."""

    @abstractmethod
    def _greetings(self, call_sid: str) -> tuple[str, str]:
        """What is said before anything else: ``connected`` and ``start``."""

    @abstractmethod
    def _mark(self, name: str) -> str:
        """The message that gives a mark back."""

    @abstractmethod
    def _stop(self) -> str:
        """The stream's last message."""

    @abstractmethod
    async def _take(self, data: str | bytes) -> None:
        """One message: to the playout buffer, or into the problems."""

    @abstractmethod
    def _told_closed(self, code: int | None) -> None:
        """The server closed with this code, None where the connection broke off: how bad is that?"""

    @abstractmethod
    def _told_broken(self, error: aiohttp.WebSocketError) -> None:
        """The server broke the WebSocket protocol."""

    async def _open(self) -> None:
        connected, start = self._greetings(self._spec.faults.start_call_sid or self._call_sid)
        await self._send(connected)
        for data in self._faulty.before_start():
            await self._send(data)
        self.started_at = self._journal.clock()
        await self._send(start)
        self._line.listener = self

    async def _sent(self, text: str, at_ms: int) -> bool:
        """Sends a frame's message, or what a faulty carrier makes of it; False where it had to be dropped."""
        if self._faulty.stops_reading(at_ms):
            self._socket.stop_reading()
        for data in self._faulty.instead_of(text, at_ms):
            if self._socket.overflowing:
                return False
            await self._send(data)
        return True

    async def _read(self) -> None:
        """Takes messages in until the server closes the socket."""
        while True:
            message = await self._socket.receive()
            if message.type is aiohttp.WSMsgType.TEXT or message.type is aiohttp.WSMsgType.BINARY:
                self._journal.message("received", message.data)
                await self._take(message.data)
            elif message.type is aiohttp.WSMsgType.PING and not self._silent:
                await self._socket.pong(message.data)
            elif message.type is not aiohttp.WSMsgType.PONG and message.type is not aiohttp.WSMsgType.PING:
                self._closed(message)
                return

    def _closed(self, message: aiohttp.WSMessage) -> None:
        """The server is gone: by a close frame, by breaking the protocol, or without a word."""
        if self._line.gone.is_set() or self.ended_at:
            return  # it only answers our own close
        self.closed_by = "server"
        said_so = message.type is aiohttp.WSMsgType.CLOSE
        self.close_code = self._socket.close_code if said_so else BROKE_OFF
        if isinstance(message.data, aiohttp.WebSocketError):
            self._told_broken(message.data)
        else:
            self._told_closed(self.close_code if said_so else None)

    async def _send_marks(self) -> None:
        """Sends each mark at the moment when the audio before it has played."""
        while True:
            self._marks_changed.clear()
            due = self._line.playout.next_mark_at
            wait = None if due is None else max(0.0, due - self._journal.clock())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._marks_changed.wait(), wait)
            self._line.playout.advance(self._journal.clock())
            await self._flush_marks()

    async def _flush_marks(self) -> None:
        """Sends the marks that came due, whoever advanced the clock past them."""
        due: list[MarkBack] = self._line.playout.marks[self._marks_sent :]
        self._marks_sent += len(due)
        if not self._spec.faults.returns_marks:
            return
        self.returned += due
        for mark in due:
            await self._send(self._mark(mark.name))

    async def _leave(self, reading: asyncio.Task[None]) -> None:
        """The network's end of the stream, as the caller's manner of hanging up has it."""
        manner = self._spec.script.hang_up if self._line.ended_by in ("caller", "limit") else "politely"
        if manner == "reset":
            self._socket.reset()
        elif manner == "vanish":  # half-open: no frame, no pong, no close, until the server gives up
            self._silent = True
            await asyncio.wait({reading}, timeout=VANISHED_S)
        else:
            self._socket.read_again()
            await self._send(self._stop())
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(CLOSE_S):
                    await self._socket.close()

    async def _send(self, data: str | bytes) -> None:
        """Sends one frame; a socket that is gone is noticed by the reader."""
        self._journal.message("sent", data)
        with contextlib.suppress(ConnectionError, aiohttp.ClientError):
            if isinstance(data, str):
                await self._socket.send_str(data)
            else:
                await self._socket.send_bytes(data)

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

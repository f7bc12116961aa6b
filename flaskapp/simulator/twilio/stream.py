"""One media stream: the WebSocket between the network and the application, both ways.

Frames leave on the line's 20 ms deadlines; what comes in is checked strictly
and goes to the playout buffer; marks go back when they are due.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

import aiohttp

from flaskapp.simulator.connection import Socket
from flaskapp.simulator.journal import Journal
from flaskapp.simulator.line import Line
from flaskapp.simulator.playout import MarkBack
from flaskapp.simulator.spec import CallSpec
from flaskapp.simulator.twilio import messages
from flaskapp.simulator.twilio.faulty import FaultyFrames

CLOSE_ERROR, PROTOCOL_ERROR, OVERFLOW = 31921, 31924, 31930
BROKE_OFF = 1006
CLOSE_S = 5.0
VANISHED_S = 60.0


class MediaStream:
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

    async def run(self, parameters: Mapping[str, str]) -> None:
        """Serves the stream until the server closes it or the call ends.

        Cancelling it (the call was redirected) says ``stop`` and closes, too.
        """
        await self._open(parameters)
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

    async def frame(self, mulaw: bytes, due: float, *, voiced: bool) -> bool:
        """Sends 20 ms of the caller; False where the server reads too slowly (31930)."""
        at_ms = max(0, round((due - self.started_at) * 1000))
        self._chunk += 1
        self._sequence += 1
        text = messages.media(self.stream_sid, self._sequence, self._chunk, at_ms, mulaw)
        if self._faulty.stops_reading(at_ms):
            self._socket.stop_reading()
        for data in self._faulty.instead_of(text, at_ms):
            if self._socket.overflowing:
                self._journal.warn_once(OVERFLOW, "the server reads too slowly: audio was dropped")
                return False
            await self._send(data)
        return True

    async def digit(self, digit: str) -> None:
        """Sends a key that was pressed."""
        await self._send(messages.dtmf(self.stream_sid, self._next(), digit))

    async def _open(self, parameters: Mapping[str, str]) -> None:
        await self._send(messages.CONNECTED)
        for data in self._faulty.before_start():
            await self._send(data)
        call_sid = self._spec.faults.start_call_sid or self._call_sid
        self.started_at = self._journal.clock()
        await self._send(
            messages.start(self._account_sid, call_sid, self.stream_sid, parameters, self._next())
        )
        self._line.listener = self

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
            self._journal.complain(PROTOCOL_ERROR, f"WebSocket protocol error: {message.data}")
            return
        text = f"the server closed the stream with {self.close_code}"
        self._journal.complain(CLOSE_ERROR, text if said_so else "the stream broke off (1006)", "warning")

    async def _take(self, data: str | bytes) -> None:
        """One message: to the playout buffer, or into the problems."""
        now = self._journal.clock()
        playout = self._line.playout
        try:
            message = messages.read(data, self.stream_sid)
        except messages.BadMessage as error:
            self._journal.complain(error.code, error.text)
            return
        if self._line.gone.is_set():
            return  # nobody hears it any more
        if isinstance(message, messages.Media):
            self.received_media += 1
            playout.append(message.audio, now)
        elif isinstance(message, messages.Mark):
            playout.mark(message.name, now)
            await self._flush_marks()
            self._marks_changed.set()
        else:
            playout.clear(now)
            await self._flush_marks()

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
        self.returned += due
        for mark in due:
            await self._send(messages.mark(self.stream_sid, self._next(), mark.name))

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
            await self._send(messages.stop(self._account_sid, self._call_sid, self.stream_sid, self._next()))
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

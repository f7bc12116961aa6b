"""Carriers and an engine that speak as fast as sockets let them, on bare bytes; nothing of the app's."""

from __future__ import annotations

import contextlib
import json
import random
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from websockets.frames import apply_mask
from websockets.utils import accept_key

READ = 1 << 18
WITHIN_S = 120.0
FILL = b"QUJD" * 52  # with the number before it 216 letters: 162 bytes, 20.25 ms
APPEND, APPENDED = b'{"type":"input_audio_buffer.append","audio":"', b'"}'
TEXT, CONT, CLOSE, PING, PONG = 1, 0, 8, 9, 10


def payload(number: int) -> bytes:
    return b"%08d" % number + FILL


def frame(data: bytes, opcode: int = TEXT, mask: bytes = b"", fin: bool = True) -> bytes:
    """RFC 6455, 5.2."""
    bit, size = (0x80 if mask else 0), len(data)
    head = bytes(((0x80 if fin else 0) | opcode,))
    if size < 126:
        head += bytes((bit | size,))
    elif size < 65_536:
        head += bytes((bit | 126,)) + size.to_bytes(2, "big")
    else:
        head += bytes((bit | 127,)) + size.to_bytes(8, "big")
    return head + mask + apply_mask(data, mask) if mask else head + data


class Cutter:
    """Cuts whole frames out of what comes."""

    def __init__(self) -> None:
        self._rest = b""

    def cut(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Opcode and payload of each; a text that comes in fragments is no business of the app's senders."""
        data, at = self._rest + data, 0
        size = len(data)
        while size - at >= 2:
            second, start = data[at + 1], at + 2
            length = second & 0x7F
            if length == 126:
                length, start = int.from_bytes(data[start : start + 2], "big"), start + 2
            elif length == 127:
                length, start = int.from_bytes(data[start : start + 8], "big"), start + 8
            masked = second & 0x80
            end = start + length + (4 if masked else 0)
            if end > size or start > size:
                break
            body = apply_mask(data[start + 4 : end], data[start : start + 4]) if masked else data[start:end]
            assert data[at] & 0x80, "a fragment"
            yield data[at] & 0x0F, body
            at = end
        self._rest = data[at:]


def disguised(text: bytes, chance: random.Random, masks: bool) -> bytes:
    """A message as one of many lawful writings of it: whole, in fragments, controls in between."""
    mask = chance.randbytes(4) if masks else b""
    dice = chance.random()
    if dice < 0.97:
        return frame(text, mask=mask)
    if dice < 0.98:
        return frame(b"are you there", PING, mask) + frame(text, mask=mask)
    if dice < 0.985:
        return frame(b"", PONG, mask) + frame(text, mask=mask)
    at, more = sorted(chance.sample(range(len(text)), 2))
    between = frame(b"", PING, mask) if dice < 0.99 else frame(b"", CONT, mask, fin=False)
    parts = frame(text[:at], TEXT, mask, fin=False) + between
    return parts + frame(text[at:more], CONT, mask, fin=False) + frame(text[more:], CONT, mask)


class Echo:
    """An engine that says what it hears. ``gate``: while it is shut, nothing is read of any connection.

    Attributes:
        heard: the numbers of what it heard, for each session in the order of their coming.
        lost: sessions whose connection is over.
    """

    def __init__(self, seed: int = 0, context: ssl.SSLContext | None = None, echoes: bool = True) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self._chance, self._context, self._echoes = random.Random(seed), context, echoes
        self.gate = threading.Event()
        self.gate.set()
        self.heard: list[list[int]] = []
        self.sockets: list[Any] = []
        self.pongs = self.over = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        kind, host = ("https", "localhost") if self._context else ("http", "127.0.0.1")
        return f"{kind}://{host}:{self._listener.getsockname()[1]}/v1"

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.gate.set()

    def says(self, session: int, *texts: bytes) -> None:
        """From any thread, while the session's own is not speaking."""
        self.sockets[session].sendall(b"".join(frame(text) for text in texts))

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                threading.Thread(target=self._converse, args=(sock,), daemon=True).start()

    def _converse(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            sock = self._context.wrap_socket(sock, server_side=True) if self._context else sock
            with sock:
                self._shake_hands(sock)
                heard: list[int] = []
                self.heard.append(heard)
                self.sockets.append(sock)
                self._listen(sock, heard)
        self.over += 1

    def _shake_hands(self, sock: socket.socket) -> None:
        asked = b""
        while b"\r\n\r\n" not in asked:
            asked += sock.recv(READ)
        at = asked.lower().index(b"sec-websocket-key:")
        key = asked[at:].splitlines()[0].partition(b":")[2].strip().decode()
        lines = ("HTTP/1.1 101 Yes", "Upgrade: websocket", "Connection: Upgrade")
        answer = "\r\n".join([*lines, f"Sec-WebSocket-Accept: {accept_key(key)}", "", ""])
        sock.sendall(answer.encode())

    def _listen(self, sock: socket.socket, heard: list[int]) -> None:
        cutter, chance = Cutter(), random.Random(self._chance.random())
        while data := sock.recv(READ):
            self.gate.wait(WITHIN_S)
            out: list[bytes] = []
            for opcode, body in cutter.cut(data):
                if opcode == CLOSE:
                    sock.sendall(b"".join(out) + frame(body, CLOSE))
                    return
                out += self._answers(opcode, body, heard, chance)
            answer = b"".join(out)
            if len(answer) > 1:  # never all at once
                at = chance.randrange(1, len(answer))
                sock.sendall(answer[:at])
                sock.sendall(answer[at:])

    def _answers(self, opcode: int, body: bytes, heard: list[int], chance: random.Random) -> list[bytes]:
        if opcode == TEXT and body.startswith(APPEND):
            audio = body[len(APPEND) : -len(APPENDED)]
            heard.append(int(audio[:8]))
            return [disguised(delta(audio), chance, masks=False)] if self._echoes else []
        if opcode == PING:
            return [frame(body, PONG)]
        if opcode == PONG:
            self.pongs += 1
            return []
        told = json.loads(body)
        if told["type"] != "session.update":
            return []
        # The two that are no messages at all are all that a session is forgiven.
        agreed = json.dumps({"type": "session.updated", "session": told["session"]}).encode()
        return [frame(agreed), frame(b""), frame(b"")]


def delta(audio: bytes) -> bytes:
    head = (
        b'{"type":"response.output_audio.delta","response_id":"r1","item_id":"a1","content_index":0,"delta":"'
    )
    return head + audio + b'"}'


class Carrier:
    """One call: numbered frames go out, split anywhere; what comes back is held against them."""

    def __init__(self, sock: socket.socket, call_sid: str, seed: int = 0) -> None:
        self.call_sid, self.stream = call_sid, f"MZ-{call_sid}"
        self._chance, self._cutter = random.Random(seed), Cutter()
        self.sock = sock
        self.sent = self.empties = 0
        self.played: list[int] = []
        self.pongs, self._due = 0, b""
        self.closed_with: int | None = None
        self._head = f'{{"event":"media","streamSid":"{self.stream}","media":{{"payload":"'.encode()
        sound = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
        start = {"callSid": call_sid, "streamSid": self.stream, "mediaFormat": sound}
        self.says({"event": "start", "start": start})

    def says(self, message: dict[str, Any]) -> None:
        self.sock.sendall(frame(json.dumps(message).encode(), mask=self._chance.randbytes(4)))

    def hangs_up(self) -> None:
        self.says({"event": "stop", "stop": {}})

    def speaks(self, count: int = 1) -> None:
        """So many more frames, each a write of its own."""
        for _ in range(count):
            self.sock.sendall(self._next())

    def _next(self) -> bytes:
        text = b'{"event":"media","media":{"payload":"' + payload(self.sent) + b'"}}'
        self.sent += 1
        return disguised(text, self._chance, masks=True)

    def converses(self, frames: int, window: int, stalls: int = 0) -> None:
        """So many frames as fast as they go, ``window`` of them unanswered at most; it stalls at times."""
        stall_at = set(self._chance.sample(range(100, frames, 100), stalls)) if stalls else set()
        out, goal, chance = b"", self.sent + frames, self._chance
        self.sock.setblocking(False)
        deadline = time.monotonic() + WITHIN_S * max(frames / 50_000, 1)
        while len(self.played) < goal:
            assert time.monotonic() < deadline, f"{len(self.played)} of {self.sent} came back"
            room = min(window - (self.sent - len(self.played)), goal - self.sent)
            if room > 0 and len(out) < READ:
                out += b"".join([self._next() for _ in range(chance.randrange(1, room + 1))])
                if self.empties < 5 and chance.random() < 0.05:
                    self.empties += 1
                    out += frame(b"", mask=b"abcd")
            out, self._due = out + self._due, b""
            is_readable, is_writable, _ = select.select([self.sock], [self.sock] if out else [], [], 10)
            if is_writable:
                out = out[self.sock.send(out[: chance.randrange(1, len(out) + 1)]) :]
            if is_readable:
                before = len(self.played)
                self._takes(self.sock.recv(READ if chance.random() < 0.9 else 300))
                if any(at in stall_at for at in range(before, len(self.played))):
                    time.sleep(2.0)
        self.sock.setblocking(True)

    def hears(self, until: Callable[[Carrier], Any]) -> None:
        """Read until something is true; nothing may be missing for long."""
        self.sock.settimeout(WITHIN_S)
        while not until(self):
            data = self.sock.recv(READ)
            self._takes(data)
            self.sock.sendall(self._due)
            self._due = b""

    def _takes(self, data: bytes) -> None:
        assert data, f"over after {self.played[-3:]}, {self.closed_with}"
        head, at = self._head, len(self._head)
        for opcode, body in self._cutter.cut(data):
            if opcode == TEXT and body.startswith(head):
                number = int(body[at : at + 8])
                assert body[at + 8 :] == FILL + b'"}}', "other audio than was sent"
                self.played.append(number)
            else:
                self._takes_other(opcode, body)

    def _takes_other(self, opcode: int, body: bytes) -> None:
        if opcode == PONG:
            self.pongs += 1
        elif opcode == PING:
            self._due += frame(body, PONG, b"abcd")
        elif opcode == CLOSE:
            self.closed_with = int.from_bytes(body[:2], "big")
        elif opcode == TEXT:
            assert json.loads(body)["event"] in ("mark", "clear")

    def ends(self) -> None:
        """Hang up, and read to the close."""
        self.hangs_up()
        self.hears(lambda self: self.closed_with is not None)
        self.sock.sendall(frame(b"\x03\xe8", CLOSE, b"abcd"))
        self.sock.close()

"""The floor: a relay on picows and uvloop that does nothing but translate.

    python bench/relays/floor.py PORT

Text is cut, never parsed: a frame costs two reads, two writes and a few
slices. Nothing is checked, kept, limited or counted; it is here to say what
the kernel and a C parser take, below which no relay can fall.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
from collections.abc import Callable

import uvloop
from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_connect,
    ws_create_server,
)
from websockets.speedups import apply_mask

TEXT = WSMsgType.TEXT
SESSION = {
    "type": "realtime",
    "instructions": "You are a helpful assistant on the telephone.",
    "output_modalities": ["audio"],
    "audio": {
        "input": {"format": {"type": "audio/pcmu"}, "turn_detection": {"type": "server_vad"}},
        "output": {"format": {"type": "audio/pcmu"}, "voice": "alloy"},
    },
}
_MEDIA, _PAYLOAD, _DELTA = b'{"event":"media"', b'"payload":"', b'"delta":"'
_IS_DELTA = b'{"type":"response.output_audio.delta"'
_APPEND, _END = b'{"type":"input_audio_buffer.append","audio":"', b'"}'


class Phone(WSListener):
    """The carrier's side of a call; it opens the engine's side."""

    def __init__(self, dial: Callable[[Phone], asyncio.Task[None]]) -> None:
        self._dial = dial
        self._waiting: list[bytes] = []  # what a read brought before its last frame
        self.engine: WSTransport | None = None
        self.transport: WSTransport | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is not TEXT:
            return _answer(transport, frame)
        text = frame.get_payload_as_bytes()
        start = text.find(_PAYLOAD) + 11
        if start == 10 or self.engine is None:
            self._other(text, start)
        elif frame.last_in_buffer and not self._waiting:
            self.engine.send(TEXT, _APPEND + text[start : text.find(b'"', start)] + _END)
            return None
        else:
            self._waiting.append(_APPEND + text[start : text.find(b'"', start)] + _END)
        if frame.last_in_buffer and self._waiting and self.engine is not None:
            self.engine.underlying_transport.write(b"".join(map(_masked, self._waiting)))
            self._waiting = []
        return None

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if self.engine is not None:
            self.engine.disconnect()

    def _other(self, text: bytes, start: int) -> None:
        if start > 10:  # the engine is not there yet
            self._waiting.append(_APPEND + text[start : text.find(b'"', start)] + _END)
        elif text.startswith(b'{"event":"start"'):
            self.stream_sid = json.loads(text)["streamSid"]
            self._dialling = self._dial(self)  # held: the loop alone would let it be collected
        elif text.startswith(b'{"event":"stop"') and self.transport is not None:
            self.transport.send_close()
            self.transport.disconnect()


class Engine(WSListener):
    """The engine's side of a call."""

    def __init__(self, phone: Phone) -> None:
        self._phone = phone
        self._waiting: list[bytes] = []
        self._head = b'{"event":"media","streamSid":"%s","media":{"payload":"' % phone.stream_sid.encode()

    def on_ws_connected(self, transport: WSTransport) -> None:
        transport.send(TEXT, json.dumps({"type": "session.update", "session": SESSION}).encode())
        self._phone.engine = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        phone = self._phone.transport
        if frame.msg_type is not TEXT or phone is None:
            return _answer(transport, frame)
        text = frame.get_payload_as_bytes()
        if text.startswith(_IS_DELTA):
            start = text.find(_DELTA) + 9
            media = self._head + text[start : text.find(b'"', start)] + b'"}}'
            if frame.last_in_buffer and not self._waiting:
                phone.send(TEXT, media)
                return None
            self._waiting.append(media)
        if frame.last_in_buffer and self._waiting:
            phone.underlying_transport.write(b"".join(map(_plain, self._waiting)))
            self._waiting = []
        return None

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if self._phone.transport is not None:
            self._phone.transport.disconnect()


def _answer(transport: WSTransport, frame: WSFrame) -> None:
    if frame.msg_type is WSMsgType.CLOSE:
        transport.send_close(frame.get_close_code())
        transport.disconnect()


def _plain(text: bytes) -> bytes:
    size = len(text)
    head = bytes((0x81, size)) if size < 126 else bytes((0x81, 126, size >> 8, size & 0xFF))
    return head + text


def _masked(text: bytes) -> bytes:
    size, mask = len(text), os.urandom(4)
    head = bytes((0x81, 0x80 | size)) if size < 126 else bytes((0x81, 0xFE, size >> 8, size & 0xFF))
    return head + mask + apply_mask(text, mask)


async def serve(port: int, base_url: str) -> None:
    """Until the process is ended. ``base_url``: the engine's, as openai's clients are given it."""
    url = f"{base_url.replace('http', 'ws', 1)}/realtime?model=gpt-realtime"
    trusted = ssl.create_default_context() if url.startswith("wss:") else None  # SSL_CERT_FILE counts

    async def connect(phone: Phone) -> None:
        headers = {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}
        await ws_connect(lambda: Engine(phone), url, ssl_context=trusted, extra_headers=headers)

    def listener(request: WSUpgradeRequest) -> WSListener | WSUpgradeResponseWithListener:
        if request.path == b"/health":
            return WSUpgradeResponseWithListener(WSUpgradeResponse.create_ok_response(b"ok"), None)
        return Phone(lambda phone: asyncio.get_running_loop().create_task(connect(phone)))

    server = await ws_create_server(listener, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), os.environ["OPENAI_BASE_URL"]))

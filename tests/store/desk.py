"""A keeper with calls to follow: they say what a test has them say."""

from __future__ import annotations

from flaskapp.phone.transcript import Line
from flaskapp.store.audio import AudioBuffer
from flaskapp.store.keeper import Keeper
from flaskapp.store.live import LiveStore
from tests import servers

SECOND = 8000


class Bridge:
    """A call that speaks when it is told to."""

    def __init__(self, start_ms: int = 0) -> None:
        self.heard_until_ms = 0
        self.cost_usd = 0.0
        self.usage: dict[str, float] = {}
        self.base_ms = start_ms
        self.memo: dict | None = None
        self.said = b""
        self.clock_ms = start_ms
        self.new = bytearray()
        self.lines: list[Line] = []
        self.asked = 0
        self.has_news = True

    def is_still(self) -> bool:
        return not self.has_news

    def say(self, mulaw: bytes) -> None:
        self.new += mulaw
        self.said += mulaw

    def take_audio(self) -> tuple[int, bytes] | None:
        self.asked += 1
        taken, self.new = bytes(self.new), bytearray()
        start_ms = self.clock_ms
        self.clock_ms += len(taken) // 8
        return (start_ms, taken) if taken else None

    def take_lines(self) -> list[Line]:
        lines, self.lines = self.lines, []
        return lines

    def take_memo(self) -> dict | None:
        memo, self.memo = self.memo, None
        return memo


class Desk:
    """A keeper, and what it told."""

    def __init__(self, connections) -> None:
        self.connections = connections
        self.buffer, self.live = AudioBuffer(connections), LiveStore(connections)
        self.bytes: list[int] = []
        self.dropped: list[int] = []
        self.late: list[str] = []
        self.keeper = Keeper(self.buffer, self.live, self.bytes.append, self.dropped.append, self.late.append)

    def sound(self, call_sid: str) -> bytes:
        return b"".join(chunk.mulaw for chunk in self.buffer.read(call_sid))

    def rounds(self, count: int = 2) -> None:
        """Wait for so many rounds to end."""
        aim = len(self.bytes) + count
        servers.wait_until(lambda: len(self.bytes) >= aim, "the keeper rests")

    def close(self) -> None:
        """Its writer writes into nobody else's Redis: a call that goes on is followed no longer."""
        with self.keeper._guard:
            self.keeper._followed.clear()
            writer = self.keeper._writer
        self.keeper._hurry.set()
        if writer is not None:
            writer.join(60)
            assert not writer.is_alive(), "the keeper goes on"

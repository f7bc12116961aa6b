"""The rules for audio sent to Exotel, and a reader of them who lets nothing pass.

Pure: time is an argument. Sources: exotel/Agent-Stream (sizes of chunks; numbers and
times that Connect streams may end early without), and its advice to pace near real time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flaskapp.simulator.exotel.messages import Received

MULTIPLE_OF, LEAST_BYTES, MOST_BYTES = 320, 3200, 100_000
MOST_AHEAD_S, TOLERANCE_S = 0.300, 0.060
# A shorter pause is nobody's, a longer one is no pause in a reply.
UNDERRUN_S = (0.010, 0.5)

# Exotel has no numbers for these.
CODES = {
    kind: 9000 + number
    for number, kind in enumerate(
        (
            *("binary", "json", "event", "stream", "payload", "name", "size", "sequence", "chunk"),
            *("timestamp", "ahead", "one-way", "parameters", "protocol"),
        ),
        start=1,
    )
}


@dataclass(frozen=True)
class Flaw:
    """One rule broken: which, and how."""

    kind: str
    text: str


class Rules:
    """What has been received of one stream so far, held against the rules."""

    def __init__(self, rate_hz: int) -> None:
        self._bytes_per_s = rate_hz * 2
        self._sequence = 0
        self._chunk = 0
        self._sent_bytes = 0
        self._plays_until: float | None = None  # the end of what was to be heard, while nothing was cleared
        self._kept_until = 0.0
        self.ahead_s = 0.0
        self.underruns = 0
        self.underrun_s = 0.0

    def check(self, received: Received) -> list[Flaw]:
        """What is wrong with a message, its pace apart."""
        return [*self._numbers(received), *(self._media(received) if received.event == "media" else ())]

    def came(self, size: int, now: float, ends_at: float, allowance_s: float = 0.0) -> list[Flaw]:
        """Audio came in, and all that is buffered will end then.

        ``allowance_s``: how late the network itself may have been in looking.
        """
        if self._plays_until is not None and UNDERRUN_S[0] < now - self._plays_until <= UNDERRUN_S[1]:
            self.underruns += 1
            self.underrun_s += now - self._plays_until
        self._plays_until = ends_at
        ahead_s = ends_at - max(now, self._kept_until)
        self.ahead_s = max(self.ahead_s, ahead_s - allowance_s)
        if ahead_s <= MOST_AHEAD_S + TOLERANCE_S + allowance_s:
            return []
        return [Flaw("ahead", f"{size} bytes came {ahead_s * 1000:.0f} ms ahead of being heard")]

    def cleared(self, kept_until: float) -> None:
        """The buffer was emptied; what had begun to sound goes on so long, which the sender cannot know."""
        self._plays_until = None
        self._kept_until = kept_until

    def _numbers(self, received: Received) -> Iterator[Flaw]:
        expected, self._sequence = self._sequence + 1, self._sequence + 1
        if received.flaws:
            yield Flaw("sequence", f"{received.event} with two different sequence numbers")
        elif received.sequence is None:
            yield Flaw("sequence", f"{received.event} without a sequence number")
        elif received.sequence != expected:
            self._sequence = received.sequence
            yield Flaw(
                "sequence", f"{received.event} with sequence number {received.sequence}, not {expected}"
            )

    def _media(self, received: Received) -> Iterator[Flaw]:
        size = len(received.audio)
        if size % MULTIPLE_OF or not LEAST_BYTES <= size <= MOST_BYTES:
            yield Flaw("size", f"media of {size} bytes")
        expected, self._chunk = self._chunk + 1, self._chunk + 1
        if received.chunk != expected:
            self._chunk = expected if received.chunk is None else received.chunk
            yield Flaw("chunk", f"media with chunk {received.chunk}, not {expected}")
        sent_ms = self._sent_bytes * 1000 / self._bytes_per_s
        self._sent_bytes += size
        if received.timestamp_ms is None or abs(received.timestamp_ms - sent_ms) > 1:
            yield Flaw("timestamp", f"media with timestamp {received.timestamp_ms}, not {sent_ms:.0f}")

"""A live call's leg as the keeper follows it: what of it has still to be written, what was last."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from flaskapp.phone.transcript import Line
from flaskapp.store.audio import BYTES_PER_MS, CHUNKS_KEPT
from flaskapp.store.keys import FORGOTTEN_S
from flaskapp.store.live import leg_key, usage_field
from flaskapp.store.tape import Tape

log = logging.getLogger(__name__)

CHUNK_BYTES = 1000 * BYTES_PER_MS
CALL_BYTES = CHUNKS_KEPT * CHUNK_BYTES
#: Keys are kept for a day, or, once somebody says that the call is over, for a minute: well before that
#: they are told again to stay.
RENEWED_EVERY_S = FORGOTTEN_S / 3


class Source(Protocol):
    """A live call's bridge, as the keeper sees it."""

    @property
    def heard_until_ms(self) -> int:
        """Up to here all that the caller said has reached the transcript."""

    def is_still(self) -> bool:
        """Whether nothing of all this has changed since this was last asked."""

    def take_audio(self) -> tuple[int, bytes] | None:
        """Mu-law that came since the last time, and where in the call it begins, in ms."""

    @property
    def cost_usd(self) -> float:
        """What this leg has cost so far; 0.0 where nobody knows prices."""

    @property
    def usage(self) -> dict[str, float]:
        """What this leg has used so far, by the engine's own names for it; a copy."""

    @property
    def base_ms(self) -> int:
        """Where in the call this leg begins."""

    def take_lines(self) -> Sequence[Line]:
        """Lines that are new, or have changed, since the last time."""

    def take_memo(self) -> dict[str, Any] | None:
        """What the call's next leg must know, if that has changed since the last time; JSON can carry it."""


@dataclass(eq=False, slots=True)
class Followed:
    """One call's leg.

    Attributes:
        source: None: the leg is over, and all of it was taken.
        tape: where its sound goes to be kept; None: it is not.
        is_settled: Redis has all that was taken.
        noted: how the call's hash is told of ``usage``.
        told: the fields of the call's hash as they were last written.
        renewed_at: when its keys were last told to stay (monotonic seconds); None: do so with the next write.
        waiting: bytes in ``chunks``.
        stored: bytes in Redis.
    """

    call_sid: str
    source: Source | None
    is_settled: bool = False
    chunks: list[tuple[int, bytes]] = field(default_factory=list)
    lines: dict[str, dict[str, Any]] = field(default_factory=dict)
    heard_until_ms: int = 0
    memo: dict[str, Any] | None = None  # one that has still to be written
    cost_usd: float = 0.0
    usage: dict[str, float] = field(default_factory=dict)
    noted: dict[str, str] = field(default_factory=dict)
    told: dict[str, str | int] = field(default_factory=dict)
    renewed_at: float | None = None
    base_ms: int = 0
    waiting: int = 0
    stored: int = 0
    positions: int = 0
    told_positions: int = 0
    is_late: bool = False
    written: threading.Event = field(default_factory=threading.Event)
    guard: threading.Lock = field(default_factory=threading.Lock)
    tape: Tape | None = None

    def needs_no_look(self, now: float) -> bool:
        """Whether a sign of life is all that is to be told of it (monotonic seconds)."""
        source, renewed_at = self.source, self.renewed_at
        if source is None or not self.is_settled or renewed_at is None:
            return False
        return source.is_still() and now - renewed_at < RENEWED_EVERY_S

    def take(self, is_last: bool = False) -> None:
        """Everything that is new at the source."""
        with self.guard:
            source = self.source
            if source is None:
                return
            self.is_settled = False
            if is_last:
                self.source = None
            taken = source.take_audio()
            for line in source.take_lines():
                self.lines[line.item_id] = {**asdict(line), "mode": "live"}
                self.positions = max(self.positions, line.position + 1)
            self.heard_until_ms, self.cost_usd = source.heard_until_ms, source.cost_usd
            usage, self.base_ms = source.usage, source.base_ms
            if usage != self.usage:
                self.usage, self.noted = usage, usage_field(usage, leg_key(self.base_ms))
            self.memo = source.take_memo() or self.memo
            start_ms, mulaw = taken or (0, b"")
            for at in range(0, len(mulaw), CHUNK_BYTES):
                self.chunks.append((start_ms + at // BYTES_PER_MS, mulaw[at : at + CHUNK_BYTES]))
            self.waiting += len(mulaw)
            if self.tape is not None:
                self._keep(self.tape, source, taken)

    def _keep(self, tape: Tape, source: Any, taken: tuple[int, bytes] | None) -> None:
        try:
            tape.take(source, taken)
        except Exception as error:  # the call's words are worth more than its sound
            about = {"call_sid": self.call_sid}
            log.error("A call's sound is kept no longer: %s: %s", type(error).__name__, error, extra=about)
            self.tape = None

    def strike_off(self, chunk: tuple[int, bytes]) -> None:
        """This one is in Redis."""
        with self.guard:
            if self.chunks and self.chunks[0] is chunk:
                self.drop_oldest()
        self.stored = min(self.stored + len(chunk[1]), CALL_BYTES)

    def drop_oldest(self) -> None:
        """The oldest chunk waits no longer."""
        self.waiting -= len(self.chunks.pop(0)[1])

    def batch(self, most_bytes: int, now: float) -> Batch:
        """What waits, with the oldest chunks; they end with the one that is too much (monotonic seconds)."""
        with self.guard:
            chunks = []
            for chunk in self.chunks:
                if most_bytes <= 0:
                    break
                chunks.append(chunk)
                most_bytes -= len(chunk[1])
            is_last = self.source is None
            renews = is_last or self.renewed_at is None or now - self.renewed_at >= RENEWED_EVERY_S
            fields = self._fields()
            if not renews:
                fields = {name: value for name, value in fields.items() if self.told.get(name) != value}
            if self.memo is not None:
                fields["memo"] = json.dumps(self.memo)
            return Batch(self, chunks, dict(self.lines), fields, self.memo, is_last, renews)

    def settle(self, batch: Batch, now: float) -> None:
        """All of a batch but its chunks is in Redis (monotonic seconds)."""
        with self.guard:
            if self.memo is batch.memo:
                self.memo = None
            for item, line in batch.lines.items():
                if self.lines.get(item) is line:
                    del self.lines[item]
            self.told.update(batch.fields)
            self.is_settled = not self.chunks and not self.lines and self.memo is None
            if batch.renews:
                self.renewed_at = now

    def _fields(self) -> dict[str, str | int]:
        """What the call's hash is told of its leg."""
        fields: dict[str, str | int] = {"heard_until_ms": self.heard_until_ms}
        if self.source is not None:  # whoever hears of the leg's end adds it up
            if self.cost_usd:
                fields["leg_cost"] = repr(self.cost_usd)
            fields |= self.noted
        return fields


@dataclass(frozen=True, slots=True)
class Batch:
    """What waits for one call, or part of it, as it goes into one bundle.

    Attributes:
        renews: its keys are told to stay, and its hash all it is to know, whether that has changed or not.
    """

    followed: Followed
    chunks: list[tuple[int, bytes]]
    lines: dict[str, dict[str, Any]]
    fields: dict[str, str | int]
    memo: dict[str, Any] | None
    is_last: bool
    renews: bool

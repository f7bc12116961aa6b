"""What calls sound like, kept on disk: both sides, each where it was heard, sealed where there is a DATA_KEY.

Whoever has sound says so and goes on. One thread for each process (a greenlet
under gevent) seals what came and has it written, once a second, beside the
event loop. A disk that is full or gone stops no call: what cannot be written
waits, up to so many bytes, and is then lost, and counted.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from flaskapp.phone.giving_way import pause
from flaskapp.store import audio_parts
from flaskapp.store.aside import at_the_disk
from flaskapp.store.audio_parts import AGENT, CALLER, Piece
from flaskapp.store.call_sound import CallSound
from flaskapp.store.sealing import Seal

__all__ = ["AGENT", "CALLER", "CallAudio", "Piece"]

log = logging.getLogger(__name__)

EVERY_S = 1.0
MOST_BYTES = 64 << 20
#: With what comes while the disk hangs.
HELD_AT_MOST = 2 * MOST_BYTES
#: So long something is sealed before others have their turn.
BUSY_S = 0.0003
AT_ONCE_BYTES = 1 << 20
_CALL_SID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class CallAudio:
    """Every kept call's sound.

    Args:
        folder: shared by all processes of one host.
        lost: told how many pieces were dropped because the disk took none for too long.
    """

    def __init__(self, folder: Path, seal: Seal, lost: Callable[[int], None] = lambda count: None) -> None:
        self.folder, self._seal, self._tell_lost = folder, seal, lost
        self._waiting: deque[tuple[str, str, Piece]] = deque()
        self._unwritten: deque[tuple[str, str, bytes]] = deque()  # the disk would not take these
        self._held = 0
        self._guard = threading.Lock()
        self._hurry, self._written = threading.Event(), threading.Event()
        self._written.set()
        self._writer: threading.Thread | None = None
        self._is_full = False

    def prepare(self) -> None:
        """Import what sealing takes; otherwise the first call waits for it."""
        self._seal.close(b"")

    # ------------------------------------------------------------------ what is kept

    def keep(self, call_sid: str, part: str, pieces: Sequence[Piece]) -> None:
        """Have this written soon; returns at once. A part has one writer, and only grows.

        Args:
            part: a leg's own name, letters and digits.

        Raises:
            ValueError: a piece is longer than a second (``audio_parts.split``).
        """
        _need_split(pieces)
        if not pieces or not _CALL_SID.fullmatch(call_sid):
            return
        if self._held > HELD_AT_MOST:  # the disk does not even say that it cannot
            self._tell_lost(len(pieces))
            return
        self._waiting.extend((call_sid, part, piece) for piece in pieces)
        self._written.clear()
        with self._guard:
            self._held += sum(len(piece.mulaw) for piece in pieces)
            if self._writer is None:
                self._writer = threading.Thread(target=self._write_for_ever, name="call-audio", daemon=True)
                self._writer.start()

    def place(self, call_sid: str, part: str, pieces: Sequence[Piece]) -> None:
        """Write a part that is whole, now; writing it again changes nothing. For work in the background.

        Raises:
            OSError: the disk does not take it.
            ValueError: as ``keep``.
        """
        _need_split(pieces)
        if pieces and _CALL_SID.fullmatch(call_sid):
            records = b"".join(audio_parts.record(self._seal, call_sid, piece) for piece in pieces)
            at_the_disk(audio_parts.replace, self.folder, call_sid, part, records)

    def settle(self, within_s: float) -> bool:
        """Wait until all that was told is written; whether it is in time."""
        self._hurry.set()
        return self._written.wait(within_s)

    # ------------------------------------------------------------------ what there is

    def open(self, call_sid: str) -> CallSound | None:
        """A call's WAV file, as far as there is one by now; None: nothing is kept of it.

        Raises:
            SealError: it is encrypted, and DATA_KEY does not open it; the text says what to do.
        """
        sound = self._found(call_sid)
        if sound is not None:
            sound.check()
        return sound

    def peaks(self, call_sid: str) -> list[tuple[float, float]] | None:
        """How loud the caller and the agent were, for drawing; None: nothing is kept of it.

        Returns:
            Pairs, 0.0 to 1.0, of equal stretches of the whole call: at most 1200, of at least 50 ms.

        Raises:
            SealError: as ``open``.
        """
        sound = self._found(call_sid)
        return sound.peaks() if sound is not None else None

    def duration_ms(self, call_sid: str) -> int | None:
        """How long the file plays; None: nothing is kept of it."""
        sound = self._found(call_sid)
        return sound.duration_ms if sound is not None else None

    def calls(self) -> Iterator[tuple[str, float]]:
        """Every call of which there is a folder, and when something was last added (seconds since 1970)."""
        yield from at_the_disk(lambda: list(audio_parts.calls_of(self.folder)))

    def bytes_of(self, call_sid: str) -> int:
        """How much of the disk a call takes."""
        return (
            at_the_disk(audio_parts.bytes_of, self.folder, call_sid) if _CALL_SID.fullmatch(call_sid) else 0
        )

    def delete(self, call_sid: str) -> int:
        """Drop all that is kept of a call: so many bytes. Doing it again drops nothing more.

        Raises:
            OSError: the disk does not let it go.
        """
        return at_the_disk(audio_parts.delete, self.folder, call_sid) if _CALL_SID.fullmatch(call_sid) else 0

    def _found(self, call_sid: str) -> CallSound | None:
        if not _CALL_SID.fullmatch(call_sid):
            return None
        records = at_the_disk(audio_parts.records_of, self.folder, call_sid)
        return CallSound(call_sid, records, self._seal) if records else None

    # ------------------------------------------------------------------ the writer

    def _write_for_ever(self) -> None:
        while True:
            self._hurry.wait(EVERY_S)
            self._hurry.clear()
            try:
                self._round()
            except Exception as error:  # the other calls' sound depends on this thread
                log.error("Call audio stumbled: %s: %s", type(error).__name__, error)
            with self._guard:
                if not self._waiting and not self._unwritten:
                    self._written.set()
                    self._writer = None
                    return

    def _round(self) -> None:
        """Seal and write what came, in turns; then see whether too much waits."""
        todo = list(self._unwritten)
        self._unwritten.clear()
        while todo or self._waiting:
            todo += self._sealed()
            failed = at_the_disk(audio_parts.append_all, self.folder, todo)
            self._unwritten.extend(todo[at] for at in sorted(failed))
            if failed and not self._is_full:
                log.error("Call audio cannot be written, and waits: %s", next(iter(failed.values())))
            self._is_full = bool(failed)
            todo = []
        with self._guard:
            waiting = sum(len(piece.mulaw) for _, _, piece in self._waiting)
            self._held = waiting + sum(len(records) for _, _, records in self._unwritten)
        self._make_room()

    def _sealed(self) -> list[tuple[str, str, bytes]]:
        """What waits, as it is written: that of each leg together."""
        parts: dict[tuple[str, str], list[bytes]] = {}
        began, size = time.monotonic(), 0
        while self._waiting and size < AT_ONCE_BYTES:
            call_sid, part, piece = self._waiting.popleft()
            parts.setdefault((call_sid, part), []).append(audio_parts.record(self._seal, call_sid, piece))
            size += len(piece.mulaw)
            if time.monotonic() - began >= BUSY_S:
                pause()
                began = time.monotonic()
        return [(*leg, b"".join(records)) for leg, records in parts.items()]

    def _make_room(self) -> None:
        dropped = 0
        while self._unwritten and self._held > MOST_BYTES:
            self._held -= len(self._unwritten.popleft()[2])
            dropped += 1
        if dropped:
            log.error("The disk takes no call audio: %d pieces are lost", dropped)
            self._tell_lost(dropped)


def _need_split(pieces: Sequence[Piece]) -> None:
    """A record is a second at most: readers open all of one, and what is lost is lost with it."""
    if any(len(piece.mulaw) > audio_parts.PIECE_BYTES for piece in pieces):
        raise ValueError("A piece of call audio is a second at most: audio_parts.split() makes such pieces")

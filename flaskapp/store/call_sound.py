"""A kept call as one WAV file: stereo, the caller left and the agent right, 16-bit PCM at 8 kHz.

The file exists nowhere: whatever is read of it is put together from the call's
records, so an hour takes no more memory than a minute, and it may be read from
anywhere.
"""

from __future__ import annotations

import io
import struct
from bisect import bisect_left
from collections.abc import Iterator

from flaskapp.phone.audio import (
    MULAW_BYTES_PER_MS,
    MULAW_SILENCE,
    TELEPHONE_RATE_HZ,
    interleave,
    mulaw_to_pcm16,
    peak,
)
from flaskapp.phone.giving_way import pause
from flaskapp.store.aside import at_the_disk
from flaskapp.store.audio_parts import AGENT, CALLER, PIECE_BYTES, Record, mulaw_of, stored_of
from flaskapp.store.sealing import Seal

HEAD_BYTES = 44
FRAME_BYTES = 4  # two samples
CHUNK_BYTES = 64 << 10
AT_HAND = 6
MOST_PEAKS, SHORTEST_PEAK_MS = 1200, 50
#: What the four-byte sizes in its head can tell.
MOST_FRAMES = (0xFFFF_FFFF - HEAD_BYTES) // FRAME_BYTES


class CallSound(io.RawIOBase):
    """A call's WAV file, as far as there is one by now: readable, seekable; iterated, it gives chunks.

    Attributes:
        size: in bytes, the head included.
    """

    def __init__(self, call_sid: str, records: list[Record], seal: Seal) -> None:
        super().__init__()
        self._call_sid, self._seal = call_sid, seal
        self._tracks = {side: [each for each in records if each.track == side] for side in (CALLER, AGENT)}
        self._firsts = {side: [each.first for each in found] for side, found in self._tracks.items()}
        self.frames = min(max((each.end for each in records), default=0), MOST_FRAMES)
        self.size, self._at = HEAD_BYTES + self.frames * FRAME_BYTES, 0
        self._at_hand: dict[tuple[str, int], bytes] = {}

    @property
    def duration_ms(self) -> int:
        """How long it plays."""
        return self.frames * 1000 // TELEPHONE_RATE_HZ

    def check(self) -> None:
        """See whether it can be read.

        Raises:
            SealError: not with our keys.
        """
        for found in self._tracks.values():
            self._read(found[:1] + found[-1:])

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max({io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence] + offset, 0)
        return self._at

    def readinto(self, buffer: object) -> int:
        """As much as fits, a chunk at most.

        Raises:
            SealError: not with our keys.
            OSError: it was deleted meanwhile, or the disk fails.
        """
        room = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        wanted = max(min(len(room), CHUNK_BYTES, self.size - self._at), 0)
        data = _head(self.size)[self._at :][:wanted]
        if len(data) < wanted:
            data += self._sound(max(self._at - HEAD_BYTES, 0), wanted - len(data))
        room[: len(data)] = data
        self._at += len(data)
        return len(data)

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self.read(CHUNK_BYTES):
            yield chunk

    def peaks(self) -> list[tuple[float, float]]:
        """The loudest of the caller and of the agent, 0.0 to 1.0, in equal stretches of the whole call.

        Raises:
            SealError: not with our keys.
            OSError: it was deleted meanwhile, or the disk fails.
        """
        shortest = SHORTEST_PEAK_MS * MULAW_BYTES_PER_MS
        width = max(-(-self.frames // MOST_PEAKS), shortest)
        count = -(-self.frames // width)
        loudest = {side: [0.0] * count for side in self._tracks}
        for side, found in self._tracks.items():
            for each in found:
                (mulaw,) = self._read([each])
                for at in range(each.first // width, min(-(-each.end // width), count)):
                    piece = mulaw[max(at * width - each.first, 0) : max((at + 1) * width - each.first, 0)]
                    loudest[side][at] = max(loudest[side][at], round(peak(mulaw_to_pcm16(piece)), 3))
                pause()
        return list(zip(loudest[CALLER], loudest[AGENT], strict=True))

    def _sound(self, at: int, wanted: int) -> bytes:
        """So many bytes of interleaved PCM."""
        first, end = at // FRAME_BYTES, -(-(at + wanted) // FRAME_BYTES)
        left, right = (mulaw_to_pcm16(self._mulaw(side, first, end)) for side in (CALLER, AGENT))
        skipped = at - first * FRAME_BYTES
        return interleave(left, right)[skipped : skipped + wanted]

    def _mulaw(self, side: int, first: int, end: int) -> bytes:
        """One side's samples from ``first`` up to ``end``; silence where nothing was kept."""
        samples = bytearray(MULAW_SILENCE * (end - first))
        # No record is longer than a piece: those before cannot reach so far.
        begin, stop = (bisect_left(self._firsts[side], each) for each in (first - PIECE_BYTES, end))
        found = [each for each in self._tracks[side][begin:stop] if each.end > first]
        for each, mulaw in zip(found, self._read(found), strict=True):
            piece = mulaw[max(first - each.first, 0) : end - each.first]
            at = max(each.first - first, 0)
            samples[at : at + len(piece)] = piece
        return bytes(samples)

    def _read(self, wanted: list[Record]) -> list[bytes]:
        """The sound of some records; of the latest it is at hand."""
        names = [(str(each.path), each.offset) for each in wanted]
        missing = [each for each, name in zip(wanted, names, strict=True) if name not in self._at_hand]
        new = dict(
            zip(((str(each.path), each.offset) for each in missing), self._opened(missing), strict=True)
        )
        read = [new.get(name) or self._at_hand.get(name, b"") for name in names]
        self._at_hand = dict(zip(names[-AT_HAND:], read[-AT_HAND:], strict=True))
        return read

    def _opened(self, records: list[Record]) -> list[bytes]:
        stored = at_the_disk(stored_of, records) if records else []
        return [
            mulaw_of(self._seal, self._call_sid, each, data)
            for each, data in zip(records, stored, strict=True)
        ]


def _head(size: int) -> bytes:
    """A WAV file's, of that size: PCM, two channels of 16 bits."""
    rate = TELEPHONE_RATE_HZ
    about = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, rate, rate * FRAME_BYTES, FRAME_BYTES, 16)
    riff = struct.pack("<4sI4s", b"RIFF", size - 8, b"WAVE")
    return riff + about + struct.pack("<4sI", b"data", size - HEAD_BYTES)

"""Files of kept call audio: a folder for each call, in it a part for each of its legs, which only grows.

A part is a row of records. A record is a head (whose voice, where in the call,
how long) and a second or less of mu-law, sealed or not; sealed, it says whose
head it belongs to, so that nothing can be put elsewhere. A part's writer may
be killed at any time: what is not whole at the end is no record.
"""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from flaskapp.phone.audio import MULAW_BYTES_PER_MS
from flaskapp.phone.errors import SealError
from flaskapp.store.sealing import OTHER_KEY, Seal

CALLER, AGENT = 0, 1  # the left and the right track
PIECE_BYTES = 1000 * MULAW_BYTES_PER_MS
ENDING = ".part"
#: A mark, the track, whether it is sealed, where it begins (ms), bytes of mu-law, bytes that follow.
HEAD = struct.Struct(">2sBBIII")
MARK = b"AL"


class Piece(NamedTuple):
    """Some of one side's audio: mu-law at 8 kHz, from ``start_ms`` of the call on."""

    track: int
    start_ms: int
    mulaw: bytes


class Record(NamedTuple):
    """Where a piece is found: its first sample and the one behind its last, on the call's clock."""

    first: int
    end: int
    track: int
    path: Path
    offset: int
    stored: int
    head: bytes


def split(track: int, start_ms: int, mulaw: bytes) -> list[Piece]:
    """In pieces of a second, so that a part may be read from anywhere."""
    return [
        Piece(track, start_ms + at // MULAW_BYTES_PER_MS, mulaw[at : at + PIECE_BYTES])
        for at in range(0, len(mulaw), PIECE_BYTES)
    ]


def record(seal: Seal, call_sid: str, piece: Piece) -> bytes:
    """A piece as a part has it."""
    about = (MARK, piece.track, int(seal.seals), max(piece.start_ms, 0), len(piece.mulaw))
    if not seal.seals:
        return HEAD.pack(*about, len(piece.mulaw)) + piece.mulaw
    sealed = seal.close(_bound(HEAD.pack(*about, 0), call_sid) + piece.mulaw)
    return HEAD.pack(*about, len(sealed)) + sealed


def mulaw_of(seal: Seal, call_sid: str, found: Record, stored: bytes) -> bytes:
    """The sound of a record.

    Args:
        stored: what follows its head.

    Raises:
        SealError: it is sealed, and not with one of our keys.
    """
    mark, track, is_sealed, start_ms, size, _ = HEAD.unpack(found.head)
    if not is_sealed:
        return stored
    bound = _bound(HEAD.pack(mark, track, is_sealed, start_ms, size, 0), call_sid)
    opened = seal.open(stored)
    if not opened.startswith(bound):  # another record's
        raise SealError(OTHER_KEY)
    return opened[len(bound) :]


def _bound(head: bytes, call_sid: str) -> bytes:
    return head + call_sid.encode() + b"\0"


# ---------------------------------------------------------------------- the disk


def try_out(folder: Path) -> None:
    """Make a file where calls would be kept, and leave nothing of it.

    Folders that are not there the first call makes: then the nearest one that is there must take a file.

    Raises:
        OSError: no call can be kept there.
    """
    way = (folder.absolute(), *folder.absolute().parents)
    nearest = next(each for each in way if each.is_symlink() or each.exists())
    with tempfile.TemporaryFile(dir=nearest, buffering=0) as file:
        file.write(b"\0")


def append_all(folder: Path, written: Sequence[tuple[str, str, bytes]]) -> dict[int, OSError]:
    """Add records to parts, each (call, part, records); what went wrong, by its place."""
    failed: dict[int, OSError] = {}
    for at, (call_sid, part, records) in enumerate(written):
        try:
            _append(folder / call_sid / (part + ENDING), records)
        except OSError as error:
            failed[at] = error
    return failed


def _append(path: Path, records: bytes) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    try:
        file = os.open(path, flags, 0o600)
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(path, flags, 0o600)
    try:
        before = os.fstat(file).st_size
        try:
            if os.write(file, records) < len(records):
                raise OSError("the disk is full")
        except OSError:
            os.ftruncate(file, before)
            raise
    finally:
        os.close(file)


def replace(folder: Path, call_sid: str, part: str, records: bytes) -> None:
    """Write a part that is whole, once or again."""
    path = folder / call_sid / (part + ENDING)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.draft")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(records)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def records_of(folder: Path, call_sid: str) -> list[Record]:
    """All that there is of a call by now, by its first sample; empty: nothing is kept."""
    found: list[Record] = []
    for path in sorted((folder / call_sid).glob("*" + ENDING)):
        with suppress(FileNotFoundError):  # it was deleted just now
            found += _scanned(path)
    return sorted(found, key=lambda each: each.first)


def _scanned(path: Path) -> Iterator[Record]:
    with path.open("rb", buffering=0) as file:
        size, at = os.fstat(file.fileno()).st_size, 0
        while len(head := os.pread(file.fileno(), HEAD.size, at)) == HEAD.size:
            mark, track, _, start_ms, length, stored = HEAD.unpack(head)
            at += HEAD.size + stored
            if mark != MARK or at > size:
                return
            first = start_ms * MULAW_BYTES_PER_MS
            yield Record(first, first + length, track, path, at - stored, stored, head)


def stored_of(wanted: Iterable[Record]) -> list[bytes]:
    """What follows each record's head.

    Raises:
        OSError: it was deleted meanwhile, or the disk fails.
    """
    read = []
    for each in wanted:
        with each.path.open("rb", buffering=0) as file:
            read.append(os.pread(file.fileno(), each.stored, each.offset))
    return read


def bytes_of(folder: Path, call_sid: str) -> int:
    """How much of the disk a call takes."""
    return sum(_size(each) for each in (folder / call_sid).glob("*"))


def delete(folder: Path, call_sid: str) -> int:
    """Drop all of a call: so many bytes."""
    size = bytes_of(folder, call_sid)
    shutil.rmtree(folder / call_sid, ignore_errors=False, onerror=_unless_gone)
    return size


def calls_of(folder: Path) -> Iterator[tuple[str, float]]:
    """Every call that has a folder, and when (seconds since 1970) something was last added to it."""
    if folder.is_dir():
        for each in sorted(folder.iterdir()):
            with suppress(FileNotFoundError):
                if each.is_dir():
                    yield each.name, max((part.stat().st_mtime for part in each.glob("*")), default=0.0)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _unless_gone(function: object, path: str, raised: tuple[type, BaseException, object]) -> None:
    if not isinstance(raised[1], FileNotFoundError):
        raise raised[1]

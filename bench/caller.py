"""A caller on a carrier's media stream: what those of every carrier have in common."""

from __future__ import annotations

from itertools import count
from typing import Any

from peer import Peer
from tally import Histogram

FRAME_S = 0.02
FRAMES_PER_S = 50
_numbers = count(1)
_MOST = 1 << 24


class Caller(Peer):
    """Speaks a frame whenever it is told to, and accounts for what comes back.

    ``stream``: ``call_sid`` and ``parameters`` of the media stream (``path`` is for whoever connects).
    ``waits`` may be exchanged at any time: only some of a run is measured, but where a caller
    ``waits_once``, for the first sound, that counts whenever it is.
    """

    waits_once = False

    def __init__(self, stream: dict[str, Any]) -> None:
        super().__init__()
        self.number = next(_numbers) % _MOST  # of all callers: a frame on a wrong call is told
        self.stream = stream
        self.waits = Histogram()

    def speak(self, now: float) -> None:
        """The next frame leaves at this time (monotonic seconds)."""
        raise NotImplementedError

    def begin_turn(self) -> None:
        """After a silence it speaks again."""

    def hang_up(self) -> None:
        raise NotImplementedError

    @property
    def heard(self) -> int:
        """Frames that came back."""
        raise NotImplementedError

    @property
    def missing(self) -> int:
        """Frames that did not come back, or not yet."""
        raise NotImplementedError

    def counts(self) -> dict[str, int]:
        """The fields of a Tally that this caller knows."""
        raise NotImplementedError

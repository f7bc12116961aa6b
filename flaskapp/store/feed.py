"""The live transcript on its way to whoever reads along, through Redis: from any worker to any worker."""

from __future__ import annotations


class Feed:
    """The writing side, one per process; nothing here waits."""

    def placed(self, call_sid: str, item: str, position: int, speaker: str, is_over: bool = False) -> None:
        """Somebody begins to speak: his line has its place, and no words yet; ``is_over``: it gets none."""

    def line(
        self, call_sid: str, item: str, position: int, speaker: str, transcript: str, is_final: bool
    ) -> None:
        """A line as it stands: the whole of it so far."""

    def over(self, call_sid: str) -> None:
        """The call is over for good: the last that is told of it. Possibly said more than once."""

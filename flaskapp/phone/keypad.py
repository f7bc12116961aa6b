"""The keys that a caller presses, gathered until he pauses."""

from __future__ import annotations

from dataclasses import dataclass

PAUSE_S = 1.5
ENDS = "#"
LONGEST = 64


@dataclass(slots=True)
class Keypad:
    """Keys that the engine has not been told of."""

    keys: str = ""
    pressed_at: float = 0.0

    def pressed(self, key: str, at: float) -> None:
        self.keys = (self.keys + key)[:LONGEST]
        self.pressed_at = at

    def take(self, at: float) -> str:
        """All of them, once the caller has pressed ``#`` or nothing more for a moment; else nothing."""
        if not self.keys or (not self.keys.endswith(ENDS) and at - self.pressed_at < PAUSE_S):
            return ""
        keys, self.keys = self.keys, ""
        return keys


def told(keys: str) -> str:
    """How transcript and engine are told of them: spaced, or they would be read as one number."""
    return f"[keys pressed: {' '.join(keys)}]"

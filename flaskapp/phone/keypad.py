"""The keys that a caller presses, gathered until he pauses; and what he types."""

from __future__ import annotations

from dataclasses import dataclass

PAUSE_S = 1.5
ENDS = "#"
LONGEST = 64
MOST_LINES = 20


@dataclass(slots=True)
class Keypad:
    """Keys, and typed lines, that the engine has not been told of."""

    keys: str = ""
    typed: tuple[str, ...] = ()
    pressed_at: float = 0.0

    @property
    def has_any(self) -> bool:
        return bool(self.keys or self.typed)

    def pressed(self, key: str, at: float) -> None:
        self.keys = (self.keys + key)[:LONGEST]
        self.pressed_at = at

    def types(self, text: str) -> None:
        self.typed = (*self.typed, text)[:MOST_LINES]

    def take_typed(self) -> tuple[str, ...]:
        """All lines, in their order."""
        lines, self.typed = self.typed, ()
        return lines

    def take(self, at: float) -> str:
        """All of them, once the caller has pressed ``#`` or nothing more for a moment; else nothing."""
        if not self.keys or (not self.keys.endswith(ENDS) and at - self.pressed_at < PAUSE_S):
            return ""
        keys, self.keys = self.keys, ""
        return keys


def told(keys: str) -> str:
    """How transcript and engine are told of them: spaced, or they would be read as one number."""
    return f"[keys pressed: {' '.join(keys)}]"

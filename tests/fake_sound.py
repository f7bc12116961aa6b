"""Wideband at a fake engine's edge: inside, everything is mu-law at 8 kHz, whatever its session agreed on."""

from __future__ import annotations

import base64
import warnings
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

WIDE = "audio/pcm"


def is_wide(session: dict[str, Any], way: str) -> bool:
    """Whether a session (``session.update``'s) hears ("input") or speaks ("output") 24 kHz PCM."""
    return ((session.get("audio") or {}).get(way, {}).get("format") or {}).get("type") == WIDE


def narrowed(pcm: bytes) -> bytes:
    """24 kHz PCM as mu-law, each third sample: good enough to tell voice from silence."""
    kept = b"".join(pcm[at : at + 2] for at in range(0, len(pcm) - 1, 6))
    return audioop.lin2ulaw(kept, 2)


def widened(event: dict[str, Any]) -> dict[str, Any]:
    """An event with audio as such a session speaks it, each sample three times."""
    if event.get("type") != "response.output_audio.delta":
        return event
    pcm = audioop.ulaw2lin(base64.b64decode(event["delta"]), 2)
    wide = b"".join(pcm[at : at + 2] * 3 for at in range(0, len(pcm), 2))
    return {**event, "delta": base64.b64encode(wide).decode()}

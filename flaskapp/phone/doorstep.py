"""Waits at the door of a stream whose call is not in its address, until the carrier says whose it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from flaskapp.phone.call import FRAMES_BEFORE_START, STRIKES
from flaskapp.phone.carriers.base import Carrier
from flaskapp.phone.errors import LegClosed
from flaskapp.phone.events import CallerAudio, Malformed, StreamStarted, StreamStopped
from flaskapp.phone.exits import START_WITHIN_S

EARLY = ("media_before_start", 1008, "media before start")
UNREADABLE = ("carrier_malformed", 1007, "unreadable messages")


class DoorWire(Protocol):
    """What of a ``Wire`` is needed here."""

    def receive(self, timeout_s: float | None = None) -> list[bytes]: ...
    def close(self, code: int = 1000, reason: str = "") -> None: ...


def wait_for_start(
    wire: DoorWire,
    codec: Carrier,
    clock: Callable[[], float] = time.monotonic,
    on_fault: Callable[[str], None] = lambda kind: None,
) -> tuple[StreamStarted, list[bytes]] | None:
    """Read until a stream begins: its start, and the messages to be given back to the wire.

    Those are the start itself, all that came after it, and what was unreadable before it, which counts on.
    Closed with the codes of ``call.py``: no start in five seconds or more than 50 frames before it 1008,
    ten unreadable messages 1007, a stop 1000.

    Args:
        codec: of a stream that is then served with a fresh one, as it must not hear the start twice.
        on_fault: told why the stream was turned away, by the words of ``call.py``.

    Returns:
        None where there is nobody to be served; the wire is closed, or its close is under way.
    """
    until, early = clock() + START_WITHIN_S, 0
    unreadable: list[bytes] = []
    while (left_s := until - clock()) > 0:
        try:
            messages = wire.receive(left_s)
        except LegClosed:
            return None
        for at, message in enumerate(messages):
            event = codec.decode(message)
            if isinstance(event, StreamStarted):
                return event, [*unreadable, *messages[at:]]
            if isinstance(event, StreamStopped):
                wire.close(1000, "call ended")
                return None
            if isinstance(event, CallerAudio):
                early += 1
            elif isinstance(event, Malformed):
                unreadable.append(message)
                on_fault(f"carrier_{event.kind}")
            if early > FRAMES_BEFORE_START or len(unreadable) >= STRIKES["carrier"]:
                kind, code, why = EARLY if early > FRAMES_BEFORE_START else UNREADABLE
                on_fault(kind)
                wire.close(code, why)
                return None
    on_fault("no_start")
    wire.close(1008, "no start")
    return None

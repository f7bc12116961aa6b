"""A client's handshake: the request is sent, and what comes is read until it stands or is refused."""

from __future__ import annotations

from collections.abc import Callable

from websockets.client import ClientProtocol
from websockets.protocol import State


def shake_hands(
    protocol: ClientProtocol,
    read: Callable[[float], bytes | None],
    within_s: float,
    clock: Callable[[], float],
) -> bytes:
    """Wait for the answer.

    Args:
        read: what comes within so many seconds; ``b""`` at the end, None when time ran out.

    Returns:
        What came behind the answer: frames.

    Raises:
        InvalidHandshake, InvalidStatus: as the protocol found it (``websockets.exceptions``).
        TimeoutError: no answer in time.
    """
    deadline, answer = clock() + within_s, b""
    while protocol.state is State.CONNECTING and protocol.handshake_exc is None:
        data = read(max(deadline - clock(), 0.0))
        if data is None:
            raise TimeoutError("no answer to the WebSocket handshake")
        if not data:
            protocol.receive_eof()
            break
        answer = _answered(protocol, answer + data)
    if protocol.handshake_exc is not None:
        raise protocol.handshake_exc
    protocol.events_received()
    return answer


def _answered(protocol: ClientProtocol, answer: bytes) -> bytes:
    """Give the protocol an answer's head, and a refusal's body; what remains are frames."""
    head, end, rest = answer.partition(b"\r\n\r\n")
    if not end or protocol.reader.buffer:
        return answer
    protocol.receive_data(head + end)
    if protocol.state is State.CONNECTING and rest:
        protocol.receive_data(rest)
        return b""
    return rest

"""The fast path of a WebSocket: whole, unfragmented text frames, in and out, without building objects.

Nearly everything on a call is such a frame; on a silent one it is our pings and
their answers. All else - fragments, others' pings, closes, whatever breaks the
rules - is left to the ``websockets`` package's protocol, byte for byte.
Source: RFC 6455, section 5.2.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from websockets.frames import apply_mask  # in C where the package has it

TEXT, PING, PONG = 0x81, 0x89, 0x8A  # FIN and the opcode, nothing reserved
MASKED = 0x80
MASKS_AT_ONCE = 256
USUAL = 1024  # bytes: nearly all messages have fewer
masks: list[bytes] = []  # each is used once


def measure(data: bytes, at: int) -> tuple[int, int] | None:
    """Where the payload of the frame at ``at`` begins and ends; None while its header is not all there."""
    size, start = len(data), at + 2
    if size < start:
        return None
    second = data[at + 1]
    length = second & 0x7F
    if length > 125:
        header_end = start + (2 if length == 126 else 8)
        if size < header_end:
            return None
        length = int.from_bytes(data[start:header_end], "big")
        start = header_end
    if second & MASKED:
        start += 4
        if size < start:
            return None
    return start, start + length


def cut_texts(data: bytes, is_masked: bool, max_size: int) -> tuple[list[bytes], int]:
    """The plain text messages that the data begins with, if they are ASCII, and where something else begins.

    One loop for nearly everything that is ever received.
    """
    texts: list[bytes] = []
    at, end = 0, len(data)
    middle, begins = (MASKED | 126, 8) if is_masked else (126, 4)
    while end - at >= begins and data[at] == TEXT:
        second = data[at + 1]
        if second == middle:  # nearly always
            start, size = at + begins, data[at + 2] << 8 | data[at + 3]
        elif second < 126 + (MASKED if is_masked else 0) and (second >= MASKED) is is_masked:
            start, size = at + begins - 2, second & 0x7F
        else:
            break
        stop = start + size
        if stop > end or size > max_size:
            break
        text = apply_mask(data[start:stop], data[start - 4 : start]) if is_masked else data[start:stop]
        if not text.isascii():
            break
        texts.append(text)
        at = stop
    return texts, at


def payload(data: bytes, start: int, end: int, is_masked: bool) -> bytes:
    """The payload of a frame that is all there."""
    if is_masked:
        return apply_mask(data[start:end], data[start - 4 : start])
    return data[start:end]


def text_frames(messages: Sequence[bytes], is_masked: bool) -> bytes:
    """Messages as one frame each; clients mask theirs."""
    if len(messages) == 1:  # nearly always
        return text_frame(messages[0], is_masked)
    return b"".join([text_frame(message, is_masked) for message in messages])


def text_frame(message: bytes, is_masked: bool) -> bytes:
    """A message as one frame; clients mask theirs."""
    size = len(message)
    if not is_masked:
        return (PLAIN_HEADERS[size] if size < USUAL else _header(size, False)) + message
    header = MASKED_HEADERS[size] if size < USUAL else _header(size, True)
    mask = _mask()
    return header + mask + apply_mask(message, mask)


def ping(is_masked: bool) -> bytes:
    """One that says nothing; clients mask theirs."""
    return bytes((PING, MASKED)) + _mask() if is_masked else bytes((PING, 0))


def is_pong(data: bytes, at: int, is_masked: bool) -> bool:
    """Whether the frame at ``at``, whose header is there, answers a ping by the rules."""
    second = data[at + 1]
    return data[at] == PONG and second & 0x7F <= 125 and (second >= MASKED) is is_masked


def _mask() -> bytes:
    try:
        return masks.pop()
    except IndexError:
        return more_masks()


def _header(size: int, is_masked: bool) -> bytes:
    """Of a text, without the mask's key."""
    bit = MASKED if is_masked else 0
    if size < 126:
        return bytes((TEXT, bit | size))
    if size < 65_536:
        return bytes((TEXT, bit | 126)) + size.to_bytes(2, "big")
    return bytes((TEXT, bit | 127)) + size.to_bytes(8, "big")


def more_masks() -> bytes:
    """A key for one frame; a system call for each would take longer than the masking."""
    data = os.urandom(4 * MASKS_AT_ONCE)
    masks.extend([data[at : at + 4] for at in range(4, len(data), 4)])
    return data[:4]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=masks.clear)  # two processes must not use the same ones


#: By the message's size.
PLAIN_HEADERS, MASKED_HEADERS = (
    tuple(_header(size, is_masked) for size in range(USUAL)) for is_masked in (False, True)
)

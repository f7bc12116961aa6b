"""The fast path of a WebSocket: whole, unfragmented text frames, in and out, without building objects.

Nearly everything on a call is such a frame. All else - fragments, pings,
closes, whatever breaks the rules - is left to the ``websockets`` package's
protocol, byte for byte. Source: RFC 6455, section 5.2.
"""

from __future__ import annotations

import os

from websockets.frames import apply_mask  # in C where the package has it

TEXT = 0x81  # FIN and the opcode for text, nothing reserved
MASKED = 0x80


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
    while end - at > 1 and data[at] == TEXT:
        second, start = data[at + 1], at + 2
        size = second & 0x7F
        if (second >= MASKED) is not is_masked or size == 127:
            break
        if size == 126:
            start += 2
            if start > end:
                break
            size = data[start - 2] << 8 | data[start - 1]
        if is_masked:
            start += 4
        stop = start + size
        if stop > end or size > max_size:
            break
        text = data[start:stop]
        if is_masked:
            text = apply_mask(text, data[start - 4 : start])
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


def text_frame(message: bytes, is_masked: bool) -> bytes:
    """A message as one frame; clients mask theirs."""
    size, bit = len(message), MASKED if is_masked else 0
    if size < 126:
        header = bytes((TEXT, bit | size))
    elif size < 65_536:
        header = bytes((TEXT, bit | 126, size >> 8, size & 0xFF))
    else:
        header = bytes((TEXT, bit | 127)) + size.to_bytes(8, "big")
    if is_masked:
        mask = os.urandom(4)
        return header + mask + apply_mask(message, mask)
    return header + message

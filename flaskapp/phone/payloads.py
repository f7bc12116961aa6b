"""Many base64 payloads to bytes in one go: half the price of one after another."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import msgspec

_decoder = msgspec.json.Decoder(list[bytes])


def decoded(payloads: Sequence[bytes]) -> list[bytes]:
    """What each payload stands for; they were checked when they came in (``audio.base64_size``).

    Raises:
        binascii.Error: one of them is not base64 after all.
    """
    try:
        pieces = _decoder.decode(b'["' + b'","'.join(payloads) + b'"]')
    except msgspec.MsgspecError:
        pieces = []
    if len(pieces) == len(payloads):
        return pieces
    return [base64.b64decode(payload) for payload in payloads]

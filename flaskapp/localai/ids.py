"""Ids as the API writes them: a prefix that tells the kind, then something unique."""

from __future__ import annotations

import secrets


def new_id(kind: str) -> str:
    """Such as ``item_5f0c...``; kinds are event, item, resp, call, conv and sess."""
    return f"{kind}_{secrets.token_hex(10)}"

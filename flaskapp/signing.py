"""Keys that sign: of tickets and sessions where nobody chose one, of webhooks as their receivers spell it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets as randomness
from collections.abc import Mapping
from pathlib import Path

KEY_FILE = "signing-key"
# A password that people remember is too easily guessed to stand alone behind a signature.
GUESSABLE = ("dashboard_password",)
# How receivers' libraries take a webhook's key. Source: https://www.standardwebhooks.com, "Signature scheme".
WEBHOOK_PREFIX = "whsec_"
WEBHOOK_KEY_BYTES = (24, 64)
SHORTEST_WEBHOOK_SECRET = 16  # characters, where somebody chose words of his own


def signing_key(secrets: Mapping[str, str], instance: Path) -> str:
    """64 hexadecimal digits from the configured secrets, or from this installation's own file.

    Two workers, or two machines with the same secrets, get the same key; changing a secret changes it.
    """
    material = [f"{name}={secrets[name]}" for name in sorted(secrets)]
    if not secrets.keys() - set(GUESSABLE):
        material.append(_installation_key(instance))
    joined = b"".join(len(each.encode()).to_bytes(4) + each.encode() for each in material)
    return hkdf(joined, b"answerline signing key").hex()


def hkdf(material: bytes, info: bytes) -> bytes:
    """HKDF-SHA256 (RFC 5869) without salt: 32 bytes."""
    extracted = hmac.digest(bytes(hashlib.sha256().digest_size), material, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


def webhook_key(secret: str) -> bytes:
    """The bytes that sign a webhook: those behind ``whsec_``, else the text's own, in UTF-8.

    Raises:
        ValueError: no such secret, or one that is guessed too easily; the text says what one is.
    """
    if not secret.startswith(WEBHOOK_PREFIX):
        if len(secret) < SHORTEST_WEBHOOK_SECRET:
            raise ValueError(_WEBHOOK_SECRET)
        return secret.encode()
    least, most = WEBHOOK_KEY_BYTES
    try:
        key = base64.b64decode(secret.removeprefix(WEBHOOK_PREFIX), validate=True)
    except ValueError:  # letters that no base64 has, or too few
        key = b""
    if not least <= len(key) <= most:
        raise ValueError(_WEBHOOK_SECRET)
    return key


_WEBHOOK_SECRET = (
    f"must be {WEBHOOK_PREFIX} and the base64 of {WEBHOOK_KEY_BYTES[0]} to {WEBHOOK_KEY_BYTES[1]} bytes,"
    f" or another text of at least {SHORTEST_WEBHOOK_SECRET} characters; correct it, or leave it empty"
)


def _installation_key(instance: Path) -> str:
    """Random, made once per installation; only its owner may read it."""
    path = instance / KEY_FILE
    instance.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        draft = instance / f".{KEY_FILE}.{randomness.token_hex(4)}"
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(randomness.token_hex(32))
        # A hard link neither replaces nor half-writes: of two workers starting together, one wins.
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text()

"""The key that signs tickets and sessions, where nobody chose one: the same for every worker."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets as randomness
from collections.abc import Mapping
from pathlib import Path

KEY_FILE = "signing-key"
# A password that people remember is too easily guessed to stand alone behind a signature.
GUESSABLE = ("dashboard_password",)


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

"""What is kept on disk, sealed with DATA_KEY (Fernet) where there is one: nobody else reads or alters it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from flaskapp.phone.errors import SealError

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

NO_KEY = "it is encrypted, and DATA_KEY is not set: set the key that it was written with"
OTHER_KEY = (
    "it cannot be decrypted: none of the keys in DATA_KEY is the one that it was written with, or it was"
    " altered; add the old key behind the new one, with a comma"
)


class Seal:
    """Seals and opens bytes.

    Args:
        keys: Fernet keys; the first seals, any of them opens. None: nothing is sealed.
    """

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._keys = tuple(keys)

    @property
    def seals(self) -> bool:
        """Whether what is written is sealed."""
        return bool(self._keys)

    def close(self, data: bytes) -> bytes:
        """As it is written."""
        return self._fernet.encrypt(data) if self._keys else data

    def open(self, data: bytes) -> bytes:
        """What was sealed.

        Raises:
            SealError: not with one of these keys, or there is none.
        """
        from cryptography.fernet import InvalidToken

        if not self._keys:
            raise SealError(NO_KEY)
        try:
            return self._fernet.decrypt(data)
        except InvalidToken:
            raise SealError(OTHER_KEY) from None

    @cached_property
    def _fernet(self) -> MultiFernet:
        from cryptography.fernet import Fernet, MultiFernet

        return MultiFernet([Fernet(key) for key in self._keys])


def seal_of(text: str) -> Seal:
    """By DATA_KEY's value: keys with commas between them, or nothing."""
    return Seal([key.strip() for key in text.split(",") if key.strip()])


def new_key() -> str:
    """Another Fernet key."""
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()

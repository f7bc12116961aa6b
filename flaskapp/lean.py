"""Leaves out what a library takes along for features that nothing here asks for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(*names: str) -> Iterator[None]:
    """While something is imported inside, these packages seem not to be installed.

    What is loaded already stays. For libraries that do without them: each costs a worker some
    megabytes, and its start a twentieth of a second.
    """
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]

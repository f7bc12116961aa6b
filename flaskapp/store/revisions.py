"""Which migrations there are, and whether an SQLite file has seen all of them, asked without SQLAlchemy."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from flaskapp.config import INSTANCE, PROJECT

MIGRATIONS = PROJECT / "migrations"
_NAMED = re.compile(r"""^(revision|down_revision) *= *["']([^"']+)["']""", re.MULTILINE)
_FILE = re.compile(r"sqlite:///(?P<path>[^?%#]+)")


def newest(migrations: Path = MIGRATIONS) -> set[str]:
    """The revisions that no other one follows, as their files name them."""
    revisions: set[str] = set()
    followed: set[str] = set()
    for file in (migrations / "versions").glob("*.py"):
        for name, revision in _NAMED.findall(file.read_text(encoding="utf-8")):
            (revisions if name == "revision" else followed).add(revision)
    return revisions - followed


def is_known_to_be_new(url: str, instance: Path = INSTANCE) -> bool:
    """Whether this is an SQLite file that no migration waits for, found out in a millisecond.

    False says nothing: it may be another database, or an answer that needs more words
    (``migrate.check``). SQLAlchemy alone would be a fifth of a server's start.
    """
    address = _FILE.fullmatch(url)
    if address is None:
        return False
    place = quote(str((instance / address["path"]).resolve()))
    try:
        with closing(sqlite3.connect(f"file:{place}?mode=ro", uri=True)) as connection:
            return {
                row[0] for row in connection.execute("SELECT version_num FROM alembic_version")
            } == newest()
    except sqlite3.Error:
        return False

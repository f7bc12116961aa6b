"""Transactions that write, begun again while somebody else holds the database."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Engine
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError

from flaskapp.store import database

#: How long a writer waits for another one's transaction, and how often it asks again.
PATIENCE_S = 5.0
PAUSE_S = 0.02

Result = TypeVar("Result")


def write(engine: Engine, work: Callable[[Connection], Result]) -> Result:
    """All of ``work`` or nothing of it, in one transaction; what it gives back.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database is away, or locked for more than five seconds.
    """
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        try:
            with database.writing(engine) as connection:
                return work(connection)
        except OperationalError as error:
            if not database.is_busy(error) or time.monotonic() > give_up_at:
                raise
        time.sleep(PAUSE_S)

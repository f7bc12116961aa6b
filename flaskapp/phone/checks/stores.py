"""Checks of what the app keeps things in: Redis, the database, and who does the background work."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from sqlalchemy import text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from flaskapp.config import INSTANCE
from flaskapp.phone.checks.finding import Case, Finding, failure, ok, unknown, warning
from flaskapp.store import database as opening
from flaskapp.store import jobs
from flaskapp.store.migrate import opened
from flaskapp.store.migrations import is_behind

ANSWERS_WITHIN_S = 3.0
OLDEST_REDIS = 5  # of which RQ knows how to speak
MIGRATE = ".venv/bin/python -m flaskapp.store.migrate"
MAKE = "Correct DATABASE_URL, or make the file: .venv/bin/flask db upgrade"
OUT_OF_THE_WAY = "docs/troubleshooting.md#ready-says-503"


def client(redis_url: str) -> Redis:
    """A client that does not wait long."""
    return Redis.from_url(
        redis_url,
        decode_responses=True,
        socket_timeout=ANSWERS_WITHIN_S,
        socket_connect_timeout=ANSWERS_WITHIN_S,
    )


def redis(case: Case) -> Finding:
    """Reachable, new enough, and not one that throws away what it was given to keep."""
    if not case.settings.redis_url:
        return _no_redis(case)
    where = _place(case.settings.redis_url)
    began = time.monotonic()
    try:
        with closing(client(case.settings.redis_url)) as connection:
            info: dict[str, Any] = connection.info()
    except (AuthenticationError, NoPermissionError) as error:
        return failure(f"Redis at {where} does not let us in: {error}", "REDIS_URL=redis://:PASSWORD@...")
    except (RedisError, OSError) as error:
        ping = 'redis-cli -u "$REDIS_URL" ping'
        return failure(f"Redis at {where} does not answer: {error}", ping, OUT_OF_THE_WAY)
    took_ms = (time.monotonic() - began) * 1000
    return _judged(where, info, took_ms)


def _no_redis(case: Case) -> Finding:
    if case.is_public:
        return warning(
            "REDIS_URL is not set: one worker only, and its calls end when it does",
            "REDIS_URL=redis://127.0.0.1:6379/0",
        )
    return ok("kept inside the one worker (REDIS_URL is not set)")


def _judged(where: str, info: dict[str, Any], took_ms: float) -> Finding:
    version, policy = str(info.get("redis_version", "0")), str(info.get("maxmemory_policy", "noeviction"))
    if info.get("loading") or info.get("role") == "slave":
        what = "is still loading" if info.get("loading") else "is a replica and takes no writes"
        return failure(f"Redis at {where} {what}", "REDIS_URL=redis://PRIMARY")
    if int(version.partition(".")[0]) < OLDEST_REDIS:
        return failure(f"Redis {version} at {where} is too old: {OLDEST_REDIS} or newer", "apt install redis")
    if policy != "noeviction":
        return warning(
            f"Redis at {where} throws away what it keeps when its memory is full (maxmemory-policy {policy})",
            'redis-cli -u "$REDIS_URL" config set maxmemory-policy noeviction',
        )
    return ok(f"Redis {version} at {where} answers in {took_ms:.0f} ms")


def background(case: Case) -> Finding:
    """Somebody takes the jobs that are put into the shared queue: recordings, and what is told afterwards."""
    if not case.settings.redis_url:
        return ok("done in the web worker itself")
    try:
        with closing(client(case.settings.redis_url)) as connection:
            from rq import Worker

            count = Worker.count(queue=jobs.queue(connection))
    except (RedisError, OSError):
        return unknown("Redis does not answer")
    if not count:
        return warning(
            "No background worker is there: recordings are not understood, nobody is told of calls",
            ".venv/bin/python -m flaskapp.worker",
            "docs/troubleshooting.md#recordings-are-not-fetched",
        )
    return ok(f"{count} at work")


def database(case: Case) -> Finding:
    """Reachable, and can be written to."""
    where = _place(case.settings.database_url)
    try:
        if missing := _missing(case.settings.database_url):
            return failure(f"There is no {missing}", MAKE)
        with opened(case.settings.database_url, changes=False) as engine:
            if is_behind(engine):  # told by another check; nothing is there that could be written to
                return ok(f"{where} answers")
            with opening.writing(engine) as connection:
                connection.execute(text("UPDATE alembic_version SET version_num = version_num WHERE 1 = 0"))
                connection.rollback()
    except OperationalError as error:
        if opening.is_busy(error):
            return ok(f"{where} answers; somebody is writing")
        return _ill(where, error)
    except (SQLAlchemyError, OSError) as error:
        return _ill(where, error)
    return ok(f"{where} answers, and can be written to")


def _ill(where: str, error: Exception) -> Finding:
    said = str(getattr(error, "orig", None) or error).strip().splitlines()
    why = said[0] if said else type(error).__name__
    if "read-only" in why or "readonly" in why:
        return failure(f"{where} cannot be written to: {why}", "DATABASE_URL=postgres://PRIMARY/...")
    return failure(f"{where} does not answer: {why}", 'psql "$DATABASE_URL" -c "select 1"', OUT_OF_THE_WAY)


def migrations(case: Case) -> Finding:
    """The tables are those of this version."""
    try:
        if _missing(case.settings.database_url):
            return unknown("the database's file is not there")
        with opened(case.settings.database_url, changes=False) as engine:
            if is_behind(engine):
                return failure("The database is empty, or older than the app", MIGRATE, OUT_OF_THE_WAY)
    except (SQLAlchemyError, OSError):
        return unknown("the database does not answer")
    return ok("the newest")


def _missing(url: str) -> Path | None:
    """The SQLite file that is not there; opening it would make it, wherever a slip of the pen has it."""
    file = opening.file_of(url, INSTANCE)
    return file if file is not None and not file.exists() else None


def _place(url: str) -> str:
    """Where that is, without names and passwords."""
    parts = urlsplit(url)
    if parts.scheme.startswith("sqlite"):
        return parts.path.removeprefix("/")
    return f"{parts.hostname or parts.path}{f':{parts.port}' if parts.port else ''}"

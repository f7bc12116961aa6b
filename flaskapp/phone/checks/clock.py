"""Compares this machine's clock with those of all that it talks to anyway."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import closing
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from redis.exceptions import RedisError

from flaskapp.phone.checks.finding import Case, Finding, failure, ok, warning
from flaskapp.phone.checks.stores import client
from flaskapp.phone.checks.visit import Reply, ask

SLIGHTLY_S = 5.0
TOO_MUCH_S = 60.0  # of which tickets allow for
ASKS_FOR_S = 3.0
SET = "timedatectl set-ntp true"


def clock(case: Case) -> Finding:
    """The machine's clock is right: tickets, certificates, tokens and the history go by it."""
    offsets = dict(_offsets(case))
    if not offsets:
        return ok("nobody to compare it with")
    whose = max(offsets, key=lambda name: abs(offsets[name]))
    by = offsets[whose]
    if abs(by) <= SLIGHTLY_S:
        return ok(f"as {', '.join(offsets)} have it")
    said = f"This machine's clock is {abs(by):.0f} s {'behind' if by > 0 else 'ahead'} of {whose}'s"
    if abs(by) <= TOO_MUCH_S:
        return warning(said, SET)
    return failure(f"{said}: tickets and tokens are taken for expired, or for not valid yet", SET)


def _offsets(case: Case) -> Iterator[tuple[str, float]]:
    """By whose clock: how many seconds it is ahead of ours."""
    known = case.settings
    if known.redis_url:
        try:
            with closing(client(known.redis_url)) as connection:
                began = case.now()
                seconds, micro = connection.time()
                yield "Redis", seconds + micro / 1e6 - (began + case.now()) / 2
        except (RedisError, OSError):
            pass  # told by its own check
    for name, url in _dated(case):
        began = case.now()
        try:
            reply = ask(url, method="HEAD", now=case.now, within_s=ASKS_FOR_S)
        except (OSError, http.client.HTTPException, ValueError):
            continue  # told by its own check
        if (theirs := _date(reply)) is not None:
            yield name, theirs - (began + case.now()) / 2


def _dated(case: Case) -> Iterator[tuple[str, str]]:
    """Who tells the time with whatever he answers."""
    known = case.settings
    if known.twilio_account_sid:
        yield "Twilio", known.twilio_api_base_url
    if known.engine is not None:
        where = urlsplit(known.engine.base_url)
        yield "the engine", f"{where.scheme}://{where.netloc}"
    if case.is_public:
        yield urlsplit(case.url).netloc, f"{case.url}/health"


def _date(reply: Reply) -> float | None:
    """Whole seconds: in the middle of the one that it names."""
    try:
        return parsedate_to_datetime(reply.headers["date"]).timestamp() + 0.5
    except (KeyError, ValueError):
        return None

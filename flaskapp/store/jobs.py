"""The background worker: takes jobs from Redis, one after the other, beside the calls."""

from __future__ import annotations

import logging
import signal
import sys
import threading

from flaskapp.config import load_settings
from flaskapp.observability import configure_logging
from flaskapp.phone.errors import ConfigurationError

QUEUE = "phone"
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0

log = logging.getLogger(__name__)


def serve(redis_url: str, stopped: threading.Event) -> None:
    """Works until told to stop; waits, and says so, while Redis is away.

    SIGTERM during a job lets it finish: RQ's own "warm shutdown".
    """
    from redis import Redis
    from redis.exceptions import RedisError
    from rq import Queue, Worker

    pause_s = FIRST_PAUSE_S
    while not stopped.is_set():
        try:
            connection = Redis.from_url(redis_url)
            connection.ping()
            pause_s = FIRST_PAUSE_S
            log.info("Waiting for jobs on queue %s", QUEUE)
            Worker([Queue(QUEUE, connection=connection)], connection=connection).work(logging_level="WARNING")
            return
        except RedisError as error:
            log.warning("Redis does not answer (%s): no background jobs until it does", type(error).__name__)
            stopped.wait(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def stay_idle(stopped: threading.Event) -> None:
    """Without a shared Redis there is nothing to take jobs from; the Procfile's line lives on."""
    log.warning("REDIS_URL is empty: there are no background jobs to take; set it, or stop this process")
    stopped.wait()


def main() -> int:
    """`python -m flaskapp.store.jobs`: runs until SIGTERM or SIGINT."""
    try:
        settings = load_settings()
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 1
    configure_logging(settings.log_level, settings.log_format, settings.secrets().values())
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    if settings.redis_url:
        serve(settings.redis_url, stopped)
    else:
        stay_idle(stopped)
    return 0


if __name__ == "__main__":
    sys.exit(main())

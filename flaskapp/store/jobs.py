"""The background worker: takes jobs from Redis, one after the other, beside the calls."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

from flaskapp.config import load_settings
from flaskapp.observability import configure_logging
from flaskapp.phone.errors import ConfigurationError

if TYPE_CHECKING:
    from redis import Redis

QUEUE = "phone"
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0

log = logging.getLogger(__name__)


def serve(redis_url: str, stopped: threading.Event) -> bool:
    """Takes jobs until told to stop, or until Redis goes away.

    SIGTERM during a job lets it finish: RQ's own "warm shutdown".

    Returns:
        Whether it was told to stop.
    """
    from redis.exceptions import RedisError
    from rq import Queue, Worker
    from rq.exceptions import StopRequested

    class StoppableWorker(Worker):
        def handle_warm_shutdown_request(self) -> None:
            stopped.set()
            super().handle_warm_shutdown_request()

    connection = wait_for_redis(redis_url, stopped)
    if connection is None:
        return True
    log.info("Waiting for jobs on queue %s", QUEUE)
    try:
        StoppableWorker([Queue(QUEUE, connection=connection)], connection=connection).work(
            logging_level="WARNING"
        )
    except StopRequested:
        stopped.set()
    except RedisError as error:
        log.warning("Redis went away (%s)", type(error).__name__)
    return stopped.is_set()


def wait_for_redis(redis_url: str, stopped: threading.Event) -> Redis | None:
    """A connection that answers; None if told to stop before there is one."""
    from redis import Redis
    from redis.exceptions import RedisError

    pause_s = FIRST_PAUSE_S
    while not stopped.is_set():
        try:
            connection = Redis.from_url(redis_url)
            connection.ping()
            return connection
        except RedisError as error:
            log.warning("Redis does not answer (%s): no background jobs until it does", type(error).__name__)
            stopped.wait(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
    return None


def start_over() -> None:
    """In a fresh interpreter: RQ leaves threads and signal handlers behind when Redis goes away."""
    time.sleep(FIRST_PAUSE_S)
    os.execv(sys.executable, [sys.executable, "-m", "flaskapp.store.jobs"])  # noqa: S606 - ourselves


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
        if not serve(settings.redis_url, stopped):
            start_over()
    else:
        stay_idle(stopped)
    return 0


if __name__ == "__main__":
    sys.exit(main())

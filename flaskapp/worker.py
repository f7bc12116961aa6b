"""The background worker's process: the app's jobs, on several threads, beside the calls."""

from __future__ import annotations

import logging
import signal
import sys
import threading

from flask import Flask

from flaskapp import create_app
from flaskapp.config import Settings, load_settings
from flaskapp.observability import configure_logging
from flaskapp.phone.errors import ConfigurationError
from flaskapp.store import jobs

log = logging.getLogger(__name__)

SETTLED_WITHIN_S = 3.0  # what was noted of calls that nobody follows any more


def work(app: Flask, stopped: threading.Event) -> None:
    """Take jobs until told to stop, and look after turns that nobody works on."""
    from flaskapp.store import takers

    settings: Settings = app.extensions["settings"]
    jobs.bind(app.extensions["jobs"].perform)
    takers.warm_up()
    sweeper = app.extensions["sweeper"]
    sweeper.start()
    try:
        takers.serve(settings.redis_url, settings.jobs_at_once, stopped)
    finally:
        sweeper.stop()
        app.extensions["scribe"].settle(SETTLED_WITHIN_S)
        app.extensions["feed"].settle(SETTLED_WITHIN_S)


def stay_idle(stopped: threading.Event) -> None:
    """Without a shared Redis there is nothing to take jobs from; the Procfile's line lives on."""
    log.warning("REDIS_URL is empty: there are no background jobs to take; set it, or stop this process")
    stopped.wait()


def main() -> int:
    """`python -m flaskapp.worker`: runs until SIGTERM or SIGINT, and finishes what it has begun."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    try:
        settings = load_settings()
        if settings.redis_url:
            work(create_app(), stopped)
            return 0
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 1
    configure_logging(settings.log_level, settings.log_format, settings.secrets().values())
    stay_idle(stopped)
    return 0


if __name__ == "__main__":
    sys.exit(main())

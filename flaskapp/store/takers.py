"""Takes jobs from RQ's queue on several threads of one process, for as long as there is a Redis.

RQ's own worker forks for each job, or takes over the process's signals; a
turn's job waits for others most of its time and should begin within
milliseconds, so here each thread is a worker.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rq import Queue, SimpleWorker
from rq.exceptions import DequeueTimeout, StopRequested
from rq.job import Job
from rq.timeouts import TimerDeathPenalty
from rq.worker import WorkerStatus

from flaskapp.store.jobs import QUEUE, queue

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
ASKS_FOR_S = 2  # one question to Redis lasts so long: also how soon a stop is noticed
FINISHED_WITHIN_S = 20.0
WORKER_KEPT_S = 30
SWEPT_EVERY_S = 60


class Deadline(TimerDeathPenalty):
    """Ends a job that takes too long, from another thread, which does not keep the process from ending."""

    def new_timer(self) -> threading.Timer:
        timer: threading.Timer = super().new_timer()
        timer.daemon = True
        return timer


class Taker(SimpleWorker):
    """One thread's worker: no signals, no listening to commands; Redis' absence ends it."""

    death_penalty_class = Deadline

    def __init__(self, queue: Queue, over: threading.Event) -> None:
        self._over = over
        super().__init__(
            [queue],
            connection=queue.connection,
            serializer=queue.serializer,
            worker_ttl=WORKER_KEPT_S,
            maintenance_interval=SWEPT_EVERY_S,
            log_job_description=False,
        )

    @property
    def dequeue_timeout(self) -> int:
        """Seconds that one question for a job may last."""
        return ASKS_FOR_S

    def _install_signal_handlers(self) -> None:
        """They are the process's."""

    def subscribe(self) -> None:
        """Nobody sends commands; it would take a thread more each."""

    def procline(self, message: str) -> None:
        """The process has a name already."""

    def check_for_suspension(self, burst: bool) -> None:
        """Asked before each job; without Redis there is none."""
        with _redis_or_stop():
            super().check_for_suspension(burst)

    def run_maintenance_tasks(self) -> None:
        """Asked when the work begins, too."""
        with _redis_or_stop():
            super().run_maintenance_tasks()

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Asked after each job, and before each question for one."""
        with _redis_or_stop():
            super().heartbeat(timeout, pipeline)

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, Queue] | None:
        """The next job; ends the work when it is over, or when Redis is away."""
        self.set_state(WorkerStatus.IDLE)
        while not self._over.is_set():
            try:
                with _redis_or_stop():
                    self.heartbeat()
                    if self.should_run_maintenance_tasks:
                        self.run_maintenance_tasks()
                    return self._dequeue()
            except DequeueTimeout:
                continue
        raise StopRequested

    def _dequeue(self) -> tuple[Job, Queue] | None:
        found = self.queue_class.dequeue_any(
            self._ordered_queues,
            self.dequeue_timeout,
            connection=self.connection,
            job_class=self.job_class,
            serializer=self.serializer,
            death_penalty_class=self.death_penalty_class,
        )
        if found is not None:
            found[0].redis_server_version = self.get_redis_server_version()
        return found

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Do it; if Redis goes away meanwhile, the job is done and only its books are not."""
        with _redis_or_stop():
            super().execute_job(job, queue)


@contextmanager
def _redis_or_stop() -> Iterator[None]:
    """RQ takes Redis' absence for a crash, and prints one; here the work ends, and waits for Redis."""
    try:
        yield
    except RedisError as error:
        raise StopRequested from error


def serve(redis_url: str, at_once: int, stopped: threading.Event) -> None:
    """Take jobs until told to stop; jobs in hand are then finished, within 20 seconds.

    Redis may go away and come back beneath it.
    """
    while not stopped.is_set():
        connection = wait_for_redis(redis_url, stopped)
        if connection is None:
            return
        log.info("Waiting for jobs on queue %s", QUEUE)
        _take_all(connection, at_once, stopped)
        connection.close()
        if not stopped.is_set():
            log.warning("Redis went away: no background jobs until it is back")
            stopped.wait(FIRST_PAUSE_S)


def wait_for_redis(redis_url: str, stopped: threading.Event) -> Redis | None:
    """A connection that answers; None if told to stop before there is one."""
    pause_s = FIRST_PAUSE_S
    while not stopped.is_set():
        try:
            connection = Redis.from_url(redis_url, retry=Retry(NoBackoff(), 0))
            connection.ping()
            return connection
        except RedisError as error:
            log.warning("Redis does not answer (%s): no background jobs until it does", type(error).__name__)
            stopped.wait(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
    return None


def _take_all(connection: Redis, at_once: int, stopped: threading.Event) -> None:
    """Returns when all threads have ended, or too late for those that do not."""
    over = threading.Event()
    threads = [
        threading.Thread(target=_take, args=(connection, over), name=f"jobs-{number}", daemon=True)
        for number in range(at_once)
    ]
    for thread in threads:
        thread.start()
    while not (stopped.wait(0.2) or over.is_set()):
        pass
    over.set()
    give_up_at = time.monotonic() + FINISHED_WITHIN_S
    for thread in threads:
        thread.join(max(0.0, give_up_at - time.monotonic()))
    if left := sum(thread.is_alive() for thread in threads):
        log.warning("%d jobs are left unfinished: others will take them up", left)


def _take(connection: Redis, over: threading.Event) -> None:
    """One thread's life: another worker follows one that ended by accident."""
    while not over.is_set():
        try:
            Taker(queue(connection), over).work(logging_level="WARNING")
            connection.ping()
        except RedisError:
            over.set()


def warm_up(names: tuple[str, ...] = ("openai.resources.audio", "openai.resources.chat", "requests")) -> None:
    """Import now what the first job would have to wait for."""
    from importlib import import_module

    for name in names:
        import_module(name)

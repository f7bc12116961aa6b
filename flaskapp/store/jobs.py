"""Background work: carried by RQ to another process, or done in this one.

A job is a name and a few words; what it does is looked up where it is done. It
may be done twice, or be lost with the worker that did it: jobs see to that
themselves (``turns.py``), and whoever needs one done submits it again
(``sweeper.py``). A job that is queued already is not queued twice.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from flaskapp.store.database import in_short
from flaskapp.store.live import Connections
from flaskapp.store.pool import Pool

if TYPE_CHECKING:
    from rq import Queue

log = logging.getLogger(__name__)

QUEUE = "phone"
FUNCTION = "flaskapp.store.jobs.perform"
TIMEOUT_S = 300
FAILED_KEPT_S = 60
RETRIES = 3
BEGUN_AT_MOST = 20  # times that a job was begun, by workers that were killed

Perform = Mapping[str, Callable[..., None]]

_bound: dict[str, Callable[..., None]] = {}


def bind(table: Perform) -> None:
    """What this process's worker does for which job."""
    _bound.clear()
    _bound.update(table)


def perform(name: str, *args: str) -> None:
    """The one function that RQ knows."""
    _do(_bound, name, args)


def job_id(name: str, *args: str) -> str:
    """The same for the same job, in the letters that RQ allows."""
    return blake2b(json.dumps([name, *args]).encode(), digest_size=16).hexdigest()


def queue(connection: Any) -> Queue:
    """The queue of background work, whose messages are JSON: Redis can make nobody run foreign code."""
    from rq import Queue
    from rq.serializers import JSONSerializer

    return Queue(QUEUE, connection=connection, serializer=JSONSerializer, default_timeout=TIMEOUT_S)


class Jobs:
    """Submits background work.

    Args:
        redis_url: empty: there is no other process, and all is done in this one.
        perform: what to do for a job's name; called with the job's words.
    """

    def __init__(self, redis_url: str, connections: Connections, perform: Perform) -> None:
        self.perform = perform
        self._is_shared = bool(redis_url)
        self._connection = connections.raw
        self._queue: Queue | None = None
        self._pool = Pool()

    def prepare(self) -> None:
        """Import what submitting takes; otherwise the first to submit waits for it."""
        if self._is_shared and self._queue is None:
            self._queue = queue(self._connection)

    def submit(self, name: str, *args: str) -> None:
        """Have a job done in the background; here, if Redis is away. Raises nothing."""
        if not self._is_shared:
            self.run_here(name, *args)
            return
        try:
            self._enqueue(name, args)
        except RedisError as error:
            log.warning("Redis is away, a job is done here: %s", error)
            self.run_here(name, *args)

    def run_here(self, name: str, *args: str) -> None:
        """Have a job done in this process: where no worker takes it, or nobody else can."""
        self._pool.submit(job_id(name, *args), lambda: _do(self.perform, name, args))

    def _enqueue(self, name: str, args: tuple[str, ...]) -> None:
        from rq import Retry
        from rq.exceptions import DuplicateJobError

        self.prepare()
        assert self._queue is not None  # noqa: S101 - prepared
        free = self._free_id(job_id(name, *args))
        if not free:
            return
        with suppress(DuplicateJobError):  # somebody has just been quicker
            self._queue.enqueue_call(
                FUNCTION,
                args=(name, *args),
                job_id=free,
                timeout=TIMEOUT_S,
                result_ttl=0,
                failure_ttl=FAILED_KEPT_S,
                retry=Retry(max=RETRIES),
                description=name,
                unique=True,
            )

    def _free_id(self, ours: str) -> str:
        """An id under which the job can be queued; empty if it is queued already.

        RQ keeps a job that was begun under its id: one whose worker was
        killed must not stand in the way, and one that is still being done
        must not be overwritten. So the next one gets another number.
        """
        from rq.job import Job, JobStatus

        assert self._queue is not None  # noqa: S101 - prepared
        for number in range(BEGUN_AT_MOST):
            numbered = f"{ours}-{number}"
            status = self._connection.hget(Job.key_for(numbered), "status")
            if status is None:
                return numbered
            if status == JobStatus.QUEUED.encode() and self._queue.get_job_position(numbered) is not None:
                return ""
        return f"{ours}-{secrets.token_hex(4)}"


def _do(table: Perform, name: str, args: tuple[str, ...]) -> None:
    """One job, to its end. Whatever goes wrong ends here: it is told, and the job is submitted again."""
    work = table.get(name)
    if work is None:
        log.error("Nobody here knows how to do %r", name)
        return
    try:
        work(*args)
    except Exception as error:
        call_sid = args[0] if args else ""
        log.warning("Job %s: %s", name, in_short(error), extra={"call_sid": call_sid})

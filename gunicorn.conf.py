"""How gunicorn serves the app: settings from flaskapp/config.py, calls drained, figures shared.

Read by the master process, which serves nothing itself: so nothing heavy is imported here, and
gevent patches each worker after the fork, before wsgi.py is imported in it.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import gevent
from gevent.event import Event
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn import sock
from gunicorn.glogging import Logger
from gunicorn.http.errors import NoMoreData
from gunicorn.workers.ggevent import GeventWorker

PROJECT = Path(__file__).resolve().parent
sys.path.insert(0, str(PROJECT))

from flaskapp import warm_up  # noqa: E402
from flaskapp.config import load_settings  # noqa: E402
from flaskapp.log_stream import LogStream  # noqa: E402
from flaskapp.metrics import SHARED_FOLDER  # noqa: E402
from flaskapp.observability import formatter  # noqa: E402
from flaskapp.phone.errors import ConfigurationError  # noqa: E402
from flaskapp.phone.giving_way import give_way  # noqa: E402

try:
    settings = load_settings()
except ConfigurationError as error:
    sys.exit(f"{error}")


OWN_FOLDER = "answerline-metrics-"
LAST_CHANCE_S = 1.0
BEATS_EVERY_S = 1.0
LOOKS_EVERY_S = 0.1  # while it leaves
# Questions that have waited in front of the door since the server was started are answered first.
WARMS_UP_AFTER_S = 0.1
# After a signal to the whole server, each worker has had its own so soon.
OTHERS_TOLD_S = 0.7
# A worker that was just forked serves so soon, or never will.
BOOTS_WITHIN_S = 10.0
# Balancers and proxies have seen by then that /ready says 503.
ACCEPTS_AT_LEAST_S = 2.0
# The carrier asks so soon what follows the last stream.
WHAT_NEXT_S = 0.5
# Of what is left after the calls: requests that are under way, notes that are not written yet.
REQUESTS_S = 1.5
SETTLES_S = 2.0


class CallWorker(GeventWorker):
    """gevent's worker, which hands its calls over before it ends, and tells its siblings so.

    Where siblings go on serving it accepts nothing more, and all that comes goes to them. Where the
    whole server ends it accepts until its calls are gone, and asks every carrier to ask again: by
    then another server may answer. SIGQUIT ends it at once.
    """

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self._idle = set()
        self._told_to_leave = Event()
        self._servers = []

    @contextmanager
    def timeout_ctx(self):
        """Around the wait for a connection's next request."""
        waiting = gevent.getcurrent()
        self._idle.add(waiting)
        try:
            with super().timeout_ctx() if self.alive else gevent.Timeout(LAST_CHANCE_S, False):
                yield
        finally:
            self._idle.discard(waiting)

    def handle_exit(self, sig, frame):
        """SIGTERM; what it takes is done by ``run``, for nobody may wait in here.

        It may come twice: hosts that end a whole process group tell us, and so does the master then.
        """
        self._told_to_leave.set()

    def handle_request(self, listener_name, req, client, addr):
        """One request; a worker that is about to end keeps no connection for another one."""
        if self._told_to_leave.is_set():
            self.cfg.set("keepalive", 0)
        give_way()
        return super().handle_request(listener_name, req, client, addr)

    def run(self):
        """Serve until told to leave, then leave in order."""
        is_first = not any(_siblings(self.pid).values())
        if not is_first:
            self._warm_up()
        tls = {"ssl_context": sock.ssl_context(self.cfg)} if self.cfg.is_ssl else {}
        for each in self.sockets:
            each.setblocking(1)
            pool = Pool(self.worker_connections)
            server = StreamServer(each, handle=partial(self.handle, each), spawn=pool, **tls)
            if self.cfg.workers > 1:
                server.max_accept = 1
            server.start()
            self._servers.append(server)
        if is_first:
            gevent.spawn_later(WARMS_UP_AFTER_S, self._warm_up)
        while self.alive and not self._told_to_leave.wait(BEATS_EVERY_S):
            self.notify()
        if self.alive:
            self._leave()

    def _warm_up(self):
        """All is loaded that calls need: siblings may leave them to this worker.

        Where one of those serves already, that comes before the first connection is accepted; a
        server that has just been started answers first, for somebody waits for its sign of life.
        """
        warm_up(self.wsgi)
        _tell("serves", self.pid)

    def _leave(self):
        began = time.monotonic()
        drain, seconds = self.wsgi.extensions["drain"], settings.drain_seconds
        drain.begin()
        _tell("draining", self.pid)
        moves_by = began + max(seconds - REQUESTS_S - SETTLES_S, 0.0)
        self._wait(lambda: self._knows_its_place(began), began + BOOTS_WITHIN_S)
        drain.move(max(moves_by - time.monotonic() - LAST_CHANCE_S, 0.0))
        accepts_until = began + min(ACCEPTS_AT_LEAST_S, seconds)
        self._wait(lambda: not drain.calls and time.monotonic() >= accepts_until, moves_by)
        self._wait(lambda: False, time.monotonic() + WHAT_NEXT_S)
        self.alive = False
        for server in self._servers:
            server.close()
        gevent.spawn_later(LAST_CHANCE_S, self._end_idle)
        if not self._has_ended(REQUESTS_S):
            self.log.warning("Worker %s ends with open connections", self.pid)
        drain.settle(SETTLES_S)

    def _has_ended(self, within_s):
        """Whether all requests are over in time, and all streams, whose requests were over long ago."""
        streams, ends_by = self.wsgi.extensions["streams"], time.monotonic() + within_s
        requests_ended = [server.pool.join(within_s) for server in self._servers]
        while streams.count and time.monotonic() < ends_by:
            gevent.sleep(LOOKS_EVERY_S)
        return all(requests_ended) and not streams.count

    def _wait(self, is_done, until):
        """Until something is done: show signs of life, and leave what comes to siblings that serve."""
        while not is_done() and time.monotonic() < until:
            self.notify()
            has_siblings = any(is_ready for is_ready in _siblings(self.pid).values())
            for server in self._servers:
                (server.stop_accepting if has_siblings else server.start_accepting)()
            gevent.sleep(LOOKS_EVERY_S)

    def _knows_its_place(self, began):
        """Whether it is clear who goes on serving: siblings that do already, or nobody."""
        siblings = _siblings(self.pid)
        is_told = time.monotonic() - began >= OTHERS_TOLD_S
        return is_told and (not siblings or any(siblings.values()))

    def _end_idle(self):
        for waiting in tuple(self._idle):
            waiting.kill(NoMoreData(), block=False)


def _tell(what, pid):
    """Let this worker's siblings know of it."""
    (Path(os.environ[SHARED_FOLDER]) / f"{what}-{pid}").touch()


def _siblings(pid):
    """The other workers that were not told to leave: process id -> whether it serves already."""
    folder = Path(os.environ[SHARED_FOLDER])
    told = {each.name for each in folder.glob("*-*") if not each.suffix}
    others = {int(name.partition("-")[2]) for name in told if name.startswith("forked-")} - {pid}
    return {each: f"serves-{each}" in told for each in others if f"draining-{each}" not in told}


class RedactingLogger(Logger):
    """gunicorn's own logs, in the app's format and as carefully redacted."""

    def _set_handler(self, log, output, fmt, stream=None):
        lines = formatter(settings.log_format, settings.secrets().values())
        super()._set_handler(log, output, lines, LogStream(stream) if output == "-" else stream)


bind = f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}"
workers = settings.web_concurrency
worker_class = CallWorker
# Of requests. Calls are no requests once they have begun: the app itself limits how many it takes.
worker_connections = 2000
# Of the worker's heartbeat, not of a request: a loop that is stuck this long is lost.
timeout = 30
# Calls end or move within this; most hosts kill after 30 s.
graceful_timeout = settings.drain_seconds + 5
# Longer than the proxies in front keep idle connections, so that none is closed under a webhook.
keepalive = 95
# Workers are never recycled, nor forked from a loaded app: either would cut calls.
max_requests = 0
preload_app = False
control_socket_disable = True
# Who the client is, ProxyFix says, by TRUSTED_PROXIES alone.
forwarded_allow_ips = ""
limit_request_line = 4096
limit_request_fields = 64
limit_request_field_size = 8190
# `--access-logfile -` turns it on; tickets are redacted there too.
accesslog = None
access_log_format = '%(h)s %(t)s "%(r)s" %(s)s %(b)s "%(a)s"'  # whose name Basic auth gave may be a key
loglevel = settings.log_level.lower()
logger_class = RedactingLogger


def on_starting(server):
    """Says what would fail in every worker once, in a line, before there are any."""
    if server.master_pid == 0:
        for address in server.cfg.address:
            _refuse_taken(address)
    _check_database()
    # Before any worker imports prometheus_client, which looks for it at its import.
    if SHARED_FOLDER not in os.environ:
        os.environ[SHARED_FOLDER] = tempfile.mkdtemp(prefix=OWN_FOLDER)
    elif server.master_pid == 0:
        _empty(Path(os.environ[SHARED_FOLDER]))


def post_fork(server, worker):
    """From now on there is one worker more, though it does not serve yet."""
    _tell("forked", worker.pid)


def child_exit(server, worker):
    """A worker that is gone holds no calls: its gauges go with it."""
    for what in ("forked", "serves", "draining"):
        (Path(os.environ[SHARED_FOLDER]) / f"{what}-{worker.pid}").unlink(missing_ok=True)
    for figures in Path(os.environ[SHARED_FOLDER]).glob(f"gauge_live*_{worker.pid}.db"):
        figures.unlink(missing_ok=True)


def on_exit(server):
    """The shared figures end with the server."""
    if Path(os.environ[SHARED_FOLDER]).name.startswith(OWN_FOLDER):
        shutil.rmtree(os.environ[SHARED_FOLDER], ignore_errors=True)


def _check_database():
    """Where a look at the file does not do, in a process of its own: SQLAlchemy is nothing for the master."""
    from flaskapp.store.revisions import is_known_to_be_new

    if is_known_to_be_new(settings.database_url):
        return
    from multiprocessing import get_context

    check = get_context("fork").Process(target=_check_thoroughly)
    check.start()
    check.join()
    if check.exitcode:
        sys.exit(1)


def _check_thoroughly():
    from flaskapp.store.migrate import check

    check(settings)


def _empty(folder):
    """A folder that the operator named: an earlier server's figures are not ours."""
    folder.mkdir(parents=True, exist_ok=True)
    for pattern in ("*.db", "forked-*", "serves-*", "draining-*"):
        for figures in folder.glob(pattern):
            figures.unlink(missing_ok=True)


def _refuse_taken(address):
    if not isinstance(address, tuple):
        return
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address[:2])
        except OSError as error:
            sys.exit(_unusable(address, error))


def _unusable(address, error):
    host, port = address[:2]
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is taken: stop what listens there, or try PORT={port + 1}"
    if error.errno == errno.EACCES:
        return f"Port {port} may not be opened by this user: choose one above 1023 with PORT="
    return f"{host}:{port} cannot be listened on ({error.strerror}): correct HOST and PORT"

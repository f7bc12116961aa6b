"""How gunicorn serves the app: settings from flaskapp/config.py, calls drained, figures shared.

Read by the master process, which serves nothing itself: so nothing heavy is imported here, and
gevent patches each worker after the fork, before wsgi.py is imported in it.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import gevent
from gunicorn.glogging import Logger
from gunicorn.http.errors import NoMoreData
from gunicorn.workers.ggevent import GeventWorker

PROJECT = Path(__file__).resolve().parent
sys.path.insert(0, str(PROJECT))

from flaskapp.config import load_settings  # noqa: E402
from flaskapp.metrics import SHARED_FOLDER  # noqa: E402
from flaskapp.observability import formatter  # noqa: E402
from flaskapp.phone.errors import ConfigurationError  # noqa: E402

try:
    settings = load_settings()
except ConfigurationError as error:
    sys.exit(f"{error}")


OWN_FOLDER = "answerline-metrics-"
LAST_CHANCE_S = 1.0


class CallWorker(GeventWorker):
    """gevent's worker, which on its way out closes the connections that ask for nothing.

    Without that, a proxy's idle connections would hold it until its last second.
    """

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self._idle = set()

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
        """SIGTERM: no new connections; a request that is under way still gets in."""
        super().handle_exit(sig, frame)
        gevent.spawn_later(LAST_CHANCE_S, self._end_idle)

    def _end_idle(self):
        for waiting in tuple(self._idle):
            waiting.kill(NoMoreData(), block=False)


class RedactingLogger(Logger):
    """gunicorn's own logs, in the app's format and as carefully redacted."""

    def _set_handler(self, log, output, fmt, stream=None):
        lines = formatter(settings.log_format, settings.secrets().values())
        super()._set_handler(log, output, lines, stream)


bind = f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}"
workers = settings.web_concurrency
worker_class = CallWorker
# A call holds one connection for its whole length; the app itself limits how many it takes.
worker_connections = 2000
# Of the worker's heartbeat, not of a request: a loop that is stuck this long is lost.
timeout = 30
# Calls end or move within this; hosts kill after 30 s.
graceful_timeout = 25
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
loglevel = settings.log_level.lower()
logger_class = RedactingLogger


def on_starting(server):
    """Says what would fail in every worker once, in a line, before there are any."""
    if server.master_pid == 0:
        for address in server.cfg.address:
            _refuse_taken(address)
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    check = [sys.executable, "-m", "flaskapp.store.migrate", "--check"]
    if subprocess.run(check, env=environment, check=False).returncode:  # noqa: S603
        sys.exit(1)
    # Before any worker imports prometheus_client, which looks for it at its import.
    if SHARED_FOLDER not in os.environ:
        os.environ[SHARED_FOLDER] = tempfile.mkdtemp(prefix=OWN_FOLDER)
    elif server.master_pid == 0:
        _empty(Path(os.environ[SHARED_FOLDER]))


def child_exit(server, worker):
    """A worker that is gone holds no calls: its gauges go with it."""
    for figures in Path(os.environ[SHARED_FOLDER]).glob(f"gauge_live*_{worker.pid}.db"):
        figures.unlink(missing_ok=True)


def on_exit(server):
    """The shared figures end with the server."""
    if Path(os.environ[SHARED_FOLDER]).name.startswith(OWN_FOLDER):
        shutil.rmtree(os.environ[SHARED_FOLDER], ignore_errors=True)


def _empty(folder):
    """A folder that the operator named: an earlier server's figures are not ours."""
    folder.mkdir(parents=True, exist_ok=True)
    for figures in folder.glob("*.db"):
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

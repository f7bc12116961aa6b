"""Fixtures: the app without a network, and the real servers that system tests run against."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from redis import Redis

from tests import servers

# The same examples on every machine; HYPOTHESIS_PROFILE=search looks for new ones.
hypothesis_settings.register_profile("known", derandomize=True, deadline=None)
hypothesis_settings.register_profile("search", max_examples=2000, deadline=None)
hypothesis_settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "known"))

PROJECT = Path(__file__).resolve().parent.parent
CALLS = "calls.sqlite3"
FOREIGN = ("TWILIO_", "EXOTEL_", "AZURE_", "OPENAI_", "LOCALAI_", "AGENT_", "FLASK_", "LOG_", "PROMETHEUS_")
NAMES = (
    *("HOST", "PORT", "WEB_CONCURRENCY", "REDIS_URL", "DATABASE_URL", "SECRET_KEY", "DASHBOARD_PASSWORD"),
    *("TRUSTED_PROXIES", "LOCAL", "GUNICORN_CMD_ARGS", "WAV", "OUT", "CONSENT_TEXT", "REPLY_VOICE"),
    *("DELETE_RECORDINGS", "JOBS_AT_ONCE", "MAX_CALLS", "RECORD_CALLS", "AUDIO_DIR", "DATA_KEY"),
    *("RETENTION_DAYS", "REDACT_DIGITS"),
)


def _is_a_setting(name: str) -> bool:
    return name in NAMES or name.startswith(FOREIGN)


# At import, before any fixture: session-scoped servers must not see the developer's settings either.
for _name in [name for name in os.environ if _is_a_setting(name)]:
    del os.environ[_name]


#: In the environment of a process that one test has to itself.
ALONE = "TESTED_ALONE"
#: Where tests take long, longest first: whole files are given out, and none shall be waited for at the end.
SLOW = ("tests/system", "tests/test_", "tests/simulator", "tests/localai", "tests/recorded", "tests/store")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(
        key=lambda item: next((at for at, each in enumerate(SLOW) if each in str(item.path)), len(SLOW))
    )


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Marked "alone": in a new process, where no earlier test's app still tries to reach its database."""
    if ALONE in os.environ or pyfuncitem.get_closest_marker("alone") is None or _is_of_gevent():
        return None
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        [*command, pyfuncitem.nodeid],
        cwd=PROJECT,
        env={**os.environ, ALONE: "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode or " passed" not in done.stdout:
        pytest.fail(done.stdout[-6000:] + done.stderr[-2000:], pytrace=False)
    return True


def _is_of_gevent() -> bool:
    """Whether this is a process that a test has started and patched for its own files."""
    from flaskapp.phone.waiting import is_cooperative

    return is_cooperative()


def pytest_sessionfinish() -> None:
    """Apps whose databases went with their folders have nothing more to say after the summary."""
    logging.disable(logging.CRITICAL)


@pytest.fixture
def config(tmp_path, monkeypatch) -> dict[str, str]:
    """What `app` is built with, by the environment's names; change it before asking for `app`."""
    monkeypatch.chdir(tmp_path)  # a developer's .env lies elsewhere
    database = f"sqlite:///{tmp_path / CALLS}"
    return {"LOCAL": "1", "SECRET_KEY": "tests", "DATABASE_URL": database, "LOG_FORMAT": "plain"}


@pytest.fixture(autouse=True)
def apps_fall_silent(monkeypatch):
    """An app tries to write until it can; here its database goes first, and other tests would read of it."""
    import flaskapp

    made, equip = [], flaskapp.equip
    monkeypatch.setattr(flaskapp, "equip", lambda app: (made.append(app), equip(app))[1])
    yield
    for app in made:
        if "scribe" in app.extensions:  # it may have been refused
            app.extensions["scribe"]._write = lambda batch: True


@pytest.fixture
def app(config, tmp_path, empty_calls):
    """The app as create_app makes it, with an up-to-date SQLite database."""
    from flask_migrate import upgrade

    from flaskapp import create_app
    from flaskapp.store.tables import db

    is_ours = config["DATABASE_URL"] == f"sqlite:///{tmp_path / CALLS}"
    if is_ours:
        shutil.copy(empty_calls, tmp_path / CALLS)
    app = create_app(config)
    app.testing = True
    if not is_ours:
        with app.app_context():
            upgrade()
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def client(app):
    """Requests without a socket."""
    return app.test_client()


@pytest.fixture
def runner(app):
    """`flask ...` commands without a shell."""
    return app.test_cli_runner()


@pytest.fixture(scope="session")
def one_redis() -> Iterator[str]:
    """URL of a real Redis of our own, with what the tests before have left in it."""
    with servers.redis_server() as url:
        yield url


@pytest.fixture
def redis_server(one_redis: str) -> str:
    """URL of a real, empty Redis: what other tests have left undone, a sweeper would do."""
    with Redis.from_url(one_redis) as redis:
        redis.flushall()
    return one_redis


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a real PostgreSQL of our own."""
    with servers.postgres_server() as url:
        yield url


@pytest.fixture
def postgres_database(postgres_server) -> Iterator[str]:
    """URL of an empty database on it, dropped afterwards."""
    import psycopg

    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield postgres_server.removesuffix("/postgres") + f"/{name}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@dataclass(frozen=True)
class RunningApp:
    """The app under gunicorn: where it answers, what it wrote, its process."""

    url: str
    log: Path
    process: subprocess.Popen
    environment: dict[str, str]

    def get(self, path: str, timeout_s: float = 10) -> tuple[int, str]:
        """Status and body of one GET."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=timeout_s) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def is_healthy(self) -> bool:
        """Whether it answers; fails at once if it is gone."""
        assert self.process.poll() is None, f"gunicorn ended:\n{self.log.read_text()[-4000:]}"
        try:
            return self.get("/health", 2)[0] == 200
        except OSError:
            return False


@pytest.fixture(scope="session")
def empty_calls(tmp_path_factory) -> Path:
    """An SQLite file with all tables and nothing in them: migrated once, copied for each app."""
    folder = tmp_path_factory.mktemp("empty")
    done = flask("db", "upgrade", environment=environment_of(folder, {}), cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / CALLS


@pytest.fixture
def gunicorn_app(tmp_path, empty_calls) -> Iterator[Callable[..., RunningApp]]:
    """Starts the real app under gunicorn: `gunicorn_app({"REDIS_URL": ...})` -> RunningApp.

    Without DATABASE_URL in the mapping it gets an SQLite file; the database is migrated first
    unless `migrate=False`. LOCAL=1 unless the mapping says otherwise.
    """
    running: list[subprocess.Popen] = []

    def start(settings: dict[str, str] | None = None, migrate: bool = True, arguments: tuple[str, ...] = ()):
        port = servers.free_port()
        environment = environment_of(tmp_path, {"PORT": str(port), "LOCAL": "1", **(settings or {})})
        if migrate and environment["DATABASE_URL"] == f"sqlite:///{tmp_path / CALLS}":
            if not (tmp_path / CALLS).exists():
                shutil.copy(empty_calls, tmp_path / CALLS)
        elif migrate:
            done = flask("db", "upgrade", environment=environment, cwd=tmp_path)
            assert done.returncode == 0, done.stdout + done.stderr
        log = tmp_path / f"gunicorn-{port}.log"
        command = [sys.executable, "-m", "gunicorn", "-c", str(PROJECT / "gunicorn.conf.py"), *arguments]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, "wsgi:app"], cwd=tmp_path, env=environment, stdout=output, stderr=output
            )
        running.append(process)
        app = RunningApp(f"http://127.0.0.1:{port}", log, process, environment)
        servers.wait_until(app.is_healthy, f"no /health; see {log}")
        return app

    yield start
    for process in running:  # at once: how an app ends in order, tests of their own say
        if process.poll() is None:
            process.send_signal(signal.SIGQUIT)
    for process in running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        servers.stop(process, patience_s=60)


def environment_of(folder: Path, settings: dict[str, str]) -> dict[str, str]:
    """A process's environment: ours, scrubbed, and `settings`; its default files lie in `folder`."""
    scrubbed = {name: value for name, value in os.environ.items() if not _is_a_setting(name)}
    defaults = {
        "PYTHONPATH": str(PROJECT),
        "FLASK_APP": "flaskapp.command:app",
        "SECRET_KEY": "tests",
        "DATABASE_URL": f"sqlite:///{folder / CALLS}",
        "LOG_FORMAT": "plain",
    }
    return scrubbed | defaults | settings


def flask(*arguments: str, environment: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """One `flask ...` command in a process of its own."""
    command = [sys.executable, "-m", "flask", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )

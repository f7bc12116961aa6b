"""Set-ups for the doctor: settings by hand, a site that is well, and one where much is wrong."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from flaskapp.config import Settings, load_settings
from flaskapp.phone import doctor
from flaskapp.phone.checks.finding import Finding
from tests import servers
from tests.conftest import CALLS, PROJECT, RunningApp, environment_of
from tests.fakes import FakeRealtime
from tests.system import proxy

TOKEN = "0123456789abcdef0123456789abcdef"
ACCOUNT = "AC" + "0" * 32
SECRET = "of-the-doctors-own-tests"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a developer's .env lies elsewhere


def of(**values: str) -> Settings:
    """Settings by their environment names, and nothing else."""
    return load_settings({"SECRET_KEY": SECRET, **values}, env_file=None)


def only(name: str, settings: Settings, **options) -> Finding:
    """What one check finds."""
    (found,) = doctor.checks(settings, only=[name], **options)
    assert found.name == name
    return found


@pytest.fixture
def engine() -> Iterator[FakeRealtime]:
    with FakeRealtime().running() as fake:
        yield fake


@dataclass(frozen=True)
class Site:
    """A running server, and what it was started with."""

    app: RunningApp
    values: dict[str, str]
    fronts: ExitStack
    folder: Callable[[], Path]

    @property
    def port(self) -> int:
        return int(self.app.url.rpartition(":")[2])

    def behind_nginx(self, *changes: tuple[str, str]) -> tuple[str, Path]:
        """The shipped configuration with something changed in it: its URL, and the certificate."""
        folder = self.folder()
        context = proxy.nginx(folder, servers.free_port(), [self.port], tls=True, changes=changes)
        return self.fronts.enter_context(context), folder / "certificate.pem"

    def settings(self, **values: str) -> Settings:
        """What the server was started with, and something else."""
        return of(**self.values | values)


def _site(
    folder: Callable[[], Path], empty_calls: Path, values: dict[str, str], *arguments: str
) -> Iterator[Site]:
    home, port = folder(), servers.free_port()
    shutil.copy(empty_calls, home / CALLS)
    chosen = {"SECRET_KEY": SECRET, "DATABASE_URL": f"sqlite:///{home / CALLS}", **values}
    environment = environment_of(home, {"PORT": str(port), **chosen})
    command = [sys.executable, "-m", "gunicorn", "-c", str(PROJECT / "gunicorn.conf.py"), *arguments]
    with ExitStack() as stack:
        log = stack.enter_context((home / "app.log").open("wb"))
        process = subprocess.Popen([*command, "wsgi:app"], cwd=home, env=environment, stdout=log, stderr=log)
        stack.callback(servers.stop, process, signal.SIGQUIT)
        app = RunningApp(f"http://127.0.0.1:{port}", home / "app.log", process, environment)
        servers.wait_until(app.is_healthy, f"no /health; see {app.log}")
        yield Site(app, {"PORT": str(port), "LOG_FORMAT": "plain", **chosen}, stack, folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Callable[[], Path]:
    return lambda: tmp_path_factory.mktemp("site")


@pytest.fixture(scope="module")
def site(folder, empty_calls) -> Iterator[Site]:
    """A server behind one proxy, as it should be; its engine is away."""
    twilio = {"TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": TOKEN}
    exotel = {"EXOTEL_API_KEY": "exotel-key", "EXOTEL_API_TOKEN": "exotel-token"}
    engine = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    yield from _site(folder, empty_calls, {"TRUSTED_PROXIES": "1", **twilio, **exotel, **engine})


@pytest.fixture(scope="module")
def ill_site(folder, empty_calls) -> Iterator[Site]:
    """Two workers of the wrong class without a Redis, and a proxy of which nobody told them."""
    values = {"TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": TOKEN}
    yield from _site(folder, empty_calls, values, "--worker-class", "sync", "--workers", "2")

"""Every command that the README shows is run, as it stands there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from flaskapp.local import SIMULATED_API
from tests import servers
from tests.conftest import PROJECT, RunningApp, environment_of
from tests.fake_turns import FakeTurns
from tests.fakes import FakeRealtime

pytestmark = pytest.mark.system

#: Those that other tests run, or this one is run by: where to look.
ELSEWHERE = {
    "make demo": "tests/test_local.py",
    "make test": "this very run",
    "make run": "tests/test_local.py",
    ".venv/bin/gunicorn -c gunicorn.conf.py wsgi:app": "the fixture below",
    ".venv/bin/python exotel.py": "the fixture below",
    ".venv/bin/flask phone configure-webhook": "tests/doctor/test_webhook_setup.py",
    ".venv/bin/flask phone doctor": "tests/doctor/test_doctor_command.py",  # warnings: 1
}


def commands() -> list[str]:
    """The README's fenced blocks that have no language: one command each."""
    text = (PROJECT / "README.md").read_text()
    parts = re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [body.strip() for language, body in parts if not language]


@pytest.fixture
def newcomer(tmp_path) -> Path:
    """A folder with everything that the repository holds, and the environment where the README has it."""
    for name in subprocess.check_output(["git", "ls-files", "-z"], cwd=PROJECT, text=True).split("\0"):
        if name and (PROJECT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes((PROJECT / name).read_bytes())
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parent.parent)
    return tmp_path


@pytest.fixture
def served(newcomer) -> Iterator[RunningApp]:
    """The app as the README serves it, on the port that the README names; and once more for Exotel."""
    if servers.answers(5001) or servers.answers(10000):
        pytest.skip("port 5001 or 10000, which the README names, is taken here")
    with ExitStack() as stack:
        engine = stack.enter_context(FakeRealtime().running())
        batch = stack.enter_context(FakeTurns().running())
        batch.realtime = engine.origin
        settings = {"LOCAL": "1", "OPENAI_BASE_URL": batch.base_url, "TWILIO_API_BASE_URL": SIMULATED_API}
        environment = {**environment_of(newcomer, settings), "PYTHONPATH": str(newcomer)}
        del environment["FLASK_APP"]
        migrated = subprocess.run(
            shlex.split(".venv/bin/flask db upgrade"), cwd=newcomer, env=environment, check=False
        )
        assert migrated.returncode == 0
        start = partial(_started, stack, newcomer, environment)
        app = start(".venv/bin/gunicorn -c gunicorn.conf.py wsgi:app", 5001)
        start(".venv/bin/python exotel.py", 10000)
        yield app


def _started(
    stack: ExitStack, folder: Path, environment: dict[str, str], command: str, port: int
) -> RunningApp:
    """One of the README's servers, when it answers."""
    log = folder / f"app-{port}.log"
    output = stack.enter_context(log.open("wb"))
    process = subprocess.Popen(
        shlex.split(command), cwd=folder, env=environment, stdout=output, stderr=output
    )
    stack.callback(servers.stop, process, patience_s=60)
    app = RunningApp(f"http://127.0.0.1:{port}", log, process, environment)
    servers.wait_until(app.is_healthy, f"no /health; see {log}")
    return app


def test_every_command_of_the_readme_works(served, newcomer):
    for command in commands():
        if command in ELSEWHERE:
            continue
        done = subprocess.run(
            command,
            shell=True,
            cwd=newcomer,
            env=served.environment | {"PATH": os.environ["PATH"]},
            input="test123\n",  # where something is to be typed
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        if command.startswith("curl"):
            assert "<Connect " in done.stdout
        if command.endswith("/client"):
            assert "Connected to " in done.stdout


def test_the_readme_shows_the_two_commands_first():
    assert commands()[:2] == ["make demo", "make test"]
    assert set(ELSEWHERE) <= set(commands())

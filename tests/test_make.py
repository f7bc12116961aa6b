"""What make says on a machine where something is missing: one line, with its remedy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
TOOLS = ("bash", "sh", "sed", "grep", "cat", "cksum", "head", "tail", "rm", "dirname", "mkdir", "id", "env")


@pytest.fixture
def machine(tmp_path):
    """A machine with the usual tools and no Python; `machine.install(name, script)` adds a program."""
    (tmp_path / "bin").mkdir()
    for name in TOOLS:
        if found := shutil.which(name):
            # No links: what a test installs over a tool must never reach the real one.
            (tmp_path / "bin" / name).write_text(f'#!/bin/sh\nexec {found} "$@"\n')
            (tmp_path / "bin" / name).chmod(0o755)
    project = tmp_path / "project"
    (project / "scripts").mkdir(parents=True)
    for name in ("scripts/install.sh", "scripts/wheels.py", "scripts/servers.sh"):
        shutil.copy(PROJECT / name, project / name)
    for name in ("requirements.txt", "requirements-local.txt", "requirements-dev.txt"):
        (project / name).write_text("")
    return Machine(tmp_path / "bin", project)


class Machine:
    """A PATH and a project of its own."""

    def __init__(self, programs: Path, project: Path) -> None:
        self.programs, self.project = programs, project

    def install(self, name: str, script: str) -> None:
        """A program that is a shell script."""
        (self.programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.programs / name).chmod(0o755)

    def run(self, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """A script of the project, with nothing in its environment but this machine."""
        environment = {"PATH": str(self.programs), "HOME": str(self.project), **settings}
        return subprocess.run(
            command,
            cwd=self.project,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that it said."""
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    return line


def test_make_alone_lists_its_targets():
    done = subprocess.run(["make"], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=True)
    for target in (
        "demo",
        "test",
        "run",
        "check",
        "bench",
        "test-unit",
        "env-example",
        "requirements",
        "clean",
    ):
        assert f"make {target} " in done.stdout


def test_no_python_is_one_line(machine):
    assert "needs Python 3.11 or newer" in complaint(machine.run("scripts/install.sh", "app"))


def test_an_old_python_is_one_line(machine):
    machine.install("python3", "echo 3.09")
    assert "needs Python 3.11 or newer" in complaint(machine.run("scripts/install.sh", "app"))


def test_a_python_without_venv_names_the_package(machine):
    machine.install("python3", 'case "$2" in *version*) echo 3.11 ;; *) exit 1 ;; esac')
    assert "apt install python3-venv" in complaint(machine.run("scripts/install.sh", "app"))


def test_a_known_python_is_preferred_to_a_newer_one(machine):
    machine.install("python3", "echo 3.14")
    machine.install("python3.12", 'case "$2" in *version*) echo 3.12 ;; *) echo chosen >&2; exit 1 ;; esac')
    assert "python3-venv" in machine.run("scripts/install.sh", "app").stderr
    assert "cannot make virtual" in machine.run("scripts/install.sh", "app", PYTHON="python3.12").stderr


@pytest.fixture
def installable(machine):
    """The machine with this Python."""
    machine.install("python3", f'exec "{os.path.realpath(sys.executable)}" "$@"')
    return machine


def test_a_package_without_a_wheel_is_one_line(installable, tmp_path):
    (installable.project / "requirements.txt").write_text("answerline-never-published==1.0\n")
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}
    line = complaint(installable.run("scripts/install.sh", "app", **offline))
    assert line.startswith("There is no wheel of answerline-never-published==1.0 for Python 3.")


def test_dependencies_are_installed_once_and_again_when_they_change(installable, tmp_path):
    offline = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}

    def installs() -> bool:
        done = installable.run("scripts/install.sh", "app", **offline)
        assert done.returncode == 0, done.stderr
        return "Installing" in done.stdout

    assert installs()
    assert not installs()
    (installable.project / "requirements-local.txt").write_text("# changed\n")
    assert installs()


def test_missing_servers_are_named_with_the_way_to_get_them(machine):
    machine.install("id", "echo 1000")
    line = complaint(machine.run("scripts/servers.sh"))
    assert "redis-server" in line
    assert "apt install" in line
    assert "make test-unit" in line

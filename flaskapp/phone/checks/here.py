"""Checks of this installation: libraries, agent, tools, disk, and settings that do not go together."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from flaskapp import parts
from flaskapp.config import INSTANCE, PROJECT
from flaskapp.phone.checks.finding import Case, Finding, failure, ok, unknown, warning
from flaskapp.phone.errors import ConfigurationError

REQUIREMENTS = PROJECT / "requirements.txt"
PINNED = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==([^ ;]+)(?: ; (.+?))?(?: \\)?$")
INSTALL = ".venv/bin/python -m pip install --only-binary :all: -r requirements.txt"
SHORTEST_SECRET = 16
LITTLE_BYTES, HARDLY_ANY_BYTES = 1 << 30, 100 << 20
RANDOM = 'python3 -c "import secrets; print(secrets.token_hex(32))"'


def libraries(_: Case) -> Finding:
    """Everything that requirements.txt pins is installed, as it is pinned; and this Python is one for it."""
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever has an older one is to be told
        return failure(f"Python {_python()} is too old: 3.11 or newer is needed", "make clean demo")
    if not REQUIREMENTS.is_file():
        return warning("There is no requirements.txt to compare with", "git checkout requirements.txt")
    missing, others = _differing(REQUIREMENTS)
    if missing:
        return failure(f"Not installed: {', '.join(missing)}", INSTALL)
    if others:
        return warning(f"Other versions than were tested: {', '.join(others)}", INSTALL)
    return ok(f"Python {_python()}; all {len(list(_pins(REQUIREMENTS)))} as they are pinned")


def _differing(requirements: Path) -> tuple[list[str], list[str]]:
    """Pinned packages that are missing; those that are there in other versions."""
    missing, others = [], []
    for name, pinned in _pins(requirements):
        try:
            there = metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(f"{name} {pinned}")
            continue
        if there != pinned:
            others.append(f"{name} {there} (pinned: {pinned})")
    return missing, others


def _pins(requirements: Path) -> Iterator[tuple[str, str]]:
    """What is pinned for this Python on this machine: name and version."""
    from packaging.markers import Marker

    for line in requirements.read_text().splitlines():
        found = PINNED.match(line.strip())
        if found and (not found[3] or Marker(found[3]).evaluate()):
            yield found[1], found[2]


def _python() -> str:
    return ".".join(map(str, sys.version_info[:3]))


def agent(case: Case) -> Finding:
    """Who answers."""
    try:
        known = parts.agents(case.settings)
    except ConfigurationError as error:
        return failure(f"{error}", "Correct the file, then start the server again", "docs/agent-file.md")
    more = f", and {len(known.by_number)} numbers with fields of their own" if known.by_number else ""
    source = case.settings.agent_file or "AGENT_INSTRUCTIONS and AGENT_GREETING"
    return ok(f"{known.default.name}, from {source}{more}")


def tools(case: Case) -> Finding:
    """What the agent may use; modules run code when they are imported, as in the server."""
    try:
        agents = parts.agents(case.settings)
    except ConfigurationError:
        return unknown("the agent's file is wrong")
    try:
        bench = parts.toolbench(case.settings, agents)
    except ConfigurationError as error:
        return failure(f"{error}", "TOOLS=package.module", "docs/adding-a-tool.md")
    names = [each["name"] for each in bench.schemas(agents.default)]
    return ok(", ".join(names) or "none")


def disk(_: Case) -> Finding:
    """Room for the database and for what is kept of calls."""
    folder = INSTANCE if INSTANCE.is_dir() else PROJECT
    free = shutil.disk_usage(folder).free
    said, command = f"{free / (1 << 30):.1f} GiB free in {folder}", "flask phone purge"
    if free < HARDLY_ANY_BYTES:
        return failure(f"{said}: calls can hardly be kept", command)
    return warning(said, command) if free < LITTLE_BYTES else ok(said)


def secrets(case: Case) -> Finding:
    """What opens things is there, and is not guessed."""
    known = case.settings
    key = known.secret_key.get_secret_value() if known.secret_key else ""
    if known.local and known.trusted_proxies:
        return failure(
            "LOCAL=1 lets requests of this machine in without a password, and a proxy in front"
            " (TRUSTED_PROXIES) makes strangers look like that",
            "unset LOCAL",
        )
    if len(key) < SHORTEST_SECRET:
        return warning(
            f"SECRET_KEY has fewer than {SHORTEST_SECRET} characters and may be guessed",
            RANDOM,
        )
    if case.is_public and known.dashboard_password is None:
        return warning(
            "DASHBOARD_PASSWORD is not set: dashboard, API and metrics cannot be opened from elsewhere",
            "DASHBOARD_PASSWORD=... in .env",
        )
    return ok("there, and long enough")

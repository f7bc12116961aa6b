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
from flaskapp.store import audio_parts
from flaskapp.store.aside import at_the_disk
from flaskapp.store.database import file_of

REQUIREMENTS = PROJECT / "requirements.txt"
PINNED = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==([^ ;]+)(?: ; (.+?))?(?: \\)?$")
INSTALL = ".venv/bin/python -m pip install --only-binary :all: -r requirements.txt"
SHORTEST_SECRET = 16
PURGE = "flask phone purge"
LITTLE_BYTES, HARDLY_ANY_BYTES = 1 << 30, 100 << 20
ANOTHER_FOLDER = "AUDIO_DIR=... (a folder that the server may write to), or RECORD_CALLS=0, in .env"
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


def disk(case: Case) -> Finding:
    """Room for the database and for what is kept of calls, and a folder that takes their sound."""
    sound = Path(case.settings.audio_dir) if case.settings.record_calls else None
    try:
        if sound:
            at_the_disk(audio_parts.try_out, sound)
    except OSError as error:
        why = error.strerror or error
        return failure(f"The sound of calls cannot be kept in AUDIO_DIR={sound}: {why}", ANOTHER_FOLDER)
    database = file_of(case.settings.database_url, INSTANCE)
    used = [each for each in (database and database.parent, sound) if each]
    return _room_in(used) if used else ok("Nothing of calls is kept on this machine's disk")


def _room_in(folders: list[Path]) -> Finding:
    """What is free in each; the fullest says how it is."""
    free = dict(at_the_disk(_free, each) for each in folders)
    said = ", ".join(f"{size / (1 << 30):.1f} GiB free in {each}" for each, size in free.items())
    if min(free.values()) < HARDLY_ANY_BYTES:
        return failure(f"{said}: calls can hardly be kept", PURGE)
    return warning(said, PURGE) if min(free.values()) < LITTLE_BYTES else ok(said)


def _free(folder: Path) -> tuple[Path, int]:
    """The folder, or the nearest above it where it is not made yet; and the bytes that are free there."""
    whole = folder.absolute()
    there = next(each for each in (whole, *whole.parents) if each.exists())
    return there, shutil.disk_usage(there).free


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

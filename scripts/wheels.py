"""Installs requirements with pip, its words in a file, behind a bar for who sits at a terminal."""

from __future__ import annotations

import os
import re
import site
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PIP = ("-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--only-binary", ":all:")
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==", re.MULTILINE)
LOOKS_EVERY_S = 0.2


def install(log: Path, files: list[str]) -> int:
    """Installs them; pip's exit code."""
    names = {name.lower() for each in files for name in PIN.findall(Path(each).read_text())}
    command = [sys.executable, *PIP, *(word for each in files for word in ("-r", each))]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    before = _there()
    with log.open("wb") as words, _bar(2 * len(names)) as shows:
        pip = subprocess.Popen(command, stdout=words, stderr=subprocess.STDOUT, env=environment)  # noqa: S603
        while pip.poll() is None:
            shows(log.read_text(errors="replace").count("Collecting "), _there() - before)
            time.sleep(LOOKS_EVERY_S)
        return pip.returncode


def _there() -> int:
    """How many packages are installed."""
    return sum(1 for folder in site.getsitepackages() for _ in Path(folder).glob("*.dist-info"))


@contextmanager
def _bar(steps: int) -> Iterator[object]:
    """Two steps for each package: fetched, installed. rich is one of them, so pip's own copy draws."""
    if not steps or not sys.stderr.isatty():
        yield lambda fetched, installed: None
        return
    try:
        from pip._vendor.rich.console import Console
        from pip._vendor.rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    except ImportError:  # a pip that has none any more: then there is no bar
        yield lambda fetched, installed: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("fetching", total=steps)

        def shows(fetched: int, installed: int) -> None:
            told = f"installing {installed}" if installed else f"fetching {fetched}"
            bar.update(task, completed=fetched + installed, description=f"{told} of {steps // 2}")

        yield shows


if __name__ == "__main__":
    try:
        sys.exit(install(Path(sys.argv[1]), sys.argv[2:]))
    except KeyboardInterrupt:  # pip was told, too
        sys.exit(130)

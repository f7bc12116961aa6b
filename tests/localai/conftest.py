"""A local speech server on a free port, and callers who ring it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.localai.caller import Caller

ROOT = Path(__file__).parents[2]


def start_server(*options: str) -> tuple[subprocess.Popen[str], str]:
    """The running server and its base address, as its one line on stdout tells it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "flaskapp.localai", "--port", "0", *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert line.startswith("localai listening on http://127.0.0.1:"), line
    return process, line.removeprefix("localai listening on ")


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The base address, such as ``http://127.0.0.1:40001/v1``."""
    process, address = start_server()
    yield address
    process.terminate()
    assert process.wait(20) == 0


@pytest.fixture
def caller(server: str) -> Iterator[Caller]:
    """Someone on the phone, in mu-law as a carrier sends it, whose words are to be transcribed."""
    with Caller(server) as caller:
        caller.update(audio=Caller.TELEPHONE)
        yield caller

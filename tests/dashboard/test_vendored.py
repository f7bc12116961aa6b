"""What others wrote is here as they released it: with its version, its licence, and nothing changed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.conftest import PROJECT

FOLDERS = (PROJECT / "flaskapp/dashboard/static/vendor", PROJECT / "tests/vendor")
KNOWN = [(folder, each) for folder in FOLDERS for each in json.loads((folder / "vendored.json").read_text())]


@pytest.mark.parametrize(("folder", "known"), KNOWN, ids=[each["name"] for _, each in KNOWN])
def test_it_is_what_was_released(folder: Path, known: dict) -> None:
    assert known["version"]
    assert known["licence"]
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in known["sha256"]}
    assert sums == known["sha256"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(PROJECT)))
def test_nothing_is_there_that_is_not_listed(folder: Path) -> None:
    listed = {name for at, each in KNOWN if at == folder for name in each["sha256"]} | {"vendored.json"}
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == listed

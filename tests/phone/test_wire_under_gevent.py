"""The wire's tests once more, in a process that gevent has taken over, as the app's workers are.

The patching must come before anything else, so it has a process of its own; this one stays as it is.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flaskapp.phone.waiting import is_cooperative
from tests.phone.wires import joined

HERE = Path(__file__).resolve().parent
PATCHED = (
    "from gevent import monkey; monkey.patch_all(); import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"
)


@pytest.mark.skipif(is_cooperative(), reason="this is that process")
def test_the_wire_does_the_same_under_gevent():
    files = [str(path) for path in sorted(HERE.glob("test_wire_*.py"))]
    options = ["-q", "-p", "no:cacheprovider", "-W", "ignore"]
    done = subprocess.run(
        [sys.executable, "-c", PATCHED, *options, *files],
        cwd=HERE.parent.parent,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@pytest.mark.skipif(not is_cooperative(), reason="asked in the process that is patched")
def test_in_a_patched_process_the_wire_is_waited_for_by_greenlets():
    with joined() as (wire, _):
        assert type(wire._reader).__name__ == "_GreenletWaiter"

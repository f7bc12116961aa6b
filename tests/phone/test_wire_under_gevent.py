"""The wire's tests twice more, in a process that gevent has taken over, as the app's workers are.

Once greenlets read, once the event loop does, which is how calls are served.
The patching must come before anything else, so it has a process of its own; this one stays as it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flaskapp.phone.waiting import is_cooperative, waiter
from tests.phone.wires import LISTENS, Heard, joined

FILES = ("test_wire_*.py", "test_tls*.py")
HERE = Path(__file__).resolve().parent
PATCHED = (
    "from gevent import monkey; monkey.patch_all(); import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"
)


@pytest.mark.skipif(is_cooperative(), reason="this is that process")
@pytest.mark.parametrize("listens", ["", "1"], ids=["read by greenlets", "read by the event loop"])
def test_the_wire_does_the_same_under_gevent(listens):
    files = [str(path) for pattern in FILES for path in sorted(HERE.glob(pattern))]
    options = ["-q", "-p", "no:cacheprovider", "-W", "ignore"]
    done = subprocess.run(
        [sys.executable, "-c", PATCHED, *options, *files],
        cwd=HERE.parent.parent,
        env={**os.environ, LISTENS: listens},
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
        assert type(waiter(wire._sock)).__name__ == "_GreenletWaiter"


@pytest.mark.skipif(not os.environ.get(LISTENS), reason="asked where the event loop reads")
def test_what_is_read_in_these_tests_is_read_by_the_event_loop():
    with joined() as (wire, peer):
        assert isinstance(wire, Heard)
        assert wire.can_listen
        peer.says(1, b"hello")
        assert wire.receive(10) == [b"hello"]
        assert wire._watcher is not None

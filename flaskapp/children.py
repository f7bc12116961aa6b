"""Child processes that log to files and never outlive their parent."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

POLL_S = 0.05
LAST_LINES = 12
PR_SET_PDEATHSIG = 1


class ChildFailed(Exception):
    """A child ended, or did not get ready in time; the text shows the end of its log."""


class Child:
    """One process in a session of its own, so that Ctrl-C reaches it only through `stop`.

    Args:
        log: its output goes there; None: to ours.
    """

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path | None
    ) -> None:
        self.name = name
        self._log = log
        if log:
            log.parent.mkdir(parents=True, exist_ok=True)
        output = log.open("wb") if log else None
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own programs, no shell
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )
        finally:
            if output:
                output.close()

    def wait_for_line(self, pattern: str, patience_s: float) -> str:
        """The pattern's first group, once a line of the log matches it.

        Raises:
            ChildFailed: the child ended, or took too long.
        """
        found: list[str] = []

        def seen() -> bool:
            match = re.search(pattern, self._text(), re.MULTILINE)
            found.extend(match.groups() if match else ())
            return bool(found)

        self.wait_until(seen, patience_s)
        return found[0]

    def wait_until(self, ready: Callable[[], bool], patience_s: float) -> None:
        """Returns as soon as `ready` says yes.

        Raises:
            ChildFailed: the child ended, or took too long.
        """
        give_up_at = time.monotonic() + patience_s
        while not ready():
            if not self.is_running():
                raise self.failure(f"ended with {self._process.returncode}")
            if time.monotonic() > give_up_at:
                raise self.failure(f"was not ready after {patience_s:.0f} s")
            time.sleep(POLL_S)

    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def failure(self, what: str) -> ChildFailed:
        """What went wrong, and the last lines of the log."""
        lines = self._text().splitlines()[-LAST_LINES:]
        where = f" (all of it: {self._log})" if self._log else ""
        return ChildFailed("\n".join([f"{self.name} {what}{where}", *(f"  {line}" for line in lines)]))

    def stop(self, patience_s: float = 30.0) -> None:
        """Asks it to end; what is left of its session after that is killed."""
        if self.is_running():
            self._process.terminate()
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            pass
        finally:
            _kill_session(self._process.pid)
            self._process.wait()

    def _text(self) -> str:
        return self._log.read_text(errors="replace") if self._log else ""


def _kill_session(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


def _end_with_parent() -> None:
    """Linux: if we are killed without a word, our children are told to end."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

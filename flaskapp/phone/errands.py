"""What takes its time on a call - a tool, a transfer, a greeting to be kept - off the audio's path."""

from __future__ import annotations

import base64
import logging
import threading
from collections.abc import Callable

from flaskapp.phone import commands as do
from flaskapp.phone import events as ev

log = logging.getLogger(__name__)

Report = Callable[[ev.Event], None]
Use = Callable[[str, str, str, Callable[[ev.ToolAnswered], None]], None]


class Errands:
    """One call's.

    Args:
        use: has a tool carried out (its call's id, name, arguments as JSON, and whom to tell);
            without it the engine is told that there is none.
        transfer: has the carrier join the caller to a number; whether it will.
        keep_greeting: puts the sound of the greeting away, in mu-law.
    """

    def __init__(
        self,
        call_sid: str = "",
        use: Use | None = None,
        transfer: Callable[[str], bool] | None = None,
        keep_greeting: Callable[[bytes], None] | None = None,
    ) -> None:
        self._call_sid, self._use_tool = call_sid, use
        self._transfer, self._keep_greeting = transfer, keep_greeting

    def run(self, command: do.RunTool | do.TransferCaller | do.KeepGreeting, report: Report) -> None:
        """Begin an errand; what comes of it is reported from another thread, or at once."""
        if isinstance(command, do.RunTool):
            self._use(command, report)
        elif isinstance(command, do.TransferCaller):
            self._elsewhere(lambda: self._have_transferred(command, report))
        else:
            self._elsewhere(lambda: self._put_away(command))

    def _use(self, command: do.RunTool, report: Report) -> None:
        if self._use_tool is None:
            report(ev.ToolAnswered(command.tool_call_id, "There is no such function.", is_error=True))
            return
        self._use_tool(command.tool_call_id, command.name, command.arguments, report)

    def _have_transferred(self, command: do.TransferCaller, report: Report) -> None:
        if self._transfer is None:
            report(ev.TransferFailed())
            return
        try:
            will = self._transfer(command.number)
        except Exception as error:  # whatever it is: the caller must not wait for it
            log.error("A transfer failed: %s", type(error).__name__, extra={"call_sid": self._call_sid})
            will = False
        if not will:
            report(ev.TransferFailed("the carrier was not told"))

    def _put_away(self, command: do.KeepGreeting) -> None:
        if self._keep_greeting is not None:
            self._keep_greeting(b"".join(base64.b64decode(payload) for payload in command.payloads))

    def _elsewhere(self, work: Callable[[], None]) -> None:
        threading.Thread(target=work, name="errand", daemon=True).start()

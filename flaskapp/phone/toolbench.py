"""Where tools are carried out: off the audio's path, a bounded number at once, each answered once."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLate
from typing import Any

from flaskapp.phone import events as ev
from flaskapp.phone.agent import Agent, Agents
from flaskapp.phone.built_in import RESERVED, toolbox
from flaskapp.phone.errors import ConfigurationError
from flaskapp.phone.giving_way import give_way
from flaskapp.phone.tools import FAILED, CallContext, Result, Tool, Toolbox

log = logging.getLogger(__name__)

AT_ONCE = 64  # in this process
AT_ONCE_IN_A_CALL = 8
UNKNOWN = "There is no such tool. Tell the caller that you cannot do this."
BUSY = "Not done, too much is going on at the moment. Tell the caller that this does not work just now."
LATE = (
    "This takes too long; whether it was done is not known. Tell the caller that there is no answer yet, "
    "and do not try again by yourself."
)


class Places:
    """How many of the house's tools run now: in all, and of one call, so that no call takes them all."""

    def __init__(self, in_all: int, in_a_call: int) -> None:
        self._in_all, self._in_a_call = in_all, in_a_call
        self._taken: Counter[str] = Counter()
        self._guard = threading.Lock()

    def take(self, call_sid: str) -> bool:
        """One place for a call; False if there is none, and nobody waits for one."""
        with self._guard:
            if self._taken[call_sid] >= self._in_a_call or self._taken.total() >= self._in_all:
                return False
            self._taken[call_sid] += 1
            return True

    def give_back(self, call_sid: str) -> None:
        with self._guard:
            self._taken[call_sid] -= 1
            if not self._taken[call_sid]:
                del self._taken[call_sid]


class Toolbench:
    """Carries out tools for many calls; threads and greenlets may share one.

    Each of the house's tools runs in a thread of its own (a greenlet where gevent has patched the
    process). One that is too late keeps its place until it really ends, so that whatever hangs is
    bounded. The built-in ones wait for nothing and need no place: whatever hangs, a caller can leave a
    message, be transferred and hung up.

    Args:
        tools: the house's own, beside the built-in ones.
        agents: whoever may use them; the names of tools in an agent file are checked.
        at_once: how many may run; one more is answered that it was not done.
        at_once_in_a_call: how many of them for one call.

    Raises:
        ConfigurationError: two tools of one name, or an agent that names one that is not there.
    """

    def __init__(
        self,
        tools: Iterable[Tool] = (),
        agents: Agents | None = None,
        at_once: int = AT_ONCE,
        at_once_in_a_call: int = AT_ONCE_IN_A_CALL,
    ) -> None:
        self._own = tuple(tools)
        self._toolboxes: dict[int, tuple[Agent, Toolbox]] = {}  # there are few agents, and many calls
        self._places = Places(at_once, at_once_in_a_call)
        _check(self._own, agents)

    def toolbox(self, agent: Agent) -> Toolbox:
        """What this agent may use."""
        known = self._toolboxes.get(id(agent))
        if known is None or known[0] is not agent:
            known = self._toolboxes[id(agent)] = (agent, toolbox(agent, self._own))
        return known[1]

    def schemas(self, agent: Agent) -> tuple[dict[str, Any], ...]:
        """What this agent may use, as a Realtime session's ``tools`` (a chat's, each in ``function``)."""
        return self.toolbox(agent).schemas()

    def start(
        self,
        call: CallContext,
        tool_call_id: str,
        name: str,
        arguments_json: str,
        done: Callable[[ev.ToolAnswered], None],
    ) -> None:
        """Have a tool used; returns at once.

        ``done`` is called exactly once, in another thread - in this one only where no thread can be had.
        """

        def run() -> None:
            give_way()
            done(self.perform(call, tool_call_id, name, arguments_json))

        try:
            threading.Thread(target=run, name="tool-watch", daemon=True).start()
        except RuntimeError:
            log.error("No thread for tool %.64r", name, extra={"call_sid": call.call_sid})
            if name in RESERVED:
                run()
            else:
                done(ev.ToolAnswered(tool_call_id, BUSY, None, True))

    def perform(
        self, call: CallContext, tool_call_id: str, name: str, arguments_json: str
    ) -> ev.ToolAnswered:
        """Use a tool and wait for it, at most as long as it may take."""
        found = self.toolbox(call.agent).find(name)
        if found is None:
            log.warning("No tool is called %.64r", name, extra={"call_sid": call.call_sid})
            result = Result(UNKNOWN, is_error=True)
        elif name in RESERVED:
            result = found.perform(call, arguments_json)
        else:
            result = self._in_time(found, call, arguments_json)
        return ev.ToolAnswered(tool_call_id, result.output, result.directive, result.is_error)

    def _in_time(self, tool: Tool, call: CallContext, arguments_json: str) -> Result:
        """The tool's result; what comes later is dropped."""
        about = {"call_sid": call.call_sid}
        if not self._places.take(call.call_sid):
            log.error("Tool %s is not run: too many are", tool.name, extra=about)
            return Result(BUSY, is_error=True)
        result: Future[Result] = Future()
        try:
            threading.Thread(
                target=self._run, args=(tool, call, arguments_json, result), name="tool", daemon=True
            ).start()
        except RuntimeError:
            self._places.give_back(call.call_sid)
            log.error("No thread for tool %s", tool.name, extra=about)
            return Result(BUSY, is_error=True)
        try:
            return result.result(tool.timeout_s)
        except TooLate:
            log.warning("Tool %s took more than %g s", tool.name, tool.timeout_s, extra=about)
            return Result(LATE, is_error=True)

    def _run(self, tool: Tool, call: CallContext, arguments_json: str, result: Future[Result]) -> None:
        outcome = Result(FAILED, is_error=True)  # of one that ends its thread
        try:
            give_way()
            outcome = tool.perform(call, arguments_json)
        finally:
            self._places.give_back(call.call_sid)
            result.set_result(outcome)


def _check(own: tuple[Tool, ...], agents: Agents | None) -> None:
    Toolbox(own)
    if taken := sorted(RESERVED & {each.name for each in own}):
        raise ConfigurationError(f"TOOLS: {', '.join(taken)}: a built-in tool has this name; choose another")
    known = RESERVED | {each.name for each in own}
    everybody = [agents.default, *agents.by_number.values()] if agents else []
    unknown = sorted({name for agent in everybody for name in agent.tools or () if name not in known})
    if unknown:
        raise ConfigurationError(
            f"AGENT_FILE: no module of TOOLS has a tool called {', '.join(unknown)}; there are"
            f" {', '.join(sorted(known))}"
        )

"""Tools in a recorded turn: each call of one is carried out once, however often the turn is begun."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from hashlib import blake2b
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from flaskapp.phone import events as ev
from flaskapp.phone.agent import Agent
from flaskapp.phone.directives import Directive, EndCall, Message, TransferTo
from flaskapp.phone.toolbench import Toolbench
from flaskapp.phone.tools import CallContext
from flaskapp.store.history import History
from flaskapp.store.turns import Turn, TurnBook

log = logging.getLogger(__name__)

NOBODY_KNOWS = (
    "Error: this was begun before and cut off, so nobody knows whether it was done. Do not do it again;"
    " tell the caller that it will be looked into."
)
_DIRECTIVES: Mapping[str, type[EndCall | TransferTo | Message]] = {
    "end_call": EndCall,
    "transfer_to": TransferTo,
    "message": Message,
}
_NAMES = {kind: name for name, kind in _DIRECTIVES.items()}

Use = Callable[[str, str, str], ev.ToolAnswered]


class TurnTools:
    """The tools of the agent that answers a turn.

    Args:
        history: knows a call's caller, whom tools are told.
    """

    def __init__(self, bench: Toolbench, book: TurnBook, history: History) -> None:
        self._bench, self._book, self._history = bench, book, history

    def schemas(self, agent: Agent) -> Sequence[dict[str, Any]]:
        """As engines take them."""
        return self._bench.schemas(agent)

    def use(self, turn: Turn, agent: Agent) -> Use:
        """What carries out the turn's tool calls: ``(id, name, arguments as JSON) -> ToolAnswered``.

        A call with the same name and arguments is answered from the turn's book, where its answer is kept
        before the engine has it. One that was begun and never answered is not begun again.

        Raises:
            redis.exceptions.RedisError: the book is away; nothing was done.
        """
        sid = turn.call_sid
        call = CallContext(sid, self._caller(sid), turn.called, agent)

        def carry_out(tool_call_id: str, name: str, arguments: str) -> ev.ToolAnswered:
            mark = _mark(name, arguments)
            kept = self._book.first_use(sid, turn.key, mark)
            if kept is not None:
                log.info("Tool %s: answered from the turn's book", name, extra={"call_sid": sid})
                return _read(tool_call_id, kept)
            answered = self._bench.perform(call, tool_call_id, name, arguments)
            self._book.keep_use(sid, turn.key, mark, _written(answered))
            return answered

        return carry_out

    def _caller(self, call_sid: str) -> str:
        try:
            row = self._history.call(call_sid)
        except SQLAlchemyError as error:  # a tool can do without
            log.warning("The history is away: %s", type(error).__name__, extra={"call_sid": call_sid})
            return ""
        return (row or {}).get("caller") or ""


def as_json(directives: Iterable[Directive]) -> list[dict[str, Any]]:
    """Directives as an outcome keeps them."""
    return [{"do": _NAMES[type(each)], **asdict(each)} for each in directives]


def from_json(kept: Iterable[Mapping[str, Any]]) -> list[Directive]:
    """Directives as an outcome has kept them; what a newer version wrote is left out."""
    found: list[Directive] = []
    for each in kept:
        fields = {name: value for name, value in each.items() if name != "do"}
        if kind := _DIRECTIVES.get(each.get("do", "")):
            found.append(kind(**fields))
    return found


def _mark(name: str, arguments: str) -> str:
    """The same for the same arguments, however they are spelled."""
    with contextlib.suppress(ValueError):  # the tool will say what is wrong
        arguments = json.dumps(json.loads(arguments or "{}"), sort_keys=True)
    return blake2b(f"{name} {arguments}".encode("utf-8", "replace"), digest_size=12).hexdigest()


def _written(answered: ev.ToolAnswered) -> dict[str, Any]:
    directives = as_json([answered.directive] if answered.directive else [])
    return {"output": answered.output, "is_error": answered.is_error, "directives": directives}


def _read(tool_call_id: str, kept: Mapping[str, Any]) -> ev.ToolAnswered:
    if not kept:
        return ev.ToolAnswered(tool_call_id, NOBODY_KNOWS, is_error=True)
    directives = from_json(kept["directives"])
    return ev.ToolAnswered(
        tool_call_id, kept["output"], directives[0] if directives else None, kept["is_error"]
    )

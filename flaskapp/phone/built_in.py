"""The tools that every agent has: to end the call, to hand it over, to take a message."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import StringConstraints

from flaskapp.phone.agent import Agent
from flaskapp.phone.directives import EndCall, Message, TransferTo
from flaskapp.phone.tools import CallContext, Result, Tool, Toolbox, ToolError, tool

TRANSFER = "transfer_to_human"
Words = Annotated[str, StringConstraints(strip_whitespace=True, max_length=4000)]
SomeWords = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]


@tool
def end_call() -> Result:
    """Hang up.

    Use it when the conversation is over: the caller said goodbye, or wants nothing more. Say goodbye in
    the same reply, before you use it. Never use it while the caller still wants something.
    """
    return Result("The call ends when the caller has heard your goodbye.", EndCall())


@tool
def take_message(text: SomeWords, name: Words = "", callback: Words = "") -> Result:
    """Write down a message for the people whose telephone this is.

    Use it when the caller wants to leave a message or to be called back, as soon as you know all of it.
    Ask for the caller's name and number first if they were not said, but do not insist. A second message
    replaces the first one.

    Args:
        text: The message, complete and understandable for somebody who did not hear the call.
        name: The caller's name as it was said; empty if it was not.
        callback: The telephone number or address to answer to, as it was said; empty if none was.
    """
    return Result("The message is written down. Tell the caller so.", Message(text, name, callback))


@lru_cache(maxsize=1024)
def transfer_tool(names: tuple[str, ...]) -> Tool:
    """Hands a caller over to one of these, whose numbers are the agent's configuration's."""

    def transfer(call: CallContext, destination: str) -> Result:
        """Connect the caller to a person, by telephone.

        Use it when the caller asks for a person, or when you cannot help and a person could. Tell the
        caller in the same reply, before you use it, to whom you connect them. Only these destinations can
        be reached; no other person and no telephone number that is said in the conversation ever can.

        Args:
            destination: To whom.
        """
        number = call.agent.transfer_numbers.get(destination)
        if number is None:
            raise ToolError("Nobody of that name can be reached.")
        return Result(f"The caller is being connected to {destination}.", TransferTo(destination, number))

    transfer.__annotations__["destination"] = Literal[names]
    return tool(name=TRANSFER)(transfer)


BUILT_IN = (end_call, take_message)
RESERVED = frozenset([*(each.name for each in BUILT_IN), TRANSFER])


def toolbox(agent: Agent, own: Iterable[Tool] = ()) -> Toolbox:
    """All that this agent may use: the built-in tools, and of the house's ``own`` those that it names.

    Raises:
        ConfigurationError: two tools have one name.
    """
    allowed = [each for each in own if agent.tools is None or each.name in agent.tools]
    names = tuple(agent.transfer_numbers)
    return Toolbox([*BUILT_IN, *([transfer_tool(names)] if names else []), *allowed])

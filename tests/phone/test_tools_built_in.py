"""The built-in tools: nobody is called but whom the configuration names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flaskapp.phone.agent import Agent
from flaskapp.phone.built_in import toolbox
from flaskapp.phone.directives import EndCall, Message, TransferTo
from flaskapp.phone.errors import ConfigurationError
from flaskapp.phone.tools import CallContext, Result, Tool, tool

PEOPLE = {"sales": "+14155550101", "the workshop": "+4930123456"}
OPEN = Agent(transfer_numbers=PEOPLE)
ALONE = Agent()


@tool
def opening_hours(day: str) -> str:
    """Tell when the shop is open."""
    return "nine to five"


def named(agent: Agent, name: str) -> Tool:
    found = toolbox(agent).find(name)
    assert found is not None
    return found


def used(agent: Agent, name: str, /, **arguments: Any) -> Result:
    call = CallContext("CA1", "+15550001111", "+15550002222", agent)
    return named(agent, name).perform(call, json.dumps(arguments))


def test_the_call_ends_by_a_tool():
    result = used(ALONE, "end_call")
    assert (result.directive, result.is_error) == (EndCall("goodbye"), False)


def test_a_message_is_taken_as_it_was_said():
    result = used(ALONE, "take_message", text=" Call back. ", name="Ann", callback="five five five")
    assert result.directive == Message("Call back.", "Ann", "five five five")
    assert used(ALONE, "take_message", text="Hello.").directive == Message("Hello.")


@pytest.mark.parametrize("wrong", [{}, {"text": ""}, {"text": "  "}, {"text": "x" * 4001}, {"text": 1}])
def test_a_message_without_words_or_without_end_is_none(wrong):
    result = used(ALONE, "take_message", **wrong)
    assert (result.is_error, result.directive) == (True, None)


def test_a_caller_is_handed_over_to_whom_the_agent_names():
    result = used(OPEN, "transfer_to_human", destination="the workshop")
    assert (result.directive, result.is_error) == (TransferTo("the workshop", "+4930123456"), False)


def test_only_an_agent_that_names_somebody_can_hand_over_and_names_are_all_the_engine_knows():
    assert "transfer_to_human" not in toolbox(ALONE).names
    schema = named(OPEN, "transfer_to_human").schema()
    assert schema["parameters"]["properties"]["destination"]["enum"] == ["sales", "the workshop"]
    assert "+1415" not in json.dumps(schema)


@pytest.mark.parametrize(
    "asked",
    ["+14155550101", "+19005550100", "4155550101", "Sales", "sales ", "", "person", 5, None, ["sales"]],
)
def test_a_number_or_name_from_a_conversation_is_never_dialled(asked):
    result = used(OPEN, "transfer_to_human", destination=asked)
    assert (result.is_error, result.directive) == (True, None)


def test_a_number_beside_the_name_is_refused():
    result = used(OPEN, "transfer_to_human", destination="sales", number="+19005550100")
    assert (result.is_error, result.directive) == (True, None)


def test_a_single_person_is_a_choice_of_one():
    alone = Agent(transfer_numbers={"person": "+14155550101"})
    shape = named(alone, "transfer_to_human").parameters["properties"]["destination"]
    assert shape == {"type": "string", "enum": ["person"], "description": "To whom."}


def test_agents_with_the_same_names_have_each_their_own_numbers():
    other = Agent(transfer_numbers=dict.fromkeys(PEOPLE, "+15559990000"))
    assert used(OPEN, "transfer_to_human", destination="sales").directive == TransferTo(
        "sales", "+14155550101"
    )
    assert used(other, "transfer_to_human", destination="sales").directive == TransferTo(
        "sales", "+15559990000"
    )


@pytest.mark.parametrize(
    ("names", "has_it"), [(None, True), (("opening_hours",), True), ((), False), (("end_call",), False)]
)
def test_an_agent_uses_all_of_the_house_s_tools_or_those_that_it_names(names, has_it):
    box = toolbox(Agent(tools=names), [opening_hours])
    assert ("opening_hours" in box.names) is has_it
    assert {"end_call", "take_message"} <= set(box.names)


def test_no_tool_takes_a_built_in_one_s_place():
    @tool(name="end_call")
    def mine() -> str:
        """End."""
        return ""

    with pytest.raises(ConfigurationError, match="end_call"):
        toolbox(ALONE, [mine])

"""Functions become tools: their schema, their arguments, and whatever they give back."""

from __future__ import annotations

import dataclasses
import enum
import json
import logging
from datetime import date
from typing import Annotated, Any, Literal

import pytest
from openai.types.realtime import RealtimeFunctionTool
from pydantic import BaseModel, Field

from flaskapp.phone.agent import Agent
from flaskapp.phone.directives import EndCall
from flaskapp.phone.tools import (
    FAILED,
    MOST_CHARACTERS,
    CallContext,
    Result,
    Tool,
    ToolError,
    tool,
)

CALL = CallContext("CA1", "+15550001111", "+15550002222", Agent())
CANARY = "canary-7711"


@tool
def order_status(number: str, with_price: bool = False) -> dict[str, Any]:
    """Look up an order.

    Use it when the caller asks
    where his parcel is.

    Args:
        number: The order's number,
            as it is printed on the bill.
        with_price: Whether to tell what it costs.

    Returns:
        Never shown to the engine.
    """
    return {"number": number, "state": "on its way", **({"price": 9.5} if with_price else {})}


def used(one: Tool, **arguments: Any) -> Result:
    return one.perform(CALL, json.dumps(arguments))


def test_a_function_s_name_types_and_words_are_its_schema():
    schema = order_status.schema()

    assert schema == {
        "type": "function",
        "name": "order_status",
        "description": "Look up an order. Use it when the caller asks where his parcel is.",
        "parameters": {
            "type": "object",
            "properties": {
                "number": {
                    "type": "string",
                    "description": "The order's number, as it is printed on the bill.",
                },
                "with_price": {
                    "type": "boolean",
                    "default": False,
                    "description": "Whether to tell what it costs.",
                },
            },
            "required": ["number"],
            "additionalProperties": False,
        },
    }
    RealtimeFunctionTool.model_validate(schema)


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


class Topping(BaseModel):
    """What goes on it."""

    title: str
    grams: int = Field(gt=0)


def test_every_type_that_json_has_can_be_asked_for():
    got: dict[str, Any] = {}

    @tool
    def order(
        size: Size,
        toppings: list[Topping],
        day: date,
        kind: Literal["thin", "thick"] = "thin",
        tip: float | None = None,
        note: Annotated[str, Field(max_length=5, description="Said short.")] = "",
    ) -> str:
        """Order a pizza."""
        got.update(locals())
        return "ordered"

    shape = order.parameters["properties"]
    assert shape["note"] == {"type": "string", "maxLength": 5, "default": "", "description": "Said short."}
    assert shape["kind"]["enum"] == ["thin", "thick"]
    assert order.parameters["$defs"]["Topping"]["properties"]["title"] == {"type": "string"}
    assert "title" not in order.parameters["$defs"]["Size"]

    toppings = [{"title": "cheese", "grams": 20}]
    assert used(order, size="large", toppings=toppings, day="2026-11-21", tip=2).output == "ordered"
    assert (got["size"], got["toppings"][0].grams, got["day"]) == (Size.LARGE, 20, date(2026, 11, 21))
    assert (got["kind"], got["tip"], got["note"]) == ("thin", 2.0, "")


@pytest.mark.parametrize("name", ["json", "copy", "schema", "model_config", "self_", "call", "validate"])
def test_a_parameter_may_have_any_name(name):
    scope: dict[str, Any] = {}
    exec(f"def f({name}: str) -> str:\n    'Say it.'\n    return {name}", scope)
    assert used(tool(scope["f"]), **{name: "x"}).output == "x"


def test_a_function_without_parameters_has_an_empty_schema():
    @tool
    def now() -> str:
        """Tell the time."""
        return "noon"

    assert now.parameters == {"type": "object", "properties": {}, "additionalProperties": False}
    for nothing in ("{}", "", "  "):
        assert now.perform(CALL, nothing) == Result("noon")


def test_the_call_is_given_and_not_asked_for():
    @tool
    def who(call: CallContext, loud: bool = False) -> str:
        """Tell who calls."""
        return call.caller.upper() if loud else call.caller

    assert set(who.parameters["properties"]) == {"loud"}
    assert used(who).output == "+15550001111"
    assert used(who, call="another").is_error


def test_several_arguments_may_share_their_words():
    @tool
    def between(first: int, last: int) -> int:
        """Count.

        Args:
            first, last (int): Where to
                begin and to end.
        """
        return last - first

    words = {name: each["description"] for name, each in between.parameters["properties"].items()}
    assert words == dict.fromkeys(("first", "last"), "Where to begin and to end.")


def test_a_tool_may_have_another_name_and_its_own_patience():
    @tool(name="find-it", timeout_s=2.5)
    def _implementation() -> str:
        """Find it."""
        return "found"

    assert (_implementation.name, _implementation.timeout_s) == ("find-it", 2.5)


# ---------------------------------------------------------------------- arguments that are wrong

WRONG = {
    "missing": ({}, "number: "),
    "another type": ({"number": 5}, "number: "),
    "text for a truth": ({"number": "5", "with_price": "yes"}, "with_price: "),
    "unknown": ({"number": "5", "colour": "red"}, "colour: "),
}


@pytest.mark.parametrize(("arguments", "says"), WRONG.values(), ids=WRONG.keys())
def test_wrong_arguments_are_told_to_the_engine_and_nothing_is_done(arguments, says):
    done = []

    @tool
    def order(number: str, with_price: bool = False) -> str:
        """Order."""
        done.append(number)
        return "ordered"

    result = used(order, **arguments)

    assert result.is_error
    assert says in result.output
    assert "arguments are wrong" in result.output
    assert done == []


BROKEN = ["{", "[]", '"5"', "null", "nonsense", '{"number": "5"', "[" * 100_000, '{"number": "\ud800"}']


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_arguments_that_are_no_json_object_are_told_to_the_engine(text):
    result = order_status.perform(CALL, text)
    assert result.is_error
    assert len(result.output) < 700


def test_an_endless_complaint_is_cut():
    result = used(order_status, **{f"unknown_{n}": n for n in range(500)})
    assert result.is_error
    assert len(result.output) < 700


# ---------------------------------------------------------------------- what comes back


@dataclasses.dataclass
class Slot:
    day: date
    free: bool


RESULTS = {
    "text": ("as it is: {}", "as it is: {}"),
    "nothing": (None, "null"),
    "a list": ([1, "zwölf"], '[1,"zwölf"]'),
    "a dataclass": (Slot(date(2026, 11, 21), True), '{"day":"2026-11-21","free":true}'),
    "a model": ([Topping(title="ham", grams=3)], '[{"title":"ham","grams":3}]'),
    "what json has no word for": ({"size": Size.SMALL, "at": {1j}}, '{"size":"small","at":["1j"]}'),
}


@pytest.mark.parametrize(("given", "told"), RESULTS.values(), ids=RESULTS.keys())
def test_a_result_is_told_as_text_or_as_json(given, told):
    assert Tool("t", "d", {}, lambda call, text: given).perform(CALL, "{}") == Result(told)


def test_a_result_of_its_own_kind_passes_with_what_it_asks_of_the_call():
    result = Result("Goodbye.", EndCall())
    assert Tool("t", "d", {}, lambda call, text: result).perform(CALL, "{}") == result


def test_an_endless_result_is_cut_with_a_note():
    result = Tool("t", "d", {}, lambda call, text: "a" * 50_000).perform(CALL, "{}")
    assert len(result.output) < MOST_CHARACTERS + 100
    assert result.output.endswith("(cut here: 50000 characters in all)")


def test_a_tool_says_to_the_agent_why_it_could_not():
    @tool
    def book(day: str) -> str:
        """Book a table."""
        raise ToolError(f"All tables of {day} are taken.")

    assert used(book, day="Friday") == Result("All tables of Friday are taken.", is_error=True)


def test_a_failure_is_an_answer_and_neither_its_words_nor_the_callers_are_logged(caplog):
    @tool
    def book(name: str) -> str:
        """Book a table."""
        raise RuntimeError(f"no such person: {name}")

    with caplog.at_level(logging.DEBUG):
        result = used(book, name=CANARY)

    assert result == Result(FAILED, is_error=True)
    (record,) = caplog.records
    assert record.getMessage().startswith("Tool book failed: RuntimeError in test_tools.py:")
    assert record.call_sid == "CA1"
    assert CANARY not in caplog.text


def test_a_result_that_cannot_be_told_is_a_failure():
    knot: list[Any] = []
    knot.append(knot)
    assert Tool("t", "d", {}, lambda call, text: knot).perform(CALL, "{}") == Result(FAILED, is_error=True)

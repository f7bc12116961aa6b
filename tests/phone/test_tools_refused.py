"""What cannot be a tool, or a module of tools, is refused with its name and the reason."""

from __future__ import annotations

import dataclasses
import logging
import sys
import textwrap

import pytest

from flaskapp.phone.errors import ConfigurationError
from flaskapp.phone.tools import Toolbox, load_tools, tool


def _undocumented(a: str) -> str:
    return a


def _untyped(a):  # type: ignore[no-untyped-def]
    """Say it."""


def _many(*a: str) -> None:
    """Say it."""


def _any(**a: str) -> None:
    """Say it."""


async def _later(a: str) -> None:
    """Say it."""


def _strange(a: threading.Lock) -> None:  # type: ignore[name-defined]  # noqa: F821
    """Say it."""


def _foreign(a: logging.Logger) -> None:
    """Say it."""


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (_undocumented, "no docstring"),
        (_untyped, "a has no type"),
        (_many, "cannot be asked for by name"),
        (_any, "cannot be asked for by name"),
        (_later, "is async"),
        (_strange, "threading"),
        (_foreign, "Logger"),
    ],
)
def test_a_function_that_cannot_be_a_tool_is_named_with_the_reason(function, says):
    with pytest.raises(TypeError, match=f"the tool {function.__name__}.*{says}"):
        tool(function)


@pytest.mark.parametrize("given", [{"name": "find it"}, {"name": "x" * 65}, {"timeout_s": 0.0}])
def test_a_name_or_patience_that_no_engine_takes_is_refused(given):
    def find() -> str:
        """Find it."""
        return ""

    with pytest.raises(TypeError, match="the tool"):
        tool(**given)(find)


# ---------------------------------------------------------------------- several tools


@tool
def order_status(number: str) -> str:
    """Looks an order up."""
    return number


def test_two_tools_of_one_name_are_refused():
    with pytest.raises(ConfigurationError, match="two tools are called order_status"):
        Toolbox([order_status, dataclasses.replace(order_status, description="Another.")])


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module that can be imported: `module("name", "text")`."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


ONE = '''
from flaskapp.phone.tools import tool

@tool
def opening_hours(day: str) -> str:
    """Tell when the shop is open."""
    return "nine to five"

also = opening_hours
'''


def test_tools_are_loaded_from_the_modules_that_are_named(module):
    module("shop_hours", ONE)
    module("shop_orders", ONE.replace("opening_hours", "order_status"))

    assert [each.name for each in load_tools("shop_hours, shop_orders")] == ["opening_hours", "order_status"]
    assert load_tools("") == ()


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("shop_hours, nowhere.tools", "TOOLS: nowhere.tools cannot be imported"),
        ("shop_wrong", "TOOLS: shop_wrong cannot be imported .TypeError: the tool f has no docstring"),
        ("shop_broken", "TOOLS: shop_broken cannot be imported .ZeroDivisionError"),
        ("shop_empty", "TOOLS: shop_empty has no function that is decorated"),
        ("shop_hours, shop_twice", "two tools are called opening_hours"),
    ],
)
def test_a_module_that_cannot_serve_is_named_with_the_reason(module, named, says):
    module("shop_hours", ONE)
    module("shop_twice", ONE)
    module("shop_empty", "import json")
    module("shop_broken", "1 / 0")
    module("shop_wrong", "from flaskapp.phone.tools import tool\n@tool\ndef f() -> str: return ''")

    with pytest.raises(ConfigurationError, match=says):
        load_tools(named)

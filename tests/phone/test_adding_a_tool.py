"""What docs/adding-a-tool.md shows works as it stands there."""

from __future__ import annotations

import doctest
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flaskapp.phone.agent import Agent, read_agents
from flaskapp.phone.toolbench import AT_ONCE, AT_ONCE_IN_A_CALL, Toolbench
from flaskapp.phone.tools import MOST_CHARACTERS, TIMEOUT_S, CallContext, Tool, load_tools

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "adding-a-tool.md").read_text()
CALL = CallContext("CA1", "+15551234567", "", Agent())


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return found


@pytest.fixture
def tools(tmp_path, monkeypatch) -> Iterator[dict[str, Tool]]:
    (tmp_path / "shop_tools.py").write_text(block("python"))
    monkeypatch.syspath_prepend(tmp_path)
    yield {each.name: each for each in load_tools("shop_tools")}
    del sys.modules["shop_tools"]


def test_the_page_s_tools_do_what_it_says(tools):
    status = tools["order_status"]
    asked = status.schema()["parameters"]
    assert asked["required"] == ["number"]
    assert asked["properties"]["number"]["description"] == "The order's number, digits only."
    assert json.loads(status.perform(CALL, '{"number": "1042"}').output) == {"state": "on its way"}
    assert "read the number again" in status.perform(CALL, '{"number": "7"}').output
    assert tools["who_calls"].perform(CALL, "{}").output == "+15551234567"
    assert (tools["who_calls"].timeout_s, status.timeout_s) == (3, TIMEOUT_S)


def test_the_page_s_lines_to_try_it_give_what_is_shown(tools):
    shown = doctest.DocTestParser().get_doctest(block("pycon"), {}, "page", None, 0)
    assert len(shown.examples) == 4
    assert doctest.DocTestRunner().run(shown).failed == 0


def test_the_page_s_agent_file_says_who_may_use_which(tools, tmp_path):
    (tmp_path / "agent.yml").write_text(block("yaml"))
    agents = read_agents(tmp_path / "agent.yml")
    bench = Toolbench(tools.values(), agents)

    def names(called: str) -> list[str]:
        return [each["name"] for each in bench.schemas(agents.for_number(called))]

    assert names("+1") == ["end_call", "take_message", "transfer_to_human", "order_status"]
    assert names("+15559870000") == ["end_call", "take_message", "transfer_to_human"]


def test_the_page_s_numbers_are_the_code_s():
    assert f"({TIMEOUT_S:g} s)" in PAGE
    assert (
        f"places for {AT_ONCE} tools at once in a worker, and for {AT_ONCE_IN_A_CALL} at once of one" in PAGE
    )
    assert f"at most {MOST_CHARACTERS} characters" in PAGE

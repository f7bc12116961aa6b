"""What docs/adding-a-tool.md promises: the local stand-in uses a tool, and says what it gave."""

from __future__ import annotations

import re

import pytest

from flaskapp.simulator.person import Script
from flaskapp.simulator.sounds import bundled
from tests.conftest import PROJECT
from tests.system.conftest import Office

pytestmark = pytest.mark.system


def test_the_simulated_caller_asks_for_the_opening_hours_and_a_tool_answers(
    gunicorn_app, exchange, speech_server, signed, tmp_path
):
    page = (PROJECT / "docs" / "adding-a-tool.md").read_text()
    (module,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "shop_tools.py").write_text(module)
    settings = {"TOOLS": "shop_tools", "PYTHONPATH": f"{PROJECT}:{tmp_path}", "LOCALAI_URL": speech_server}
    desk = Office(gunicorn_app({**settings, **signed}), None, exchange)
    report = desk.place(script=Script(bundled()), seconds=90)
    said = [turn["text"] for turn in desk.turns(report.call_sid, at_least=4) if turn["speaker"] == "agent"]
    assert any("from ten to three" in each for each in said), said

"""Imports run downwards; and the check that says so sees one that does not."""

from __future__ import annotations

import pytest

from scripts.layers import complaints


def test_every_import_of_the_app_runs_downwards():
    assert complaints() == []


@pytest.fixture
def house(tmp_path):
    """A house of empty modules, to plant imports in: `house("phone/call.py", "import time")`."""

    def plant(name: str, source: str) -> list[str]:
        path = tmp_path / "flaskapp" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        return complaints(tmp_path)

    for each in ("__init__", "phone/__init__", "phone/audio", "phone/errors", "store/__init__", "store/live"):
        plant(f"{each}.py", "")
    for each in ("localai/__init__", "simulator/__init__", "simulator/dial", "phone/engines/realtime"):
        plant(f"{each}.py", "")
    return plant


def test_a_planted_upward_import_is_named(house):
    said = house("phone/call.py", "from __future__ import annotations\nfrom flaskapp.store import live\n")
    assert said == [
        "flaskapp/phone/call.py:2 stands on floor 2 (codecs and call) and imports flaskapp.store.live"
        " from floor 3 (rim): imports run downwards only"
    ]


@pytest.mark.parametrize(
    ("name", "source", "complaint"),
    [
        ("phone/call.py", "import time", "clocks, sockets and waiting are for the rim"),
        ("phone/commands.py", "import msgspec", "standard library only"),
        ("phone/events.py", "from . import call", "floor 2 (codecs and call)"),
        ("phone/audio.py", "import soxr", "do it inside the function"),
        ("phone/carriers/twilio.py", "from ..engines import realtime", "carriers do not know engines"),
        ("phone/carriers/a.py", "from flaskapp.phone.carriers import b", "do not know each other"),
        (
            "phone/ai_integration.py",
            "def f():\n    from flask import g",
            "the desk is used without a Flask app",
        ),
        ("store/live.py", "from flaskapp.phone import routes", "imports run downwards only"),
        ("store/live.py", "if TYPE_CHECKING:\n    from flaskapp import access", "imports run downwards only"),
        ("phone/__init__.py", "import flask", "as soon as the package is touched"),
        ("phone/routes.py", "from flaskapp.simulator import dial", "only flaskapp/phone/cli.py visits"),
        ("phone/cli.py", "from flaskapp.simulator import dial", "inside its commands"),
        ("localai/server.py", "from flaskapp.phone import call", "over the wire"),
        ("localai/server.py", "from flaskapp.simulator import dial", "over the wire"),
        ("phone/gadget.py", "", "stands on no floor"),
    ],
)
def test_each_rule_is_kept(house, name, source, complaint):
    for other in ("phone/call", "phone/routes", "phone/carriers/b", "access"):
        house(f"{other}.py", "")
    said = house(name, source + "\n")
    assert any(line.startswith(f"flaskapp/{name}") and complaint in line for line in said), said


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("phone/audio.py", "def resample():\n    import soxr"),
        ("phone/carriers/twilio.py", "import msgspec\nfrom flaskapp.phone import audio"),
        ("store/live.py", "import redis, time"),
        ("phone/routes.py", "import flask\nfrom flaskapp.store import live"),
        ("phone/cli.py", "def dial():\n    from flaskapp.simulator import dial"),
        ("localai/sound.py", "import asyncio, numpy\nfrom flaskapp.phone import audio"),
        ("phone/__init__.py", "def init_app():\n    import flask"),
    ],
)
def test_what_is_allowed_is_let_be(house, name, source):
    assert house(name, source + "\n") == []

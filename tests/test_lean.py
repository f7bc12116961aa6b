"""What a worker needs not to have is not loaded, and a start is without it."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from flaskapp.lean import by_the_piece
from tests.conftest import PROJECT

SCRIPT = """
import sys
from flaskapp import create_app, warm_up
settings = {"LOCAL": "", "OPENAI_API_KEY": "key", "SECRET_KEY": "tests", "REDIS_URL": "redis://127.0.0.1:1/0"}
settings |= {"TWILIO_ACCOUNT_SID": "AC" + "0" * 32, "TWILIO_AUTH_TOKEN": "t" * 32}
app = create_app({**settings, "DATABASE_URL": "sqlite:///" + sys.argv[1], "LOG_FORMAT": "json"})
before = set(sys.modules)
warm_up(app)
import gc
unasked = ("openai", "alembic", "flask_migrate", "rich", "fakeredis", "numpy")
print(*(name for name in unasked if name in before))
print(*(name for name in ("openai", "aiohttp") if name in sys.modules))
print(gc.get_freeze_count() > 10_000)
print(sum(name.startswith("openai.types.") for name in sys.modules) < 300)
later = ["flaskapp.phone.doctor"]
later += [f"openai.resources.{each}" for each in ("audio.transcriptions", "chat.completions")]
print(*(name for name in later if name not in sys.modules))
import aiohttp
from openai.types.responses import Response
from openai.types import Completion
"""


def test_a_worker_loads_nothing_for_features_that_it_has_not_and_the_engines_client_after_its_start(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "calls.sqlite3")],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.splitlines() == ["", "openai", "True", "True", ""], done.stderr
    assert done.returncode == 0, "what was left out can be had afterwards"


PACKAGE = {
    "__init__.py": "from .one import One\nfrom .two import Two\nfrom .long_name import LongName\nALL = 1\n",
    "one.py": "class One:\n    pass\n",
    "long_name.py": "class LongName:\n    pass\n",
    "two.py": "from .inner import Inner\nclass Two(Inner):\n    pass\n",
    "inner/__init__.py": "from .part import Inner\nfrom .other import Other\n",
    "inner/part.py": "class Inner:\n    pass\n",
    "inner/other.py": "class Other:\n    pass\n",
}


@pytest.fixture
def gathering(tmp_path, monkeypatch):
    """A package that gathers what its modules have, and how many of them are loaded."""
    name = f"gathering{tmp_path.name.translate(str.maketrans('-[]', '___'))}"
    for path, text in PACKAGE.items():
        file = tmp_path / name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield name, lambda: sorted(each.removeprefix(name) for each in set(sys.modules) - before)
    for each in set(sys.modules) - before:
        del sys.modules[each]


def test_of_a_package_by_the_piece_only_what_is_asked_for_is_loaded(gathering):
    name, loaded = gathering
    by_the_piece(name, f"{name}.inner")
    assert import_module(f"{name}.one").One
    assert loaded() == ["", ".inner", ".one"]
    assert import_module(name).inner.part.Inner
    assert loaded() == ["", ".inner", ".inner.part", ".one"]


def test_a_class_is_found_in_the_module_of_its_name(gathering):
    name, loaded = gathering
    by_the_piece(name, f"{name}.inner")
    package = import_module(name)
    assert package.LongName is import_module(f"{name}.long_name").LongName
    assert loaded() == ["", ".inner", ".long_name"]
    assert package.Two.__mro__[1] is import_module(f"{name}.inner").part.Inner
    assert ".one" not in loaded()


def test_what_no_module_of_it_has_can_be_had_all_the_same(gathering):
    name, loaded = gathering
    by_the_piece(name, f"{name}.inner")
    package = import_module(name)
    assert package.ALL == 1
    assert package.Two.__mro__[1] is import_module(f"{name}.inner").Inner
    assert ".inner.other" in loaded()
    with pytest.raises(AttributeError):
        _ = package.nothing


def test_what_is_loaded_already_or_is_not_there_stays_as_it_is(gathering):
    name, _ = gathering
    package = import_module(name)
    by_the_piece(name, f"{name}.none", "nobodys.package")
    assert sys.modules[name] is package
    assert f"{name}.none" not in sys.modules

"""What a worker needs not to have is not loaded, and a start is without it."""

from __future__ import annotations

import subprocess
import sys

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
import aiohttp
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
    assert done.stdout.splitlines() == ["", "openai", "True"], done.stderr
    assert done.returncode == 0, "what was left out can be had afterwards"

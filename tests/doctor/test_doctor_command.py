"""``flask phone doctor`` as it is typed: what it prints, how it ends, and that nothing keeps it from it."""

from __future__ import annotations

import json

import pytest

from flaskapp.phone import doctor
from tests.conftest import PROJECT, environment_of, flask

pytestmark = pytest.mark.system


@pytest.fixture
def phone(tmp_path):
    """Runs ``flask phone ...`` with these settings."""
    return lambda *arguments, **settings: flask(
        "phone", *arguments, environment=environment_of(tmp_path, settings), cwd=tmp_path
    )


def test_a_configuration_that_starts_nothing_is_examined_all_the_same(phone):
    wrong = {"PORT": "many", "WEB_CONCURRENCY": "2", "AGENT_FILE": "/no/such/file", "TOOLS": "1two"}
    done = phone("doctor", "--json", "--only", "settings", "--only", "libraries", **wrong)
    assert done.returncode == 2, done.stderr
    told = json.loads(done.stdout)
    assert told["status"] == "failure"
    assert [each["command"] for each in told["checks"] if each["name"] == "settings"] == [
        *("AGENT_FILE=...", "TOOLS=...", "PORT=...", "REDIS_URL=...")
    ]
    assert set(told["checks"][0]) == {"name", "status", "cause", "command", "page"}


def test_it_ends_as_it_found_things_and_prints_no_colours_where_nobody_looks(runner):
    well = runner.invoke(args=["phone", "doctor", "--only", "libraries", "--only", "disk", "--only", "redis"])
    assert well.exit_code == 0, well.output
    assert well.output.splitlines()[-1] == "3 ok, 0 warning, 0 failure"
    doubtful = runner.invoke(args=["phone", "doctor", "--only", "engine"])
    assert doubtful.exit_code == 1
    assert "warning  engine      No AI engine is configured" in doubtful.output
    assert "         mend        OPENAI_API_KEY=" in doubtful.output
    assert "         read        docs/doctor.md#engine" in doubtful.output
    assert "\x1b" not in well.output + doubtful.output


def test_what_it_does_not_know_it_says(runner):
    assert (
        "is no check; there are settings, " in runner.invoke(args=["phone", "doctor", "--only", "x"]).output
    )
    assert "origin" in runner.invoke(args=["phone", "doctor", "--url", "voice.example.com"]).output


def test_the_page_explains_every_check():
    page = (PROJECT / "docs" / "doctor.md").read_text()
    for name in doctor.NAMES:
        assert f"\n## {name}\n" in page, name


def test_help_has_a_line_for_every_command(runner):
    told = runner.invoke(args=["phone", "--help"]).output
    listed = told.partition("Commands:\n")[2].splitlines()
    assert {"dial", "load", "curl", "doctor", "configure-webhook", "token"} <= {
        each.split()[0] for each in listed
    }
    assert all(len(each.split()) > 2 and not each.endswith("...") for each in listed), told

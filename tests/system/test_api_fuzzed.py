"""The running API against its own description: whatever is asked, the answer is one that stands there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode, checks

from flaskapp import create_app
from tests.api_calls import conversation, open_calls
from tests.conftest import PROJECT, RunningApp

pytestmark = pytest.mark.system

PASSWORD = "open sesame"
EXAMPLES = 12
PATIENCE_S = 30
#: Without AI it says 503, as it should; tests/test_uploads.py has the rest.
LEFT_OUT = {"complete"}
#: No schema says which bytes are sound.
TAKES_BYTES = {"store_chunk"}
KNOWN = ["CA1", "CA000", "CA404"]
MODES = st.sampled_from([GenerationMode.POSITIVE, GenerationMode.NEGATIVE])


def _description() -> dict[str, Any]:
    """The API's, but for who may ask: the tool knows nothing of sessions; tests/test_api.py does."""
    document = json.loads((PROJECT / "flaskapp" / "api" / "openapi.json").read_text())
    for methods in document["paths"].values():
        for told in methods.values():
            told.pop("security", None)
    return document


OPERATIONS = {
    found.ok().definition.raw["operationId"]: found.ok()
    for found in schemathesis.openapi.from_dict(_description()).get_all_operations()
}


@pytest.fixture
def served(gunicorn_app, config) -> RunningApp:
    """The app in public mode, with calls in its history."""
    settings = {"LOCAL": "0", "DASHBOARD_PASSWORD": PASSWORD}
    running: RunningApp = gunicorn_app(settings)
    of_ours: Flask = create_app({**config, "DATABASE_URL": running.environment["DATABASE_URL"]})
    open_calls(of_ours.extensions["history"], 5)
    conversation(of_ours.extensions["history"])
    return running


@pytest.fixture
def operator(served) -> Iterator[requests.Session]:
    """A browser that is signed in."""
    with requests.Session() as browser:
        browser.headers["Origin"] = served.url
        form = {"password": PASSWORD, "next": "/health"}
        done = browser.post(f"{served.url}/dashboard/login", data=form, timeout=PATIENCE_S)
        assert done.status_code == 200, done.text
        yield browser


def test_whatever_is_asked_the_answer_is_one_that_is_described(served, operator):
    statuses: dict[str, set[int]] = {name: set() for name in OPERATIONS}
    for name, operation in OPERATIONS.items():
        if name not in LEFT_OUT:
            ask_all_sorts_of_things(operation, served.url, operator, statuses[name])
    assert {200, 404, 422} <= statuses["calls"], "it was asked what makes sense, and what does not"
    assert {200, 404} <= statuses["call"]
    assert "Traceback" not in served.log.read_text()


def test_the_pages_commands_do_what_it_says(served):
    page = (PROJECT / "docs" / "api.md").read_text()
    blocks = "".join(re.findall(r"^```sh\n(.*?)^```", page, re.DOTALL | re.MULTILINE))
    told = {}
    for line in blocks.splitlines():
        typed = line.replace("https://voice.example.com", served.url)
        typed = typed.replace(".venv/bin/flask", f"{sys.executable} -m flask")
        environment = {**served.environment, "DASHBOARD_PASSWORD": PASSWORD}
        done = subprocess.run(
            typed,
            shell=True,
            env=environment,
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        told[line] = done.stdout
        is_wanted_wrong = "many" in line
        assert ("about:blank" in done.stdout) == is_wanted_wrong, done.stdout
        assert done.stdout, done.stderr
    assert any("WEBVTT" in each for each in told.values())
    assert any("What failed" in each for each in told.values())
    (second_page,) = [json.loads(each) for line, each in told.items() if "after=" in line]
    assert [each["call_sid"] for each in second_page["calls"]] == ["CA002", "CA001"]


def ask_all_sorts_of_things(operation, url, operator, statuses):
    """Questions as the description wants them, and others; some about calls that there are."""

    is_sound = operation.definition.raw["operationId"] in TAKES_BYTES

    @settings(max_examples=EXAMPLES, database=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def ask(data):
        mode = data.draw(MODES)
        case = data.draw(operation.as_strategy(generation_mode=mode))
        may_be_known = mode is GenerationMode.POSITIVE and "call_sid" in case.path_parameters
        if may_be_known and data.draw(st.booleans()):
            case.path_parameters["call_sid"] = data.draw(st.sampled_from(KNOWN))
        answer = case.call(base_url=url, session=operator, timeout=PATIENCE_S)
        statuses.add(answer.status_code)
        excluded = [checks.positive_data_acceptance] if is_sound else []
        case.validate_response(answer, excluded_checks=excluded)

    ask()

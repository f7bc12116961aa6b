"""What the pages show works as it stands there."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import time

import pytest
import yaml
from websockets.sync.client import connect

from flaskapp.phone.agent import read_agents
from tests import servers
from tests.conftest import PROJECT, environment_of
from tests.fakes import FakeRealtime, tone

pytestmark = pytest.mark.system


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page that are in this language."""
    text = (PROJECT / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_the_readmes_agent_file_is_one(tmp_path):
    (block,) = blocks("README.md", "yaml")
    assert yaml.safe_load(block)
    path = tmp_path / "agent.yml"
    path.write_text(block)
    agents = read_agents(path)
    assert agents.for_number("+15559870000").greeting == "Workshop, hello."
    assert agents.for_number("+15550000000").greeting.startswith("Bicycle shop")


def test_the_handlers_example_answers_a_call(tmp_path):
    (program,) = blocks("docs/using-the-handler.md", "python")
    port = servers.free_port()
    with FakeRealtime().running() as engine:
        environment = environment_of(
            tmp_path, {"PORT": str(port), "OPENAI_BASE_URL": engine.base_url, "OPENAI_API_KEY": "k"}
        )
        log = (tmp_path / "example.log").open("w+")
        process = subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=log, stderr=log)
        try:
            servers.wait_until(lambda: servers.answers(port), "the example does not listen")
            heard = one_call(port, engine)
        finally:
            servers.stop(process)
    said = (tmp_path / "example.log").read_text()
    assert heard == tone(600)
    assert "'transcript': 'reply of session 0'" in said
    assert "call_ended" in said
    assert "Traceback" not in said.split("'call_sid'", 1)[1]  # before: our own look at the port


def one_call(port: int, engine: FakeRealtime) -> bytes:
    """A carrier's stream by hand: what the caller hears of the greeting."""
    with connect(f"ws://127.0.0.1:{port}/media/CA1") as socket:
        media_format = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
        start = {"callSid": "CA1", "streamSid": "MZ1", "mediaFormat": media_format}
        socket.send(json.dumps({"event": "start", "streamSid": "MZ1", "start": start}))
        heard, deadline = b"", time.monotonic() + 20
        while len(heard) < len(tone(600)) and time.monotonic() < deadline:
            event = json.loads(socket.recv(timeout=20))
            if event["event"] == "media":
                heard += base64.b64decode(event["media"]["payload"])
        socket.send(json.dumps({"event": "stop", "streamSid": "MZ1", "stop": {}}))
        engine.wait_for(lambda fake: not fake.sessions[0].is_open)
        return heard

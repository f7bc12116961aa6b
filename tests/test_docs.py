"""What the pages show works as it stands there."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
import time

import pytest
import requests
import yaml
from websockets.sync.client import connect

from flaskapp.config import Settings
from flaskapp.phone.agent import Agent, read_agents
from flaskapp.phone.audio import mulaw_to_pcm16, write_wav
from flaskapp.phone.tools import CallContext, load_tools
from tests import servers
from tests.conftest import PROJECT, environment_of
from tests.fake_turns import FakeTurns
from tests.fakes import FakeRealtime, tone
from tests.system import proxy

pytestmark = pytest.mark.system

#: An agent's, as the file spells them.
FIELDS = set(Agent.__dataclass_fields__) - {"transfer_numbers"} | {"transfer_number"}


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


def test_the_agent_files_page_has_all_fields_of_one(tmp_path):
    (block,) = blocks("docs/agent-file.md", "yaml")
    path = tmp_path / "agent.yml"
    path.write_text(block)
    agents = read_agents(path)
    assert set(yaml.safe_load(block)) == FIELDS | {"numbers"}
    page = (PROJECT / "docs/agent-file.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == FIELDS | {"numbers"}
    front, workshop = agents.for_number("+15550000000"), agents.for_number("+1 (555) 987-0000")
    assert front.transfer_numbers == {"sales": "+15557654321", "the workshop": "+15557654322"}
    assert (front.limits.max_call_seconds, front.limits.max_call_cost_usd) == (900, 2)
    assert front.tools == ("order_status", "book_repair")
    assert (workshop.name, workshop.voice) == ("Workshop", "marin")
    assert workshop.transfer_numbers == {"person": "+15557654322"}
    assert (workshop.limits.max_call_seconds, workshop.limits.max_call_cost_usd) == (300, 2)
    quiet = agents.for_number("+15559870001")
    assert (quiet.greeting, quiet.transfer_numbers, quiet.tools) == ("", {}, ())
    assert Agent().greeting in page, "what is said where the greeting is missing"


def test_the_readmes_tool_is_one(tmp_path, monkeypatch):
    (program,) = [block for block in blocks("README.md", "python") if "@tool" in block]
    (tmp_path / "readmes_tools.py").write_text(program)
    monkeypatch.syspath_prepend(tmp_path)
    (tool,) = load_tools("readmes_tools")
    call = CallContext("CA1", "", "", Agent())
    assert (tool.name, tool.schema()["parameters"]["required"]) == ("opening_hours", ["day"])
    assert tool.perform(call, '{"day": "Monday"}').output == "closed"


def test_every_setting_that_a_page_names_exists():
    known = {name.upper() for name in Settings.model_fields} | {"BENCH_PEERS"}  # the benchmark's own
    for page in [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]:
        named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)\b", page.read_text()))
        assert named <= known, f"{page.name} names {', '.join(sorted(named - known))}"


def test_nginx_takes_what_the_page_on_deploying_shows(tmp_path):
    (block,) = blocks("docs/deploying.md", "nginx")
    configured = proxy.configuration(tmp_path, servers.free_port(), [5001], tls=True)
    text = configured.read_text()
    (own,) = re.findall(r"^ *upstream answerline \{.*?^ *\}\n", text, re.DOTALL | re.MULTILINE)
    configured.write_text(text.replace(own, block))
    checked = subprocess.run(
        proxy.command(configured, "-t"), capture_output=True, text=True, timeout=60, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_the_handlers_example_answers_a_call(tmp_path):
    program, _ = blocks("docs/using-the-handler.md", "python")  # the other: test_exotel_serves.py
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
    assert heard.endswith(tone(600))  # on a slow machine the first call hears "one moment" first
    assert "'transcript': 'reply of session 0'" in said
    assert "call_ended" in said
    assert "Traceback" not in said.split("'call_sid'", 1)[1]  # before: our own look at the port


def test_the_desks_example_answers_a_recording(tmp_path):
    (program,) = blocks("docs/using-the-desk.md", "python")
    voice = tmp_path / "voice.wav"
    voice.write_bytes(write_wav(mulaw_to_pcm16(tone(900))))
    with FakeTurns().running() as batch:
        environment = environment_of(tmp_path, {"OPENAI_BASE_URL": batch.base_url, "OPENAI_API_KEY": "k"})
        done = subprocess.run(
            [sys.executable, "-c", program, str(voice)],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.stdout.splitlines() == [
        "processed",
        "what are your opening hours",
        "We are open from nine to five.",
    ], done.stderr


def test_the_desks_curl_lines_hand_in_audio_and_have_it_answered(gunicorn_app, tmp_path):
    page = (PROJECT / "docs/using-the-desk.md").read_text()
    lines = re.findall(r"^curl .*$", page, re.MULTILINE)
    (tmp_path / "chunk.wav").write_bytes(write_wav(mulaw_to_pcm16(tone(900))))
    with FakeTurns().running() as batch:
        app = gunicorn_app({"OPENAI_BASE_URL": batch.base_url, "OPENAI_API_KEY": "k"})
        told = [
            json.loads(
                subprocess.run(
                    line.replace("http://localhost:5001", app.url),
                    shell=True,
                    cwd=tmp_path,
                    capture_output=True,
                    text=True,
                    timeout=60,
                    check=True,
                ).stdout
            )
            for line in lines
        ]
        url = f"{app.url}/phone/stream-audio/test123"
        part = {"audio": ("chunk.wav", b"fake_audio_data", "audio/wav")}
        assert requests.post(url, files=part, timeout=30).status_code == 200  # as a guide has it
    assert (told[0]["duration_ms"], told[0]["format"]) == (900, "wav")
    assert (told[1]["transcript"], told[1]["response"]) == (
        "what are your opening hours",
        "We are open from nine to five.",
    )


def one_call(port: int, engine: FakeRealtime) -> bytes:
    """A carrier's stream by hand: what the caller hears of the greeting."""
    with connect(f"ws://127.0.0.1:{port}/media/CA1") as socket:
        media_format = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
        start = {"callSid": "CA1", "streamSid": "MZ1", "mediaFormat": media_format}
        socket.send(json.dumps({"event": "start", "streamSid": "MZ1", "start": start}))
        heard, deadline = b"", time.monotonic() + 20
        while not heard.endswith(tone(600)) and time.monotonic() < deadline:
            event = json.loads(socket.recv(timeout=20))
            if event["event"] == "media":
                heard += base64.b64decode(event["media"]["payload"])
        socket.send(json.dumps({"event": "stop", "streamSid": "MZ1", "stop": {}}))
        engine.wait_for(lambda fake: fake.sessions and not fake.sessions[0].is_open)
        return heard


def test_the_privacy_pages_commands_do_what_it_says(tmp_path, empty_calls):
    shutil.copy(empty_calls, tmp_path / empty_calls.name)
    environment = environment_of(tmp_path, {"AUDIO_DIR": str(tmp_path / "audio")})
    key, looked, removed = (
        subprocess.run(
            [sys.executable, "-m", *block.replace(".venv/bin/", "").split()],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout
        for block in blocks("docs/privacy.md", "")
    )
    assert len(base64.urlsafe_b64decode(key)) == 32
    assert (looked, removed) == (
        "Would remove 0 calls, 0.0 MB of sound.\n",
        "Removed 0 calls, 0 rows, 0.0 MB of sound.\n",
    )
    page = (PROJECT / "docs/privacy.md").read_text()
    named = set(re.findall(r"`([A-Z]+_[A-Z_]+)[`=]", page))
    assert named <= {name.upper() for name in Settings.model_fields}

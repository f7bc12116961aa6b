"""`python exotel.py` with the guide's environment and the guide's own messages, byte for byte."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests import servers
from tests.conftest import PROJECT, RunningApp, environment_of
from tests.fakes import Behaviour, FakeRealtime, tone

pytestmark = pytest.mark.system

PATIENCE_S = 30.0
START = '{"event":"start","start":{"stream_sid":"stream_id","call_sid":"call_id"}}'
MEDIA = '{"event":"media","media":{"payload":"base64_encoded_audio","timestamp":"timestamp"}}'
STOP = '{"event":"stop"}'
SUBSCRIBE = "call_id"


@pytest.fixture
def engine() -> Iterator[FakeRealtime]:
    with FakeRealtime(Behaviour(hears=False)).running() as fake:
        yield fake


def exotel(folder, *arguments: str, **settings: str) -> subprocess.Popen[bytes]:
    environment = environment_of(folder, settings)
    output = (folder / "exotel.log").open("wb")
    command = [sys.executable, str(PROJECT / "exotel.py"), *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)


@pytest.fixture
def app(tmp_path, engine) -> Iterator[RunningApp]:
    """The guide's environment, and nothing more; the engine at its address is the tests'."""
    port = str(servers.free_port())
    guide = {
        "AZURE_OPENAI_ENDPOINT": engine.origin,
        "AZURE_OPENAI_REALTIME_DEPLOYMENT": "gpt-realtime",
        "AZURE_OPENAI_API_KEY": "key",
        "AZURE_OPENAI_REALTIME_VOICE_CHOICE": "alloy",
        "PORT": port,
    }
    process = exotel(tmp_path, **guide)
    app = RunningApp(f"http://127.0.0.1:{port}", tmp_path / "exotel.log", process, {})
    servers.wait_until(app.is_healthy, "no /health")
    yield app
    servers.stop(process, patience_s=60)


def test_the_guide_s_messages_work_as_they_stand(app, engine):
    base = app.url.replace("http", "ws")
    with contextlib.ExitStack() as closing:
        caller = closing.enter_context(connect(f"{base}/exotel"))
        reader = None
        with contextlib.suppress(InvalidStatus):
            reader = closing.enter_context(connect(f"{base}/client"))
            reader.send(SUBSCRIBE)
        caller.send(START)
        caller.send(MEDIA)
        engine.wait_for(lambda fake: fake.sessions and fake.sessions[0].session)
        session = engine.sessions[0]
        assert session.path.startswith("/openai/v1/realtime")
        engine.say(session, tone(400))
        heard = json.loads(caller.recv(timeout=PATIENCE_S))
        assert (heard["event"], heard["stream_sid"], heard["streamSid"]) == (
            "media",
            "stream_id",
            "stream_id",
        )
        if reader is not None:
            told = json.loads(reader.recv(timeout=PATIENCE_S))
            assert told["call_sid"] == "call_id"
        caller.send(STOP)
        with contextlib.suppress(ConnectionClosed):
            while True:
                caller.recv(timeout=PATIENCE_S)
        assert caller.close_code == 1000
    said = app.log.read_text()
    assert "Traceback" not in said
    assert "/exotel?stream-type=unidirectional" in said
    assert "Only this machine is let in" in said


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_it_is_told_to(app, how):
    assert servers.stop(app.process, how, patience_s=60) == 0
    assert "Traceback" not in app.log.read_text()


def test_what_is_wrong_is_said_in_a_line_and_nothing_is_served(tmp_path):
    process = exotel(tmp_path, PORT="five")
    assert process.wait(60) == 1
    said = (tmp_path / "exotel.log").read_text()
    assert said.startswith("PORT is wrong")
    assert len(said.splitlines()) == 1


def test_help_is_short_and_serves_nothing(tmp_path):
    process = exotel(tmp_path, "--help")
    assert process.wait(60) == 0
    assert "AZURE_OPENAI_ENDPOINT" in (tmp_path / "exotel.log").read_text()


def test_the_page_s_example_answers_a_call(tmp_path, engine):
    page = (PROJECT / "docs/using-the-handler.md").read_text()
    (program,) = (
        block
        for block in re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
        if "exotel import AudioHandler" in block
    )
    port = servers.free_port()
    own = {"PORT": str(port), "OPENAI_BASE_URL": engine.base_url, "OPENAI_API_KEY": "k"}
    log = (tmp_path / "example.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-c", program], env=environment_of(tmp_path, own), stdout=log, stderr=log
    )
    try:
        servers.wait_until(lambda: servers.answers(port), "the example does not listen")
        with connect(f"ws://127.0.0.1:{port}/exotel") as caller:
            caller.send(START)
            engine.wait_for(lambda fake: fake.sessions and fake.sessions[0].session)
            engine.say(engine.sessions[0], tone(400))
            assert json.loads(caller.recv(timeout=PATIENCE_S))["event"] == "media"
            caller.send(STOP)
            with contextlib.suppress(ConnectionClosed):
                while True:
                    caller.recv(timeout=PATIENCE_S)
            assert caller.close_code == 1000
        said = tmp_path / "example.log"
        servers.wait_until(lambda: "call_ended" in said.read_text(), "the end is not told")
        assert "'call_sid': 'call_id'" in said.read_text()
    finally:
        servers.stop(process)

"""`make run` and `make demo` beneath make: what they print, what they refuse, what they leave behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import wave
from pathlib import Path

import pytest

from flaskapp.config import load_settings
from flaskapp.local import _what_next, trial_of
from tests import servers
from tests.conftest import environment_of

PROJECT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.system


def local(command: str, folder: Path, **settings: str) -> subprocess.Popen[str]:
    """`python -m flaskapp.local ...`, its words in a pipe."""
    return subprocess.Popen(
        [sys.executable, "-m", "flaskapp.local", command],
        cwd=folder,
        env=environment_of(folder, settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finished(process: subprocess.Popen[str], patience_s: float = 240) -> tuple[int, str, str]:
    """Exit code, words and complaints."""
    said, complained = process.communicate(timeout=patience_s)
    return process.returncode, said, complained


def descendants(pid: int) -> list[int]:
    """All processes below one, deepest last."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *descendants(child)]
    return found


def is_alive(pid: int) -> bool:
    """Whether it runs; the dead that nobody buried do not count."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def running(tmp_path):
    """`run` on a free port, with a compatible engine named so that no speech server is needed."""
    port = servers.free_port()
    engine = {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "flaskapp.local", "run"],
            cwd=tmp_path,
            env=environment_of(tmp_path, {"PORT": str(port), **engine}),
            stdout=said,
            stderr=said,
        )
    try:
        servers.wait_until(lambda: "Answerline is ready" in (tmp_path / "said").read_text(), "not ready")
        yield process, port, tmp_path / "said"
    finally:
        servers.stop(process)


def test_run_says_what_to_do_next(running):
    _, port, said = running
    text = said.read_text()
    assert f"Answerline is ready at http://127.0.0.1:{port}" in text
    assert f"http://127.0.0.1:{port}/phone/incoming-call-streaming" in text
    assert f"flask phone dial http://127.0.0.1:{port}" in text


def test_a_server_without_an_account_looks_for_recordings_where_the_simulated_carrier_keeps_them(running):
    process, _, said = running
    environments = [Path(f"/proc/{pid}/environ").read_text() for pid in descendants(process.pid)]
    assert any("\0TWILIO_API_BASE_URL=http://127.0.0.1:5055\0" in each for each in environments)
    assert "--record-path" in said.read_text()


@pytest.mark.parametrize(
    ("configured", "is_trial"),
    [
        ({}, True),
        ({"TWILIO_API_BASE_URL": ""}, True),
        ({"TWILIO_API_BASE_URL": "http://127.0.0.1:5066"}, False),
        ({"TWILIO_API_BASE_URL": "https://api.twilio.com"}, False),
        ({"TWILIO_ACCOUNT_SID": "AC1", "TWILIO_AUTH_TOKEN": "x"}, False),
    ],
)
def test_whoever_has_an_account_or_names_an_address_keeps_them(configured, is_trial):
    settings = load_settings({"SECRET_KEY": "tests", **configured}, env_file=None)
    assert ("TWILIO_API_BASE_URL" in trial_of(settings)) == is_trial


@pytest.mark.parametrize(
    ("configured", "is_kept"),
    [
        ({}, True),
        ({"OPENAI_API_KEY": "sk-1"}, True),
        ({"RECORD_CALLS": "0"}, False),
        ({"TWILIO_ACCOUNT_SID": "AC1", "TWILIO_AUTH_TOKEN": "x"}, False),
        ({"EXOTEL_API_KEY": "key", "EXOTEL_API_TOKEN": "x"}, False),
    ],
)
def test_the_sound_of_a_trial_is_kept_and_of_people_who_call_only_if_somebody_says_so(configured, is_kept):
    settings = load_settings({"SECRET_KEY": "tests", **configured}, env_file=None)
    assert ("RECORD_CALLS" in trial_of(settings)) == is_kept


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("audio", "Calls are kept with their sound in {}"),
        ("taken/audio", "Calls are kept without their sound, for AUDIO_DIR={} takes none (Not a directory)"),
    ],
)
def test_the_sound_of_calls_is_promised_only_where_it_can_be_kept(tmp_path, folder, said):
    (tmp_path / "taken").touch()
    path = str(tmp_path / folder)
    text = _what_next(load_settings({"SECRET_KEY": "tests", "AUDIO_DIR": path}, env_file=None), keeps=True)
    assert said.format(path) in text


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_whatever_ends_run_nothing_is_left_behind(running, how):
    process, port, _ = running
    below = descendants(process.pid)
    assert below
    process.send_signal(how)
    process.wait(60)
    servers.wait_until(lambda: not any(map(is_alive, below)), "orphans")
    assert not servers.answers(port)


def test_an_app_that_ends_ends_run_and_says_so(running):
    process, _, said = running
    os.kill(descendants(process.pid)[0], signal.SIGTERM)
    assert process.wait(60) == 1
    assert "The app ended" in said.read_text()


def test_run_refuses_a_taken_port_with_the_remedy(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, _, complained = finished(local("run", tmp_path, PORT=str(port)))
    assert code == 1
    assert complained.splitlines() == [
        f"Port {port} on 127.0.0.1 is taken: stop what listens there, or use another,"
        f" as in PORT={port + 1} make run"
    ]


@pytest.mark.parametrize("content", [None, b"", b"no recording at all, but long enough for a header....."])
def test_demo_refuses_a_voice_that_is_no_recording(tmp_path, content):
    path = tmp_path / "voice.wav"
    if content is not None:
        path.write_bytes(content)
    code, _, complained = finished(local("demo", tmp_path, WAV=str(path), OUT=str(tmp_path / "out")))
    assert code == 1
    (line,) = complained.splitlines()
    assert line.startswith(f"WAV={path}")


def test_wrong_settings_are_a_line_each(tmp_path):
    (tmp_path / ".env").write_text("LOG_LEVEL=loud\n")
    code, _, complained = finished(local("demo", tmp_path, OUT=str(tmp_path / "out")))
    assert (code, complained.split()[0], len(complained.splitlines())) == (1, "LOG_LEVEL", 1)


def test_demo_answers_a_signed_call_whatever_the_users_own_settings_are(tmp_path):
    (tmp_path / ".env").write_text(
        "TWILIO_ACCOUNT_SID=ACmine\nTWILIO_AUTH_TOKEN=mine\nFLASK_BASE_URL=https://voice.example.com\n"
        "REDIS_URL=redis://127.0.0.1:1/0\nDATABASE_URL=postgres://127.0.0.1:1/mine\nWEB_CONCURRENCY=4\n"
    )
    out, began = tmp_path / "out", time.monotonic()
    code, said, complained = finished(local("demo", tmp_path, OUT=str(out)))
    assert code == 0, said + complained
    assert "The caller was heard and answered" in said
    sid = json.loads((out / "transcript.json").read_text())["call_sid"]
    with sqlite3.connect(PROJECT / "instance" / "demo.sqlite3") as kept:
        query = "SELECT speaker FROM turns JOIN calls ON calls.id = call_id WHERE call_sid = ?"
        assert set(kept.execute(query, [sid])) == {("agent",), ("caller",)}
    transcript = json.loads((out / "transcript.json").read_text())
    assert {line["speaker"] for line in transcript["lines"]} == {"caller", "agent"}
    with wave.open(str(out / "call.wav")) as recording:
        assert recording.getnchannels() == 2
    assert json.loads((out / "report.json").read_text())
    assert time.monotonic() - began < 120

"""``flask phone dial``, ``load`` and ``curl``, as a person types them, in processes of their own."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from flaskapp.local import SIMULATED_API
from flaskapp.phone import audio
from flaskapp.simulator import sounds
from flaskapp.simulator.orders import TRIAL, Order, api_url, port_of
from flaskapp.simulator.transcript import Transcript
from tests.simulator.cli_app import create_app
from tests.simulator.stub_bridge import StubBridge, conversation, hanging_up, streaming

TOKEN = "12345"
TURNS = [
    {"position": 1, "speaker": "agent", "text": "Hello.", "item": "a", "start_ms": 0, "end_ms": 400},
    {"position": 2, "speaker": "caller", "text": "Hours?", "item": "b", "start_ms": 900, "end_ms": 1300},
    {
        **{"position": 3, "speaker": "agent", "text": "Nine to five.", "item": "c"},
        **{"start_ms": 1600, "end_ms": 2200, "engine_ms": 287, "bridge_ms": 13},
    },
]


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str


async def phone(*arguments: str, **environment: str) -> Result:
    """Runs ``flask phone ...`` with the stub application's settings."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "flask", "--app", "tests.simulator.cli_app", "phone"),
        *arguments,
        env={**os.environ, "STUB_TOKEN": TOKEN, "COLUMNS": "200", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return Result(process.returncode or 0, out.decode(), err.decode())


def answering() -> StubBridge:
    """An application under the paths of ours."""
    bridge = StubBridge(TOKEN)
    bridge.answers["/phone/incoming-call-streaming"] = streaming
    bridge.answers["/phone/incoming-call"] = streaming
    bridge.answers["/after"] = hanging_up
    bridge.talk = conversation(sounds.tone(0.2, 300), sounds.tone(0.3, 400))
    return bridge


@pytest.fixture(scope="module")
def wav(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A short utterance of 16-bit PCM at 16 kHz."""
    pcm = audio.resample_pcm16(audio.mulaw_to_pcm16(sounds.tone(0.3, 350)), 8000, 16000)
    path = tmp_path_factory.mktemp("voice") / "hours please.wav"
    path.write_bytes(audio.write_wav(pcm, 16000))
    return str(path)


@dataclass(frozen=True)
class Typed:
    """What six commands left behind that were typed at the same time, at four applications."""

    known: Result
    patched: Result
    unknown: Result
    table: Result
    loaded: Result
    failing: Result
    out: Path
    bridges: tuple[StubBridge, StubBridge, StubBridge, StubBridge]


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory, wav: str) -> Typed:
    """Together they take as long as the longest of them."""
    folder = tmp_path_factory.mktemp("typed")
    turns, out = folder / "turns.json", folder / "deep" / "out"
    turns.write_text(json.dumps(TURNS))
    insist = ("--wav", wav, "--require-transcript")
    load = ("load", "--calls", "3", "--seconds", "2.5", "--wav", wav)

    async def type_them() -> Typed:
        async with answering() as one, answering() as two, answering() as three, answering() as four:
            four.answers["/mine"] = streaming
            results = await asyncio.gather(
                phone("dial", one.url, *insist, "--out", str(out), STUB_TURNS=str(turns)),
                phone("dial", two.url, "--wav", wav, "--json", STUB_PATCHED="1"),
                phone("dial", three.url, *insist, "--record-path", STUB_ACCOUNT="AC1"),
                phone(*load, four.url),
                phone(*load, f"{four.url}/mine", "--json", STUB_TOKEN=""),
                phone(*load, f"{four.url}/nothing", "--json"),
            )
            return Typed(*results, out=out, bridges=(one, two, three, four))

    return asyncio.run(type_them())


def test_dial_shows_the_transcript_and_what_the_ear_measured(typed):
    result, bridge = typed.known, typed.bridges[0]
    assert (result.code, result.err) == (0, "")
    assert all(hook.signed for hook in bridge.hooks)
    assert bridge.paths()[0] == "/phone/incoming-call-streaming"
    assert bridge.paths()[-1] == "/phone/call-status"
    assert "caller: Hours?" in result.out
    row = next(line for line in result.out.splitlines() if line.startswith("hours please"))
    assert row.split()[3:5] == ["287", "13"]
    assert "\x1b" not in result.out


def test_dial_writes_the_call_down(typed):
    transcript = json.loads((typed.out / "transcript.json").read_text())
    report = json.loads((typed.out / "report.json").read_text())
    sound = (typed.out / "call.wav").read_bytes()
    assert [line["speaker"] for line in transcript["lines"]] == ["agent", "caller", "agent"]
    assert report["call_sid"] == transcript["call_sid"]
    assert report["turns"][0]["latency_ms"] > 0
    assert sound[22] == 2  # channels
    assert audio.read_wav(sound).duration_ms > 1000


def test_dial_works_in_a_process_that_gevent_has_patched(typed):
    assert (typed.patched.code, typed.patched.err) == (0, "")
    report = json.loads(typed.patched.out)
    assert report["answered"]
    assert report["pacing"]["frames"] > 50


def test_without_a_transcript_dial_says_so_and_may_insist(typed):
    result = typed.unknown
    assert result.code == 1
    assert "this machine's database does not know the call" in result.out
    assert "answered, but no transcript" in result.err
    assert "TWILIO_API_BASE_URL" in result.err
    assert typed.bridges[2].paths()[0] == "/phone/incoming-call"


async def test_dial_names_a_server_that_does_not_run():
    result = await phone("dial", "http://127.0.0.1:9")
    assert result.code == 1
    (line,) = result.err.splitlines()
    assert "Connection refused" in line
    assert "make run" in line


@pytest.mark.parametrize(
    "arguments",
    [
        ["dial"],
        ["dial", "ftp://x"],
        ["dial", "127.0.0.1:5001"],
        ["dial", "http://h", "--wav", "no-such.wav"],
        ["dial", "http://h", "--wav", "pyproject.toml"],
        ["dial", "http://h", "--carrier", "pigeon"],
        ["dial", "http://h", "--public-url", "phone.example"],
        ["load", "http://h", "--calls", "0"],
        ["curl", "/phone/x", "CallSid"],
    ],
)
def test_a_wrong_question_ends_with_2(arguments):
    result = create_app().test_cli_runner().invoke(args=["phone", *arguments])
    assert (result.exit_code, result.stdout) == (2, "")


def test_load_counts_what_failed_and_gives_percentiles(typed):
    mine = [hook for hook in typed.bridges[3].hooks if hook.path == "/mine"]
    assert (typed.table.code, typed.table.err) == (0, "")
    assert "turn latency" in typed.table.out
    summary = json.loads(typed.loaded.out)
    assert (typed.loaded.code, summary["failed"], summary["calls"]) == (0, 0, 3)
    assert summary["turn_latency_ms"]["p95"] > 0
    assert summary["frame_lateness_ms"]["n"] == summary["frames"] > 200
    assert len({hook.form["From"] for hook in mine}) == 3
    assert not any("X-Twilio-Signature" in hook.headers for hook in mine)
    assert (typed.failing.code, json.loads(typed.failing.out)["failed"]) == (1, 3)
    assert "3 failed" in typed.failing.err


async def test_curl_prints_a_line_that_the_application_accepts():
    async with answering() as bridge:
        line = (await phone("curl", f"{bridge.url}/phone/x", "CallSid=CA1", "From=+1 2'3 &")).out
        process = await asyncio.create_subprocess_shell(line.replace("curl ", "curl -sf ", 1))
        assert await process.wait() == 0
        (hook,) = bridge.hooks
        assert (hook.signed, hook.form) == (True, {"CallSid": "CA1", "From": "+1 2'3 &"})
    bare = (await phone("curl", "phone/x", STUB_TOKEN="")).out
    assert bare == "curl -X POST http://127.0.0.1:5001/phone/x\n"


def test_an_order_survives_its_way_to_the_other_process_and_hides_the_secret():
    order = Order("http://h/p", auth_token="secret", wavs=("a.wav",))
    assert Order.from_json(order.to_json()) == order
    assert "secret" not in repr(order)


def test_an_origin_gets_our_paths_and_a_whole_url_is_the_webhook_itself():
    order = Order.to("http://127.0.0.1:5001/", record_path=True)
    assert (order.url, order.fallback_url, order.status_callback) == (
        "http://127.0.0.1:5001/phone/incoming-call",
        "http://127.0.0.1:5001/phone/fallback",
        "http://127.0.0.1:5001/phone/call-status",
    )
    whole = Order.to("http://127.0.0.1:5001/mine")
    assert (whole.url, whole.fallback_url, whole.status_callback) == ("http://127.0.0.1:5001/mine", "", "")


def test_callers_of_a_load_have_numbers_of_their_own():
    assert len({spec.from_number for spec in Order("http://h/p", calls=50).specs()}) == 50


@pytest.mark.parametrize(
    ("configured", "account", "server", "found"),
    [
        ("http://127.0.0.1:5066", "AC1", "https://voice.example.com", "http://127.0.0.1:5066"),
        ("http://localhost:5066", "", "http://127.0.0.1:5001", "http://localhost:5066"),
        ("https://api.twilio.com", "", "http://127.0.0.1:5001", TRIAL),
        ("", "", "http://localhost:5001", TRIAL),
        ("https://api.twilio.com", "AC1", "http://127.0.0.1:5001", ""),
        ("https://api.twilio.com", "", "https://voice.example.com", ""),
        ("https://provider.example", "", "http://127.0.0.1:5001", ""),
    ],
)
def test_the_rest_api_is_where_the_server_will_look_for_it(configured, account, server, found):
    assert api_url(configured, account, server) == found


def test_a_server_and_a_caller_without_settings_agree_where_that_is():
    assert SIMULATED_API == TRIAL
    assert (port_of(TRIAL), port_of("http://localhost"), port_of("")) == (5055, 80, 0)


async def test_a_port_that_is_taken_is_named_before_anybody_is_called():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with answering() as bridge:
            command = ("dial", bridge.url, "--record-path", "--seconds", "1")
            result = await phone(*command, STUB_API=f"http://127.0.0.1:{port}")
            assert bridge.hooks == []
    assert result.code == 1
    (line,) = result.err.splitlines()
    assert f"port {port} is taken (Address already in use)" in line
    assert f"TWILIO_API_BASE_URL=http://127.0.0.1:{port + 1}" in line


def test_a_line_is_shown_once_it_no_longer_grows():
    heard = [{"position": 1, "speaker": "agent", "text": "He", "item": "a"}]
    transcript = Transcript(lambda _: [dict(turn) for turn in heard])
    assert transcript.look("CA1") == []
    heard[0]["text"] = "Hello."
    assert transcript.look("CA1") == []
    assert [turn["text"] for turn in transcript.look("CA1")] == ["Hello."]
    assert transcript.look("CA1", final=True) == []
    assert not transcript.two_sided

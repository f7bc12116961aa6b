"""``flask phone dial --record-path`` from end to end: human voices, fetched by the other side."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path

import pytest

from flaskapp.phone.audio import read_wav
from flaskapp.phone.errors import NotReady
from flaskapp.phone.fetch import Fetched, RecordingHost
from flaskapp.simulator.sounds import from_wav
from tests import servers
from tests.simulator.stub_bridge import StubBridge
from tests.simulator.test_phone_commands import phone

SOUNDS = Path("/usr/share/asterisk/sounds/en")
VOICES = ("auth-thankyou", "please-try-again", "privacy-thankyou")
RECORD = '<Record action="/process" timeout="2" recordingStatusCallback="/told"/><Redirect>/in</Redirect>'

needs_voices = pytest.mark.skipif(
    not SOUNDS.is_dir(), reason="needs Debian's asterisk-core-sounds-en-wav (real voices)"
)


class FetchingBridge(StubBridge):
    """Records the caller, fetches each recording as the application does, and then answers."""

    def __init__(self, api_url: str, token: str = "") -> None:
        super().__init__(token)
        self.host = RecordingHost(api_url)
        self.fetched: list[Fetched] = []
        self._jobs: list[asyncio.Task[None]] = []
        self._numbers = itertools.count(1)
        self.answers["/phone/incoming-call"] = lambda *_: f"<Response><Say>Hello.</Say>{RECORD}</Response>"
        self.answers["/process"] = FetchingBridge._process
        self.answers["/poll"] = FetchingBridge._poll

    def _process(self, _: object, form: dict[str, str]) -> str:
        if "RecordingUrl" in form:
            self._jobs.append(asyncio.create_task(self._fetch(form)))
        return '<Response><Pause length="1"/><Redirect>/poll</Redirect></Response>'

    def _poll(self, _: object, __: dict[str, str]) -> str:
        if not self._jobs[-1].done():
            return '<Response><Pause length="1"/><Redirect>/poll</Redirect></Response>'
        return f"<Response><Say>Answer {next(self._numbers)}.</Say>{RECORD}</Response>"

    async def _fetch(self, form: dict[str, str]) -> None:
        which = self.host.identify(form["RecordingUrl"], form["RecordingSid"], form["AccountSid"])
        while True:
            try:
                self.fetched.append(await asyncio.to_thread(self.host.fetch, which))
                return
            except NotReady:
                await asyncio.sleep(0.2)


@needs_voices
async def test_three_voices_are_recorded_fetched_and_answered_without_any_account(tmp_path):
    wavs = [SOUNDS / f"{name}.wav" for name in VOICES]
    turns = tmp_path / "turns.json"
    speakers = ["agent", *["caller", "agent"] * 3]
    turns.write_text(
        json.dumps(
            [
                {
                    **{"position": at, "speaker": speaker, "text": f"Line {at}.", "item": str(at)},
                    **{"start_ms": at * 1000, "end_ms": at * 1000 + 900, "mode": "recorded"},
                }
                for at, speaker in enumerate(speakers, 1)
            ]
        )
    )
    api = f"http://localhost:{servers.free_port()}"
    async with FetchingBridge(api) as bridge:
        arguments = [part for wav in wavs for part in ("--wav", str(wav))]
        result = await phone(
            *(
                "dial",
                bridge.url,
                "--record-path",
                "--require-transcript",
                "--out",
                str(tmp_path),
                *arguments,
            ),
            **{"STUB_TOKEN": "", "STUB_API": api, "STUB_TURNS": str(turns)},
        )
    assert (result.code, result.err) == (0, "")
    report = json.loads((tmp_path / "report.json").read_text())
    assert [made["reply"] for made in report["recordings"]] == ["Answer 1.", "Answer 2.", "Answer 3."]
    assert [turn["utterance"] for turn in report["turns"]] == list(VOICES)
    assert report["longest_silence_ms"] < 10_000
    for got, wav in zip(bridge.fetched, wavs, strict=True):
        assert not got.is_truncated
        spoken_ms = len(from_wav(wav)) / 8
        assert spoken_ms - 900 < got.sound.duration_ms < spoken_ms + 500  # silence at the ends is trimmed
    rows = [line for line in result.out.splitlines() if line.startswith("reply to recording")]
    assert len(rows) == 3
    assert "caller (recorded): Line 2." in result.out
    heard = read_wav((tmp_path / "call.wav").read_bytes())
    assert heard.duration_ms == pytest.approx(report["duration_s"] * 1000, rel=0.2)


@needs_voices
async def test_many_recorded_callers_share_one_rest_api():
    api = f"http://127.0.0.1:{servers.free_port()}"
    wav = str(SOUNDS / f"{VOICES[0]}.wav")
    async with FetchingBridge(api) as bridge:
        command = ("load", bridge.url, "--record-path", "--calls", "3", "--seconds", "12", "--wav", wav)
        result = await phone(*command, "--json", STUB_TOKEN="", STUB_API=api)
        assert len(bridge.fetched) >= 3
    summary = json.loads(result.out)
    assert (result.code, summary["failed"]) == (0, 0), result.err
    assert summary["answer_ms"]["n"] >= 3

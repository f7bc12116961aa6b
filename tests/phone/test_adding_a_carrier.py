"""The carrier in docs/adding-a-carrier.md passes the contract as it stands there, and brings a call."""

from __future__ import annotations

import base64
import json
import re
import threading
from pathlib import Path
from typing import Any

from flaskapp.phone.agent import Agent, Agents
from flaskapp.phone.rtmt_audio_handler import RTMTAudioHandler
from tests.fakes import Behaviour, FakeRealtime, tone
from tests.phone.callers import Caller, Ear, eventually

PROJECT = Path(__file__).resolve().parents[2]
PAGE = (PROJECT / "docs" / "adding-a-carrier.md").read_text()
CARRIERS = {"base.py", "exotel.py"}  # named without their folder

_page: dict[str, Any] = {"__name__": "page"}
for _block in re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
    exec(compile(_block, "docs/adding-a-carrier.md", "exec"), _page)

TestTinCan = _page["TestTinCan"]  # collected with all that it inherits


class TinCan(Caller):
    """Who calls over that carrier."""

    def starts(self) -> None:
        self._says({"event": "hello", "line": "L1", "call": self.call_sid})

    def speaks(self, sound: bytes) -> None:
        self._says({"event": "sound", "sound": base64.b64encode(sound).decode()})

    def hangs_up(self) -> None:
        self._says({"event": "bye"})

    def _says(self, message: dict[str, Any]) -> None:
        self.inbox.put(json.dumps(message))

    @property
    def heard(self) -> bytes:
        sounds = (each["sound"] for each in self.messages if each["event"] == "sound")
        return b"".join(base64.b64decode(sound) for sound in sounds)


def test_a_call_over_the_page_s_carrier_is_heard_and_answered():
    ear, caller, question, answer = Ear(), TinCan("C1"), tone(1000), tone(1500, seed=2)
    with FakeRealtime(Behaviour(hears=False)).running() as engine:
        handler = RTMTAudioHandler(
            engine.base_url, "gpt-realtime", "key", agents=Agents(Agent(greeting="")), listener=ear
        )
        carrier = _page["TinCanStream"]()
        thread = threading.Thread(
            target=handler.serve, args=(caller, "C1"), kwargs={"carrier": carrier}, daemon=True
        )
        thread.start()
        caller.starts()
        caller.speaks(question)
        engine.wait_for(lambda fake: fake.sessions and bytes(fake.sessions[0].audio) == question)
        engine.say(engine.sessions[0], answer)
        eventually(lambda: len(caller.heard) >= len(answer), within_s=30)
        caller.hangs_up()
        thread.join(30)
    assert not thread.is_alive()
    assert caller.heard == answer
    assert ear.faults == []
    assert [ended.call_sid for ended in ear.ended] == ["C1"]


def test_the_page_s_files_exist():
    files = re.findall(r"`((?:flaskapp|tests)/[a-z_/]+\.py)`", PAGE)
    files += [
        f"flaskapp/phone/{name}" for name in re.findall(r"`([a-z_]+\.py)`", PAGE) if name not in CARRIERS
    ]
    assert len(files) > 10
    assert [file for file in files if not (PROJECT / file).exists()] == []

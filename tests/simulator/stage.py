"""The two sides of a test: a stub application and a network that calls it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from flaskapp.simulator import sounds
from flaskapp.simulator.network import Network
from flaskapp.simulator.person import Script, Utterance
from flaskapp.simulator.report import CallReport, Message
from flaskapp.simulator.spec import CallSpec
from flaskapp.simulator.twilio.account import Account
from tests.simulator.stub_bridge import StubBridge, hanging_up, streaming

HELLO = Utterance(sounds.tone(0.3, 350), name="hello")
SILENT = Script(hang_up="never")


@dataclass
class Stage:
    """``call`` places one call to the bridge's ``/in``; messages and events are collected."""

    bridge: StubBridge
    network: Network
    messages: list[Message] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    async def call(self, script: Script = SILENT, seconds: float = 20.0, **more: Any) -> CallReport:
        more.setdefault("url", f"{self.bridge.url}/in")
        spec = CallSpec(
            script=script,
            seconds=seconds,
            watch=self.messages.append,
            on_event=self.events.append,
            **more,
        )
        return await self.network.place_call(spec)


def speaks(*utterances: Utterance, **more: Any) -> Script:
    """A caller who does not wait long."""
    return Script(utterances or (HELLO,), **{"greeting_wait_s": 0.2, "quiet_ms": 300, **more})


@asynccontextmanager
async def stage(public: str = "", **network: Any) -> AsyncIterator[Stage]:
    """A bridge that answers ``/in`` with a stream, and a network with the account that it trusts."""
    account = Account()
    async with StubBridge(account.auth_token, public) as bridge, Network(account, **network) as line:
        bridge.answers["/in"] = streaming
        bridge.answers["/after"] = hanging_up
        yield Stage(bridge, line)

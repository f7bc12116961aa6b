"""How sessions are opened: addresses, keys, tokens, and servers that say no."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, field

import pytest

from flaskapp.phone.agent import Agent, Agents
from flaskapp.phone.engines.connection import Engine, endpoint
from flaskapp.phone.errors import EngineRejected
from flaskapp.phone.rtmt_audio_handler import RTMTAudioHandler
from tests.fakes import Behaviour, FakeRealtime
from tests.phone.callers import Ear, begin

QUIET = Agents(Agent(greeting=""))


@dataclass
class Token:
    token: str
    expires_on: int


@dataclass
class Credential:
    """As azure-identity's: gives tokens that live so many seconds, and counts them."""

    lives_s: int
    scopes: list[str] = field(default_factory=list)

    def get_token(self, *scopes: str) -> Token:
        self.scopes += scopes
        return Token(f"token-{len(self.scopes)}", int(time.time()) + self.lives_s)


@dataclass
class KeyCredential:
    """As azure-core's AzureKeyCredential."""

    key: str


@pytest.fixture
def engine():
    with FakeRealtime(Behaviour(hears=False)).running() as fake:
        yield fake


def one_call(handler, engine, call_sid="CA1"):
    """A call from start to end; the engine's session."""
    count = len(engine.sessions)
    caller, thread = begin(handler, call_sid)
    session = engine.wait_for(lambda fake: len(fake.sessions) > count and fake.sessions[count])
    engine.wait_for(lambda fake: session.of_type("session.update"))
    caller.hangs_up()
    thread.join(10)
    assert caller.closed_with == 1000
    return session


def test_an_azure_resource_is_dialled_at_its_ga_address(engine):
    session = one_call(RTMTAudioHandler(engine.origin, "my-deployment", "KEY"), engine)
    assert session.path == "/openai/v1/realtime?model=my-deployment"


def test_another_server_is_dialled_at_its_own_address(engine):
    session = one_call(RTMTAudioHandler(engine.base_url, "gpt-realtime", "KEY"), engine)
    assert session.path == "/v1/realtime?model=gpt-realtime"
    assert session.headers["authorization"] == "Bearer KEY"


@pytest.mark.parametrize("credential", ["KEY", KeyCredential("KEY")])
def test_a_key_for_azure_goes_as_api_key_and_only_so(engine, credential):
    headers = one_call(RTMTAudioHandler(engine.origin, "d", credential), engine).headers
    assert headers["api-key"] == "KEY"
    assert "authorization" not in headers


def test_nobody_sends_the_dead_beta_header(engine):
    assert "openai-beta" not in one_call(RTMTAudioHandler(engine.origin, "d", "KEY"), engine).headers


def test_a_token_goes_as_bearer_and_is_kept_while_it_lives(engine):
    credential = Credential(lives_s=3600)
    handler = RTMTAudioHandler(engine.origin, "d", credential)
    sent = [one_call(handler, engine, f"CA{n}").headers for n in range(2)]
    assert [headers["authorization"] for headers in sent] == ["Bearer token-1"] * 2
    assert all("api-key" not in headers for headers in sent)
    assert credential.scopes == ["https://ai.azure.com/.default"]


def test_a_token_that_ends_soon_is_refreshed(engine):
    handler = RTMTAudioHandler(engine.origin, "d", Credential(lives_s=60))
    sent = [one_call(handler, engine, f"CA{n}").headers["authorization"] for n in range(3)]
    assert sent == ["Bearer token-1", "Bearer token-2", "Bearer token-3"]


def test_the_scope_of_tokens_can_be_chosen(engine):
    credential = Credential(lives_s=3600)
    one_call(RTMTAudioHandler(engine.origin, "d", credential, scope="https://old/.default"), engine)
    assert credential.scopes == ["https://old/.default"]


def test_the_agents_voice_comes_before_the_handlers(engine):
    handler = RTMTAudioHandler(engine.base_url, "m", "k", "cedar", agents=QUIET)
    update = one_call(handler, engine).of_type("session.update")[0]
    assert update["session"]["audio"]["output"]["voice"] == "cedar"


def refused_call(handler, ear) -> None:
    began = time.monotonic()
    caller, thread = begin(handler, "CA1")
    thread.join(30)
    assert not thread.is_alive()
    assert caller.closed_with == 1000
    assert time.monotonic() - began < 12.0  # half of it is a slow machine's
    (ended,) = ear.ended
    assert ended.needs_fallback


@pytest.mark.parametrize(
    ("status", "retry_after", "tries"),
    [
        *((401, "", 1), (403, "", 1), (404, "", 1)),
        *((429, "1", 2), (429, "soon", 2), (429, "3.5", 1), (429, "3600", 1)),
        (503, "", 3),
    ],
)
def test_a_server_that_says_no_is_asked_again_if_that_may_help_then_hands_over(
    engine, status, retry_after, tries
):
    engine.behaviour.handshake_status, engine.behaviour.retry_after = status, retry_after
    ear = Ear()
    refused_call(RTMTAudioHandler(engine.base_url, "m", "k", listener=ear), ear)
    assert ear.faults == [("CA1", "engine_rejected")] * tries
    assert engine.refused == tries


@pytest.mark.parametrize(("said", "known"), [("1.5", 1.5), ("soon", None), ("", None)])
def test_what_a_busy_server_asks_for_is_known(engine, said, known):
    engine.behaviour.handshake_status, engine.behaviour.retry_after = 429, said
    with pytest.raises(EngineRejected) as rejected:
        Engine(endpoint(engine.base_url), "m", "k").open()
    assert (rejected.value.status, rejected.value.retry_after_s) == (429, known)


def test_a_closed_port_hands_the_caller_over():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    ear = Ear()
    refused_call(RTMTAudioHandler(f"http://127.0.0.1:{port}/v1", "m", "k", listener=ear), ear)
    assert ear.faults == [("CA1", "engine_unreachable")] * 3


def test_a_credential_that_gives_no_token_hands_the_caller_over(engine):
    class Broken:
        def get_token(self, *scopes):
            raise RuntimeError("no identity here")

    ear = Ear()
    refused_call(RTMTAudioHandler(engine.origin, "m", Broken(), listener=ear), ear)
    assert ear.faults == [("CA1", "engine_rejected")]


def test_a_server_that_hangs_up_hands_the_caller_over():
    ear = Ear()
    with FakeRealtime(Behaviour(hears=False, closes_after_s=0.1)).running() as engine:
        refused_call(RTMTAudioHandler(engine.base_url, "m", "k", agents=QUIET, listener=ear), ear)
    assert ear.faults == [("CA1", "engine_lost")] * 2

"""Recordings that a plain HTTP service understands and answers, and all that it may do instead."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flaskapp.phone.agent import Agent
from flaskapp.phone.audio import Wav, read_wav
from flaskapp.phone.engines.turns import Answer
from flaskapp.phone.errors import EngineError, EngineMessageError, EngineRejected, EngineUnreachable
from flaskapp.phone.transcript import Line
from tests.fake_turns import FakeTurns, Fault
from tests.phone.turn_engines import KEY, engine, seconds_of

WORDS, REPLY = "what are your opening hours", "We are open from nine to five."
SOUND = Wav(b"\x10\x27\xf0\xd8" * 8000, 8000)
AGENT = Agent(instructions="Be kind.", hours="nine to five", language="de-DE", voice="sage")
HISTORY = [Line("a", 0, "agent", "Hello."), Line("b", 1, "caller", "Hi."), Line("c", 2, "agent", "")]


@pytest.fixture
def fake() -> Iterator[FakeTurns]:
    with FakeTurns(api_key=KEY).running() as fake:
        yield fake
    assert fake.offences == []


def test_a_recording_is_transcribed_and_answered(fake):
    answer = engine(fake).answer(SOUND, HISTORY, AGENT)

    assert (answer.transcript, answer.response) == (
        "what are your opening hours",
        "We are open from nine to five.",
    )
    heard, asked = fake.requests
    assert heard.fields == {"model": "ears", "response_format": "json", "language": "de"}
    assert read_wav(heard.file) == SOUND
    assert asked.fields["model"] == "mind"
    told, *said = asked.fields["messages"]
    assert told["role"] == "system"
    assert "Be kind." in told["content"]
    assert "nine to five" in told["content"]
    assert "read aloud" in told["content"]
    assert said == [
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Hi."},
        {"role": "user", "content": WORDS},
    ]


def test_what_it_cost_is_told_by_whom_it_was_paid(fake):
    usage = engine(fake).answer(SOUND, [], AGENT).usage

    assert usage["transcription_input_audio_tokens"] == 30
    assert (usage["chat_input_tokens"], usage["chat_output_tokens"]) == (40, 8)


def test_silence_is_not_answered(fake):
    fake.words = ["  "]

    answer = engine(fake).answer(SOUND, [], AGENT)

    assert (answer.transcript, answer.response) == ("", "")
    assert fake.of_kind("chat") == []


def test_a_message_that_wants_no_answer_is_only_transcribed(fake):
    answer = engine(fake).answer(SOUND, [], AGENT, wants_reply=False)

    assert (answer.transcript, answer.response) == (WORDS, "")
    assert fake.of_kind("chat") == []


def test_words_alone_are_answered(fake):
    assert engine(fake).reply("When are you open?", HISTORY, AGENT).response == REPLY
    assert [each.kind for each in fake.requests] == ["chat"]


def test_an_hour_long_recording_goes_in_parts_that_the_service_takes(fake):
    long = Wav(b"\x10\x27\xf0\xd8" * 4000 * 60 * 45, 8000)
    fake.words = ["one", "two", "three", "four", "five"]
    fake.heard = lambda wav: f"{read_wav(wav).duration_ms // 60_000}"

    answer = engine(fake).answer(long, [], AGENT, wants_reply=False, within_s=120)

    assert answer.transcript == "10 10 10 10 5"
    assert answer.usage["transcription_total_tokens"] == 5 * 35


def test_markup_is_not_read_out(fake):
    fake.answers = [
        "## Hours\n\nWe are **open**:\n- nine to five\n- [Saturday](https://x.example): ten to two"
    ]

    assert (
        engine(fake).answer(SOUND, [], AGENT).response
        == "Hours We are open: nine to five, Saturday: ten to two"
    )


def test_an_answer_is_spoken_in_the_agents_voice_as_the_telephone_wants_it(fake):
    wav = read_wav(engine(fake).speak("Good morning.", AGENT))

    assert wav.rate_hz == 8000
    assert wav.duration_ms == read_wav(fake.sound).duration_ms
    assert fake.requests[0].fields == {
        "model": "voice",
        "voice": "sage",
        "input": "Good morning.",
        "response_format": "wav",
    }


def test_speech_whose_length_fields_are_placeholders_is_taken(fake):
    fake.sound = (
        fake.sound[:4] + b"\xff\xff\xff\xff" + fake.sound[8:40] + b"\xff\xff\xff\xff" + fake.sound[44:]
    )

    assert read_wav(engine(fake).speak("Good morning.", AGENT)).duration_ms == 500


# ---------------------------------------------------------------------- who we are


def test_an_azure_key_goes_in_its_own_header_only(fake):
    engine(fake, kind="azure", base_url=f"{fake.origin}/openai/v1").answer(SOUND, [], AGENT)

    for request in fake.requests:
        assert request.path.startswith("/openai/v1/")
        assert request.headers["api-key"] == KEY
        assert "authorization" not in request.headers


def test_any_other_key_goes_as_bearer_only(fake):
    engine(fake).answer(SOUND, [], AGENT)

    for request in fake.requests:
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert "api-key" not in request.headers


class Identity:
    """A token credential; each token lives as long as a test says."""

    def __init__(self, lives_s: float = 3600.0) -> None:
        self.asked: list[str] = []
        self.lives_s = lives_s

    def get_token(self, *scopes: str) -> Any:
        self.asked += scopes
        return type("Token", (), {"token": KEY, "expires_on": time.time() + self.lives_s})


def test_an_identity_s_tokens_go_as_bearer_and_are_kept(fake):
    identity = Identity()
    azure = engine(
        fake, identity, kind="azure", base_url=f"{fake.origin}/openai/v1", token_scope="scope://mine"
    )

    azure.answer(SOUND, [], AGENT)

    assert [each.headers["authorization"] for each in fake.requests] == [f"Bearer {KEY}"] * 2
    assert all("api-key" not in each.headers for each in fake.requests)
    assert identity.asked == ["scope://mine"]


def test_an_identity_that_gives_no_token_is_a_rejection(fake):
    class Nobody:
        def get_token(self, *_: str) -> Any:
            raise RuntimeError("canary")

    result, _ = seconds_of(lambda: engine(fake, Nobody(), kind="azure").answer(SOUND, [], AGENT))

    assert isinstance(result, EngineRejected)
    assert "canary" not in str(result)
    assert fake.requests == []


def test_a_redirect_is_not_followed_with_our_key(fake):
    with FakeTurns().running() as thief:
        fake.always = {"transcribe": Fault(status=307, location=f"{thief.base_url}/audio/transcriptions")}
        result, _ = seconds_of(lambda: engine(fake, kind="azure").answer(SOUND, [], AGENT))

        assert isinstance(result, EngineError)
        assert thief.connections == 0


# ---------------------------------------------------------------------- what goes wrong


PASSING = {
    "503": Fault(status=503),
    "500": Fault(status=500),
    "429": Fault(status=429),
    "429 with a wait that fits": Fault(status=429, retry_after="1"),
    "connection closed": Fault(close=True),
    "connection reset": Fault(reset=True),
    "half an answer": Fault(half=True),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
@pytest.mark.parametrize("kind", ["transcribe", "chat"])
def test_what_passes_is_tried_once_more(fake, kind, fault):
    fake.faults = {kind: [fault]}

    answer = engine(fake).answer(SOUND, [], AGENT)

    assert answer.response == REPLY
    assert len(fake.of_kind(kind)) == 2


def test_a_wait_that_was_asked_for_is_kept(fake):
    fake.faults = {"chat": [Fault(status=429, retry_after="1.5")]}

    engine(fake).answer(SOUND, [], AGENT)

    first, second = fake.of_kind("chat")
    assert second.at - first.at >= 1.5


LASTING = {
    "503 twice": Fault(status=503),
    "429 twice": Fault(status=429),
    "a wait that does not fit": Fault(status=429, retry_after="60"),
    "closed twice": Fault(close=True),
}


@pytest.mark.parametrize("fault", LASTING.values(), ids=LASTING.keys())
def test_what_lasts_is_unreachable(fake, fault):
    fake.always = {"transcribe": fault}

    result, seconds = seconds_of(lambda: engine(fake).answer(SOUND, [], AGENT))

    assert isinstance(result, EngineUnreachable)
    assert len(fake.requests) == (1 if fault.retry_after else 2)
    assert seconds < 10


@pytest.mark.parametrize("status", [400, 401, 403, 413, 422])
def test_a_no_is_a_rejection_with_its_status_and_none_of_the_servers_words(fake, status):
    fake.always = {"chat": Fault(status=status)}

    result, _ = seconds_of(lambda: engine(fake).answer(SOUND, [], AGENT))

    assert isinstance(result, EngineRejected)
    assert result.status == status
    assert "opening hours" not in str(result)
    assert len(fake.of_kind("chat")) == 1


UNREADABLE = {
    "not JSON": Fault(body=b"{garbage"),
    "a page": Fault(body=b"<html>hello</html>", content_type="text/html"),
    "a list": Fault(body=b"[]"),
    "null": Fault(body=b"null"),
    "nothing": Fault(body=b""),
    "no text, no choices": Fault(body=b"{}"),
    "numbers": Fault(body=b'{"text": 3, "choices": 4}'),
    "empty choices": Fault(body=b'{"text": null, "choices": []}'),
    "choices of nothing": Fault(body=b'{"text": [], "choices": [null]}'),
    "bytes": Fault(body=b"\xff\xfe\x00"),
}


@pytest.mark.parametrize("fault", UNREADABLE.values(), ids=UNREADABLE.keys())
@pytest.mark.parametrize("kind", ["transcribe", "chat"])
def test_garbage_is_told_as_such(fake, kind, fault):
    fake.faults = {kind: [fault]}

    result, _ = seconds_of(lambda: engine(fake).answer(SOUND, [], AGENT))

    assert isinstance(result, EngineMessageError)


def test_speech_that_is_no_wav_file_is_told_as_such(fake):
    fake.faults = {"speech": [Fault(body=b"ID3 an mp3", content_type="audio/mpeg")]}

    with pytest.raises(EngineMessageError):
        engine(fake).speak("Good morning.", AGENT)


SLOW = {
    "never answers": Fault(hang=True),
    "answers by the byte": Fault(drip_s=0.4),
    "answers far too late": Fault(pause_s=30.0),
}


@pytest.mark.parametrize("fault", SLOW.values(), ids=SLOW.keys())
@pytest.mark.parametrize("kind", ["transcribe", "chat"])
def test_all_of_it_is_over_in_the_time_given(fake, kind, fault):
    fake.faults = {kind: [fault]}
    ready = engine(fake)
    ready.is_alive(20.0)  # a first import takes what it takes

    result, seconds = seconds_of(lambda: ready.answer(SOUND, [], AGENT, within_s=1.5))

    assert isinstance(result, EngineUnreachable)
    assert 1.0 < seconds < 6


def test_an_identity_that_takes_its_time_takes_none_of_the_callers(fake):
    given_up = threading.Event()

    class Slow:
        def get_token(self, *_: str) -> Any:
            given_up.wait(60)
            raise RuntimeError("too late")

    slow = engine(fake, Slow(), kind="azure")

    result, seconds = seconds_of(lambda: slow.answer(SOUND, [], AGENT, within_s=1.5))
    given_up.set()

    assert isinstance(result, EngineUnreachable)
    assert seconds < 20


@pytest.mark.alone
def test_work_that_nobody_waits_for_ends_by_itself(fake):
    fake.always = {"transcribe": Fault(drip_s=0.3)}
    ready = engine(fake)
    before = threading.active_count()

    for _ in range(5):
        seconds_of(lambda: ready.answer(SOUND, [], AGENT, within_s=1.0))

    deadline = time.monotonic() + 30
    while [each for each in threading.enumerate() if each.name == "turn"] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [each for each in threading.enumerate() if each.name == "turn"] == []
    assert threading.active_count() <= before + 10  # the fake's own


def test_a_service_that_is_down_and_comes_back(fake):
    ready = engine(fake)
    ready.answer(SOUND, [], AGENT)
    fake.down = True

    result, _ = seconds_of(lambda: ready.answer(SOUND, [], AGENT))
    assert isinstance(result, EngineUnreachable)
    assert not ready.is_alive()

    fake.down = False
    assert ready.is_alive()
    assert ready.answer(SOUND, [], AGENT).response
    assert fake.answers_per_recording() == {fake.requests[0].digest: 2}


def test_nobody_there_is_unreachable(fake):
    away = engine(fake, base_url="http://127.0.0.1:1/v1")

    with pytest.raises(EngineUnreachable):
        away.answer(SOUND, [], AGENT)
    assert not away.is_alive()


ALIVE = {200: True, 404: True, 401: False, 403: False, 429: False, 500: False, 503: False}


@pytest.mark.parametrize(("status", "alive"), ALIVE.items())
def test_a_service_is_alive_if_it_would_serve_us(fake, status, alive):
    fake.always = {"models": Fault(status=status)}

    assert engine(fake).is_alive() is alive


def test_one_engine_serves_many_at_once_and_mixes_nothing_up(fake):
    fake.heard = lambda wav: f"words {len(wav)}"
    fake.answers = lambda messages: f"reply to {messages[-1]['content']}"
    shared = engine(fake)

    def one(number: int) -> Answer:
        return shared.answer(Wav(b"\x10\x27" * (4000 + number), 8000), [], AGENT, within_s=60)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(one, range(48)))

    assert [each.transcript for each in answers] == [f"words {44 + 2 * (4000 + n)}" for n in range(48)]
    assert [each.response for each in answers] == [f"reply to {each.transcript}" for each in answers]

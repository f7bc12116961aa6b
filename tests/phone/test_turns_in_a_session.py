"""Recordings answered by one Realtime session; every event is held against the types of ``openai``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flaskapp.engine_settings import EngineSettings
from flaskapp.phone.agent import Agent
from flaskapp.phone.audio import Wav, mulaw_to_pcm16, pcm16_to_mulaw, read_wav
from flaskapp.phone.engines import realtime_turn
from flaskapp.phone.engines.turns import TurnEngine, turn_engine
from flaskapp.phone.errors import EngineError, EngineMessageError, EngineRejected, EngineUnreachable
from flaskapp.phone.transcript import Line
from tests.fake_text_sessions import USAGE, Plan, TextSessions
from tests.fake_turns import FakeTurns, Fault
from tests.fakes import tone

SOUND = Wav(mulaw_to_pcm16(tone(2000)), 8000)
AGENT = Agent(instructions="Be kind.", language="de-DE", voice="sage")
HISTORY = [Line("a", 0, "agent", "Hello."), Line("b", 1, "caller", "Hi.")]


@pytest.fixture
def server() -> Iterator[TextSessions]:
    with TextSessions().running() as server:
        yield server
    assert server.offences == []


def azure(server: TextSessions, **changed: Any) -> TurnEngine:
    """As the guide's set-up has it: a Realtime deployment, its key, and nothing else."""
    settings: dict[str, Any] = {
        "kind": "azure",
        "base_url": f"{server.origin}/openai/v1",
        "model": "deployment",
        "voice": "alloy",
        "api_key": None,
        "token_scope": None,
        "transcribe_model": "ears",
        **changed,
    }
    return turn_engine(EngineSettings(**settings), "key-1")


def failure(work: Callable[[], Any]) -> EngineError:
    with pytest.raises(EngineError) as raised:
        work()
    return raised.value


def test_a_recording_is_heard_and_answered_in_writing(server):
    answer = azure(server).answer(SOUND, HISTORY, AGENT)

    assert (answer.transcript, answer.response) == ("when are you open", "From nine to five.")
    assert pcm16_to_mulaw(SOUND.pcm) == server.audio
    asked = server.of_type("session.update")[0]["session"]
    assert asked["output_modalities"] == ["text"]
    assert "Be kind." in asked["instructions"]
    assert "read aloud" in asked["instructions"]
    assert asked["audio"]["input"] == {
        "format": {"type": "audio/pcmu"},
        "turn_detection": None,
        "transcription": {"model": "ears", "language": "de"},
    }
    assert answer.usage == {**USAGE, "transcription_seconds": 2.0}


def test_the_conversation_so_far_is_told_before_the_recording(server):
    azure(server).answer(SOUND, HISTORY, AGENT)

    items = [event["item"] for event in server.of_type("conversation.item.create")]
    assert [(each["role"], each["content"]) for each in items] == [
        ("assistant", [{"type": "output_text", "text": "Hello."}]),
        ("user", [{"type": "input_text", "text": "Hi."}]),
    ]
    kinds = [event["type"] for event in server.events]
    assert kinds.index("conversation.item.create") < kinds.index("input_audio_buffer.append")
    assert kinds[-2:] == ["input_audio_buffer.commit", "response.create"]


def test_the_key_goes_as_azure_wants_it(server):
    azure(server).answer(SOUND, [], AGENT)

    assert server.headers["api-key"] == "key-1"
    assert "authorization" not in server.headers


def test_a_long_recording_goes_in_pieces(server):
    long = Wav(mulaw_to_pcm16(tone(90_000)), 8000)

    azure(server).answer(long, [], AGENT, within_s=60)

    assert len(server.audio) == 8 * 90_000
    assert len(server.of_type("input_audio_buffer.append")) == 15


def test_a_wide_recording_keeps_its_width(server):
    azure(server).answer(Wav(SOUND.at(16_000), 16_000), [], AGENT)

    asked = server.of_type("session.update")[0]["session"]
    assert asked["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24000}
    assert len(server.audio) == pytest.approx(2 * 24 * 2000, abs=96)


def test_a_message_that_wants_no_answer_is_only_heard(server):
    answer = azure(server).answer(SOUND, [], AGENT, wants_reply=False)

    assert (answer.transcript, answer.response) == ("when are you open", "")
    assert server.of_type("response.create") == []


def test_silence_is_not_answered(server):
    server.plan.words = ""

    answer = azure(server).answer(SOUND, [], AGENT)

    assert (answer.transcript, answer.response) == ("", "")


def test_words_that_come_after_the_answer_are_waited_for(server):
    server.plan.words_after_s = 1.0

    answer = azure(server).answer(SOUND, [], AGENT)

    assert (answer.transcript, answer.response) == ("when are you open", "From nine to five.")
    assert len(server.of_type("response.create")) == 1


@pytest.mark.parametrize("lost", [{"words": None}, {"words_fail": True}])
@pytest.mark.parametrize("wants_reply", [True, False])
def test_where_nobody_transcribes_the_model_itself_is_asked_for_the_words(server, lost, wants_reply):
    said = "I want to leave a message."
    server.plan = Plan(replies=["From nine to five.", said] if wants_reply else [said], **lost)

    answer = azure(server).answer(SOUND, [], AGENT, wants_reply=wants_reply, within_s=14)

    assert answer.transcript == said
    assert answer.response == ("From nine to five." if wants_reply else "")
    assert "word for word" in server.of_type("response.create")[-1]["response"]["instructions"]


def test_a_server_that_knows_no_transcription_gets_a_session_without(server):
    server.plan = Plan(refuses_updates=1, replies=["From nine to five.", "when are you open"])

    answer = azure(server).answer(SOUND, [], AGENT)

    assert (answer.transcript, answer.response) == ("when are you open", "From nine to five.")
    assert "transcription" not in server.of_type("session.update")[1]["session"]["audio"]["input"]


def test_an_answer_counts_even_if_nobody_knows_the_words(server):
    server.plan = Plan(words=None)
    slow = azure(server)
    slow.answer(SOUND, [], AGENT)  # dialled once: what follows is short of time
    server.plan = Plan(words=None, reply_after_s=0.0)

    answer = slow.answer(SOUND, [], AGENT, within_s=realtime_turn.WORDS_WITHIN_S + 0.8)

    assert answer.transcript == realtime_turn.UNTRANSCRIBED
    assert answer.response == "From nine to five."


def test_a_refused_line_of_the_past_costs_nothing_but_itself(server):
    server.plan.refuses_history = True

    assert azure(server).answer(SOUND, HISTORY, AGENT).response == "From nine to five."


def test_words_alone_are_answered_by_a_session_too(server):
    assert azure(server).reply("When?", HISTORY, AGENT).response == "From nine to five."

    items = [event["item"]["content"][0]["text"] for event in server.of_type("conversation.item.create")]
    assert items == ["Hello.", "Hi.", "When?"]
    assert server.audio == b""


def test_an_answer_is_spoken_by_a_session(server):
    wav = read_wav(azure(server).speak('Say "cheese".', AGENT))

    assert wav == Wav(mulaw_to_pcm16(server.plan.speech), 8000)
    asked = server.of_type("session.update")[0]["session"]
    assert asked["output_modalities"] == ["audio"]
    assert asked["audio"]["output"] == {"format": {"type": "audio/pcmu"}, "voice": "sage"}
    said = server.of_type("response.create")[0]["response"]["instructions"]
    assert said.endswith("nothing else: \"Say 'cheese'.\"")


WRONG: dict[str, tuple[Plan, type[EngineError]]] = {
    "handshake 401": (Plan(handshake=401), EngineRejected),
    "handshake 404": (Plan(handshake=404), EngineRejected),
    "handshake 429": (Plan(handshake=429), EngineUnreachable),
    "handshake 503": (Plan(handshake=503), EngineUnreachable),
    "every session refused": (Plan(refuses_updates=9), EngineRejected),
    "audio refused": (Plan(error_on_commit="input_audio_buffer_commit_empty"), EngineRejected),
    "closed at once": (Plan(closes_on="session.update"), EngineUnreachable),
    "closed over the audio": (Plan(closes_on="input_audio_buffer.commit"), EngineUnreachable),
    "closed over the answer": (Plan(closes_on="response.create"), EngineUnreachable),
    "answer failed": (Plan(status="failed"), EngineUnreachable),
    "answer cancelled": (Plan(status="cancelled"), EngineUnreachable),
    "garbage": (Plan(garbage_on="response.create"), EngineMessageError),
    "no session": (Plan(silent_on="session.update"), EngineUnreachable),
    "no answer": (Plan(silent_on="response.create"), EngineUnreachable),
}


@pytest.mark.parametrize(("plan", "kind"), WRONG.values(), ids=WRONG.keys())
def test_what_goes_wrong_is_named_in_time_and_leaves_no_session(server, plan, kind):
    engine = azure(server)
    engine.is_alive(20.0)  # a first import takes what it takes
    server.plan = plan
    began = time.monotonic()

    error = failure(lambda: engine.answer(SOUND, HISTORY, AGENT, within_s=3.0))

    assert isinstance(error, kind), error
    assert time.monotonic() - began < 8
    deadline = time.monotonic() + 20
    while server.open and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.open == 0


def test_a_session_is_asked_where_the_service_has_no_such_model(server):
    fault = {"404": Fault(status=404, code="DeploymentNotFound"), "400": Fault(status=400, param="model")}
    with FakeTurns().running() as http:
        http.realtime = server.origin
        both = azure(server, base_url=f"{http.origin}/openai/v1", chat_model="mind", speech_model="voice")
        for each in fault.values():
            http.always = {"transcribe": each, "speech": each}
            assert both.answer(SOUND, [], AGENT).transcript == "when are you open"
            assert read_wav(both.speak("Hello.", AGENT)).duration_ms == 500
        assert server.sessions == 4


def test_a_session_is_asked_for_the_reply_alone_where_only_the_chat_model_is_missing(server):
    with FakeTurns().running() as http:
        http.realtime = server.origin
        both = azure(server, base_url=f"{http.origin}/openai/v1", chat_model="mind")
        http.always = {"chat": Fault(status=404, code="DeploymentNotFound")}

        answer = both.answer(SOUND, HISTORY, AGENT)

    assert (answer.transcript, answer.response) == ("what are your opening hours", "From nine to five.")
    assert server.audio == b""
    assert answer.usage["transcription_total_tokens"] == 35


def test_any_other_no_is_not_taken_for_a_missing_model(server):
    with FakeTurns().running() as http:
        http.realtime = server.origin
        both = azure(server, base_url=f"{http.origin}/openai/v1", chat_model="mind")
        http.always = {"transcribe": Fault(status=400, code="audio_too_short", param="file")}

        assert isinstance(failure(lambda: both.answer(SOUND, [], AGENT)), EngineRejected)
    assert server.sessions == 0

"""Every event that the server sends is one that the ``openai`` package knows, field by field."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.realtime import RealtimeServerEvent
from pydantic import BaseModel, TypeAdapter, ValidationError

from flaskapp.localai import events
from tests.localai.caller import Caller, silence, spoken

ADAPTER: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
TOOL = {"type": "function", "name": "end_call", "description": "d", "parameters": {"type": "object"}}


def strangers(model: object, path: str = "") -> list[str]:
    """The paths of fields that no model declares."""
    if isinstance(model, list):
        return [each for at, entry in enumerate(model) for each in strangers(entry, f"{path}[{at}]")]
    if not isinstance(model, BaseModel):
        return []
    found = [f"{path}.{name}" for name in model.model_extra or {}]
    for name in type(model).model_fields:
        found += strangers(getattr(model, name), f"{path}.{name}")
    return found


def check(event: dict[str, Any]) -> None:
    """The event has every field that its type requires, each of its type, and no other."""
    model = ADAPTER.validate_python(event)
    assert model.type == event["type"], f"{event['type']} was taken for {type(model).__name__}"
    assert strangers(model, event["type"]) == []
    assert event["event_id"].startswith("event_")


def talk_of_everything(caller: Caller) -> None:
    """Conversations that draw every kind of event."""
    caller.send("response.create", response={"instructions": 'Say: "Hello."', "metadata": {"a": "b"}})
    item = caller.until("response.done")["response"]["output"][0]
    caller.send("conversation.item.truncate", item_id=item["id"], content_index=0, audio_end_ms=100)
    caller.until("conversation.item.truncated")
    caller.ask("what are your opening hours")
    caller.update(
        tools=[TOOL],
        tool_choice="auto",
        instructions="Be brief.",
        audio={
            "input": {
                "turn_detection": {"type": "semantic_vad", "eagerness": "high"},
                "transcription": {"model": "whisper-1", "language": "en"},
                "noise_reduction": {"type": "near_field"},
            }
        },
    )
    caller.say("goodbye")
    call = caller.until("response.done")["response"]["output"][1]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "ok"}
    caller.send("conversation.item.create", item=result)
    caller.send("response.create", response={"output_modalities": ["text"]})
    caller.until("response.done")
    written = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]}
    caller.send("conversation.item.create", item=written)
    note = caller.until("conversation.item.done")["item"]
    caller.send("conversation.item.retrieve", item_id=note["id"])
    caller.send("conversation.item.delete", item_id=note["id"])
    caller.send("input_audio_buffer.clear")
    caller.until("input_audio_buffer.cleared")
    caller.send("response.create", response={"instructions": f'Say: "{"na " * 60}"'})
    caller.until("response.output_audio.delta")
    caller.append(silence(200) + spoken("hello"))
    caller.until("response.done")
    caller.send("response.cancel", event_id="x")
    caller.until("error")


def test_every_event_is_openai_s_own(caller: Caller):
    talk_of_everything(caller)

    for event in caller.heard:
        check(event)
    assert len({event["event_id"] for event in caller.heard}) == len(caller.heard)
    assert {
        "session.created",
        "session.updated",
        "error",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "input_audio_buffer.cleared",
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.retrieved",
        "conversation.item.truncated",
        "conversation.item.deleted",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
        "response.created",
        "response.output_item.added",
        "response.output_item.done",
        "response.content_part.added",
        "response.content_part.done",
        "response.output_audio_transcript.delta",
        "response.output_audio_transcript.done",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.output_text.delta",
        "response.output_text.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.done",
    } == set(caller.kinds())


def test_a_failed_transcription_is_openai_s_own_event():
    check({"event_id": "event_1", **events.transcription_failed("item_1", "the ears stopped working")})


def test_the_check_would_notice_a_stranger():
    event = {"event_id": "event_1", **events.item_deleted("item_1")}
    check(event)

    with pytest.raises(AssertionError):
        check({**event, "colour": "green"})
    with pytest.raises((AssertionError, ValidationError)):
        check({"event_id": "event_1", "type": "conversation.item.deleted"})


def test_openai_s_own_client_converses(server: str):
    from openai import OpenAI

    client = OpenAI(base_url=server, api_key="anything")
    with client.realtime.connect(model="gpt-realtime") as connection:
        connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        connection.conversation.item.create(
            item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "goodbye"}]}
        )
        connection.response.create()
        written = ""
        for event in connection:
            if event.type == "response.output_text.delta":
                written += event.delta
            if event.type == "response.done":
                break

    assert written == "Thank you for calling. Goodbye."


def test_the_models_are_listed_for_openai_s_own_client(server: str):
    from openai import OpenAI

    models = OpenAI(base_url=server, api_key="anything").models.list()

    assert [model.owned_by for model in models] == ["answerline"]

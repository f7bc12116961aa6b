"""A session's settings: what an update changes, what is refused, and that no field was overlooked."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.realtime import RealtimeResponseCreateParams, RealtimeSessionCreateRequest
from openai.types.realtime.realtime_audio_config import RealtimeAudioConfig
from openai.types.realtime.realtime_audio_config_input import RealtimeAudioConfigInput
from openai.types.realtime.realtime_audio_config_output import RealtimeAudioConfigOutput

from flaskapp.localai import settings
from flaskapp.localai.refusal import Refused

FRESH = settings.defaults("gpt-realtime")


def updated(**change: Any) -> dict[str, Any]:
    return settings.updated(FRESH, {"type": "realtime", **change}, spoken=False)


def refusal(**change: Any) -> Refused:
    with pytest.raises(Refused) as refused:
        updated(**change)
    return refused.value


@pytest.mark.parametrize(
    ("fields", "model"),
    [
        (settings.SESSION_FIELDS, RealtimeSessionCreateRequest),
        (settings.RESPONSE_FIELDS, RealtimeResponseCreateParams),
        (settings.AUDIO_FIELDS, RealtimeAudioConfig),
        (settings.AUDIO_INPUT_FIELDS, RealtimeAudioConfigInput),
        (settings.AUDIO_OUTPUT_FIELDS, RealtimeAudioConfigOutput),
    ],
)
def test_the_fields_are_those_that_openai_types(fields: dict[str, Any], model: Any):
    assert set(fields) == set(model.model_fields)


def test_an_update_changes_what_it_names_and_nothing_else():
    after = updated(instructions="Be kind.", audio={"input": {"format": {"type": "audio/pcmu"}}})

    assert after["instructions"] == "Be kind."
    assert after["audio"]["input"]["format"] == {"type": "audio/pcmu"}
    assert after["audio"]["input"]["turn_detection"] == settings.SERVER_VAD
    assert after["audio"]["output"] == FRESH["audio"]["output"]


def test_the_echo_fills_in_defaults():
    after = updated(
        audio={
            "input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 300}},
            "output": {"format": {"type": "audio/pcm"}},
        }
    )

    assert after["audio"]["input"]["turn_detection"] == {**settings.SERVER_VAD, "silence_duration_ms": 300}
    assert after["audio"]["output"]["format"] == {"type": "audio/pcm", "rate": 24000}


def test_null_clears():
    after = updated(audio={"input": {"turn_detection": None}})

    assert after["audio"]["input"]["turn_detection"] is None


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"temperature": 0.8}, "session.temperature"),
        ({"input_audio_format": "g711_ulaw"}, "session.input_audio_format"),
        ({"modalities": ["audio"]}, "session.modalities"),
        ({"voice": "alloy"}, "session.voice"),
        ({"audio": {"input": {"codec": "x"}}}, "session.audio.input.codec"),
        (
            {"audio": {"input": {"format": {"type": "audio/pcmu", "rate": 8000}}}},
            "session.audio.input.format.rate",
        ),
        (
            {"audio": {"input": {"turn_detection": {"type": "server_vad", "eagerness": "low"}}}},
            "session.audio.input.turn_detection.eagerness",
        ),
    ],
)
def test_unknown_and_beta_fields_are_named_and_refused(change: dict[str, Any], param: str):
    refused = refusal(**change)

    assert (refused.code, refused.param) == ("unknown_parameter", param)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"output_modalities": ["audio", "text"]}, "session.output_modalities"),
        ({"audio": {"input": {"format": {"type": "g711_ulaw"}}}}, "session.audio.input.format.type"),
        (
            {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 8000}}}},
            "session.audio.input.format.rate",
        ),
        ({"audio": {"output": {"speed": 2}}}, "session.audio.output.speed"),
        ({"max_output_tokens": True}, "session.max_output_tokens"),
        ({"model": "another"}, "session.model"),
        ({"tools": [{"type": "function", "name": 5}]}, "session.tools[0].name"),
    ],
)
def test_wrong_values_are_refused(change: dict[str, Any], param: str):
    refused = refusal(**change)

    assert (refused.code, refused.param) == ("invalid_value", param)


def test_the_type_is_required():
    with pytest.raises(Refused) as refused:
        settings.updated(FRESH, {"instructions": "hi"}, spoken=False)

    assert refused.value.code == "missing_required_parameter"


def test_the_voice_stays_once_it_was_heard():
    with pytest.raises(Refused) as refused:
        settings.updated(FRESH, {"type": "realtime", "audio": {"output": {"voice": "cedar"}}}, spoken=True)

    assert refused.value.code == "cannot_update_voice"


def test_a_refused_update_changes_nothing():
    before = settings.defaults("gpt-realtime")
    refusal(instructions="changed", unknown_field=1)

    assert before == FRESH


def test_a_response_may_differ_from_its_session():
    chosen = settings.response_settings(FRESH, {"output_modalities": ["text"], "metadata": {"a": "b"}})

    assert chosen["output_modalities"] == ["text"]
    assert chosen["metadata"] == {"a": "b"}
    assert FRESH["output_modalities"] == ["audio"]

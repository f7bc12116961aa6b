"""POST /v1/audio/speech, by the ``openai`` client over a socket."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from flaskapp.localai import ears
from flaskapp.phone.audio import Wav, read_wav

TEXT = "What are your opening hours?"


def speak(server: str, **about: Any) -> bytes:
    client = openai.OpenAI(base_url=server, api_key="anything", max_retries=0, timeout=60)
    asked = {"model": "any", "voice": "alloy", "input": TEXT, "response_format": "wav", **about}
    return client.audio.speech.create(**asked).content


def test_a_text_is_spoken_so_that_it_can_be_understood(server):
    wav = read_wav(speak(server))

    assert wav.rate_hz == 24000
    assert ears.hear(wav.pcm, wav.rate_hz).text == "what are your opening hours"


def test_it_is_where_azure_has_it_too(server):
    there, here = speak(server.removesuffix("/v1") + "/openai/v1"), speak(server)

    assert read_wav(there).duration_ms == pytest.approx(read_wav(here).duration_ms, rel=0.02)


def test_bare_samples_may_be_asked_for(server):
    bare = Wav(speak(server, response_format="pcm"), 24000)

    assert bare.duration_ms == pytest.approx(read_wav(speak(server)).duration_ms, rel=0.02)
    assert ears.hear(bare.pcm, bare.rate_hz).text == "what are your opening hours"


def test_voices_differ_and_speed_counts(server):
    ordinary = read_wav(speak(server)).duration_ms

    nova = read_wav(speak(server, voice={"id": "nova"})).duration_ms

    assert nova == pytest.approx(read_wav(speak(server, voice="nova")).duration_ms, rel=0.01)
    assert nova != pytest.approx(ordinary, rel=0.01)
    assert read_wav(speak(server, speed=1.5)).duration_ms < 0.8 * ordinary
    assert read_wav(speak(server, speed=0.5)).duration_ms > 1.5 * ordinary


def test_the_longest_text_is_spoken(server):
    assert read_wav(speak(server, input=("na " * 1366)[:4096], speed=4.0)).duration_ms > 60_000


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "mp3": ({"response_format": "mp3"}, "response_format"),
    "what is mp3 unless said otherwise": ({"response_format": openai.omit}, "response_format"),
    "too long": ({"input": "a" * 4097}, "input"),
    "nothing": ({"input": " "}, "input"),
    "too fast": ({"speed": 4.5}, "speed"),
    "an event stream": ({"stream_format": "sse"}, "stream_format"),
    "no voice": ({"voice": 3}, "voice"),
    "an unknown field": ({"extra_body": {"surprise": 1}}, "surprise"),
}


@pytest.mark.parametrize(("about", "param"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_done_is_refused_in_openais_shape(server, about, param):
    with pytest.raises(openai.BadRequestError) as raised:
        speak(server, **about)

    assert raised.value.param == param
    assert set(raised.value.body) == {"message", "type", "param", "code"}

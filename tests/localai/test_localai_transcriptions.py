"""POST /v1/audio/transcriptions, by the ``openai`` client over a socket."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import struct
import subprocess
import time
import urllib.error
import urllib.request
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from openai.types.audio import Transcription, TranscriptionVerbose

from flaskapp.localai import voice
from flaskapp.localai.ears import Ears
from flaskapp.localai.recognizer import Heard
from flaskapp.localai.stretches import stretches
from flaskapp.localai.transcriptions import MOST_BYTES
from flaskapp.localai.workers import WorkerLost
from flaskapp.phone.audio import pcm16_to_mulaw, resample_pcm16, write_wav
from tests.localai.conftest import start_server
from tests.localai.test_localai_contract import strangers

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

QUESTION = "what are your opening hours"


def spoken(text: str, rate_hz: int = 8000) -> bytes:
    speech = voice.speak(text)
    return resample_pcm16(speech.pcm, speech.rate_hz, rate_hz)


def quiet(ms: int, rate_hz: int = 8000) -> bytes:
    return bytes(2 * rate_hz * ms // 1000)


def wav_of(code: int, bits: int, data: bytes, rate_hz: int = 8000, channels: int = 1) -> bytes:
    block = channels * bits // 8
    layout = struct.pack("<HHIIHH", code, channels, rate_hz, rate_hz * block, block, bits)
    body = (
        b"WAVEfmt " + struct.pack("<I", len(layout)) + layout + b"data" + struct.pack("<I", len(data)) + data
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def client(server: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=server, api_key="anything", max_retries=0, timeout=120)


def transcribe(server: str, wav: bytes, **about: Any) -> Any:
    file = ("turn.wav", wav, "audio/wav")
    return client(server).audio.transcriptions.create(
        **{"model": "gpt-transcribe", "file": file, "response_format": "json", **about}
    )


FORMATS = {
    "pcm 16 bit, 8 kHz": lambda pcm: wav_of(1, 16, pcm),
    "pcm 8 bit": lambda pcm: wav_of(1, 8, audioop.bias(audioop.lin2lin(pcm, 2, 1), 1, 128)),
    "pcm 24 bit": lambda pcm: wav_of(1, 24, audioop.lin2lin(pcm, 2, 3)),
    "mu-law": lambda pcm: wav_of(7, 8, pcm16_to_mulaw(pcm)),
    "A-law": lambda pcm: wav_of(6, 8, audioop.lin2alaw(pcm, 2)),
    "stereo": lambda pcm: wav_of(1, 16, audioop.tostereo(pcm, 2, 1, 1), channels=2),
    "16 kHz": lambda pcm: wav_of(1, 16, resample_pcm16(pcm, 8000, 16000), 16000),
    "44.1 kHz": lambda pcm: wav_of(1, 16, resample_pcm16(pcm, 8000, 44100), 44100),
    "streamed, without a length": lambda pcm: wav_of(1, 16, pcm)[:40] + b"\xff\xff\xff\xff" + pcm,
}


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS.keys())
def test_a_recording_is_understood_in_every_wav_format(server, form):
    heard = transcribe(server, form(quiet(300) + spoken(QUESTION) + quiet(300)))

    assert heard.text == QUESTION
    assert isinstance(heard, Transcription)
    assert strangers(heard) == []
    assert heard.usage.total_tokens == heard.usage.input_tokens + heard.usage.output_tokens


def test_it_is_where_azure_has_it_too(server):
    address = server.removesuffix("/v1") + "/openai/v1"

    assert transcribe(address, write_wav(spoken(QUESTION))).text == QUESTION


def test_sentences_are_heard_one_by_one(server):
    sentences = ["good morning", QUESTION, "thank you very much"]
    pcm = b"".join(spoken(each) + quiet(900) for each in sentences)

    assert transcribe(server, write_wav(pcm)).text == " ".join(sentences)


def test_a_long_message_is_heard_to_its_end(server):
    pcm = b"".join(spoken("what are your opening hours") + quiet(1500) for _ in range(12))
    assert len(pcm) // 16 > 32_000  # the ears themselves take thirty seconds

    assert transcribe(server, write_wav(pcm + spoken("goodbye"))).text.split()[-1] == "goodbye"


def test_silence_has_no_words(server):
    assert transcribe(server, write_wav(quiet(3000))).text == ""


def test_plain_text_may_be_asked_for(server):
    assert transcribe(server, write_wav(spoken(QUESTION)), response_format="text").strip() == QUESTION


def test_segments_may_be_asked_for(server):
    pcm = quiet(1000) + spoken("good morning") + quiet(1000) + spoken(QUESTION)
    heard = transcribe(server, write_wav(pcm), response_format="verbose_json")

    TranscriptionVerbose.model_validate(heard.model_dump())
    assert strangers(heard) == []
    assert heard.duration == pytest.approx(len(pcm) / 16000, abs=0.01)
    assert [each.text for each in heard.segments] == ["good morning", QUESTION]
    assert 0.5 < heard.segments[0].start < heard.segments[0].end < heard.segments[1].start


def test_hints_are_taken_and_whisper_counts_seconds(server):
    about = {"language": "en", "prompt": "A telephone call.", "temperature": 0, "model": "whisper-1"}
    heard = transcribe(server, write_wav(spoken(QUESTION)), **about)

    assert heard.usage.type == "duration"
    assert heard.usage.seconds == pytest.approx(len(spoken(QUESTION)) / 16000, abs=0.01)


REFUSED: dict[str, tuple[dict[str, Any], str | None]] = {
    "not a wav file": ({"file": ("turn.wav", b"ID3 what", "audio/wav")}, "file"),
    "an empty file": ({"file": ("turn.wav", b"", "audio/wav")}, "file"),
    "a wav file of nothing": ({"file": ("turn.wav", write_wav(b""), "audio/wav")}, "file"),
    "an unknown format": ({"response_format": "srt"}, "response_format"),
    "a stream": ({"stream": True}, "stream"),
    "an unknown field": ({"extra_body": {"surprise": "1"}}, "surprise"),
    "no model": ({"model": ""}, "model"),
}


@pytest.mark.parametrize(("about", "param"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_used_is_refused_in_openais_shape(server, about, param):
    with pytest.raises(openai.BadRequestError) as raised:
        transcribe(server, **{"wav": write_wav(spoken(QUESTION)), **about})

    assert raised.value.param == param
    assert raised.value.type == "invalid_request_error"
    assert raised.value.code
    assert set(raised.value.body) == {"message", "type", "param", "code"}


def test_a_file_of_more_than_25_mb_is_too_large(server):
    with pytest.raises(openai.APIStatusError) as raised:
        transcribe(server, write_wav(bytes(MOST_BYTES)))

    assert raised.value.status_code == 413
    assert raised.value.type == "invalid_request_error"


def test_a_request_without_a_form_is_refused(server):
    for content_type, body in (("application/json", b"{}"), ("multipart/form-data; boundary=x", b"--y\r\n")):
        request = urllib.request.Request(
            f"{server}/audio/transcriptions", body, {"Content-Type": content_type}
        )
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(request, timeout=60)
        assert raised.value.code == 400


def test_an_unknown_address_is_told_in_openais_shape(server):
    with pytest.raises(openai.NotFoundError) as raised:
        client(server).moderations.create(input="hello")

    assert raised.value.type == "invalid_request_error"


class Slow:
    """Ears' processes that count what they are asked for at a time, and may die over it."""

    def __init__(self, dies_at: int = 0) -> None:
        self.asked = self.now = self.most = 0
        self.dies_at = dies_at

    async def run(self, _work: Any, pcm: bytes, _rate_hz: int) -> Heard:
        self.asked, self.now = self.asked + 1, self.now + 1
        self.most, number = max(self.most, self.now), self.asked
        await asyncio.sleep(0.001)
        self.now -= 1
        if number == self.dies_at:
            raise WorkerLost("the ears stopped working")
        return Heard(f"words of {len(pcm)}", "free", 0.0)


def long_message() -> bytes:
    return b"".join(spoken("goodbye") + quiet(700) for _ in range(12))


def test_a_long_message_leaves_ears_for_others():
    workers: Any = Slow()

    heard = asyncio.run(Ears(workers).hear_stretches(long_message(), 8000))

    assert len(heard) == workers.asked == 12
    assert workers.most == 2
    assert [words for _, words in heard] == [f"words of {len(part.pcm)}" for part, _ in heard]


def test_nobody_listens_on_for_a_client_that_left():
    workers: Any = Slow()

    asyncio.run(Ears(workers).hear_stretches(long_message(), 8000, lambda: workers.asked < 4))

    assert workers.asked < 12


def test_ears_that_die_over_a_recording_end_it():
    workers: Any = Slow(dies_at=3)

    async def listen() -> None:
        with pytest.raises(WorkerLost):
            await Ears(workers).hear_stretches(long_message(), 8000)
        await asyncio.sleep(0.5)  # what still goes on would go on

    asyncio.run(listen())

    assert workers.asked < 12


def test_ears_that_die_are_told_in_openais_shape_and_replaced():
    process, address = start_server()
    try:
        workers = children_of(process.pid)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(transcribe, address, write_wav(long_message()))
            while not asked.done():
                for pid in workers:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                time.sleep(0.05)
            with pytest.raises(openai.InternalServerError) as raised:
                asked.result()
        assert raised.value.type == "server_error"
        assert transcribe(address, write_wav(spoken(QUESTION))).text == QUESTION
    finally:
        process.terminate()
        process.wait(20)


def children_of(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(each) for each in found.stdout.split()]


def test_stretches_leave_pauses_out_and_lose_no_speech():
    pcm = quiet(2000) + spoken("good morning") + quiet(1200) + spoken(QUESTION) + quiet(2000)

    first, second = stretches(pcm, 8000)

    assert first.start_ms == pytest.approx(1700, abs=150)
    assert first.end_ms < second.start_ms
    assert first.pcm == pcm[first.start_ms * 16 : first.end_ms * 16]
    assert second.pcm == pcm[second.start_ms * 16 : second.end_ms * 16]


def test_speech_without_pauses_is_cut_into_what_the_ears_can_take():
    pcm = spoken("seven eleven " * 120)
    assert len(pcm) // 16 > 45_000

    parts = stretches(pcm, 8000)

    assert len(parts) >= 3
    assert all(each.end_ms - each.start_ms <= 20_000 for each in parts)
    assert all(one.end_ms == other.start_ms for one, other in itertools.pairwise(parts))
    assert parts[-1].end_ms == pytest.approx(len(pcm) // 16, abs=500)

"""Audio handed in by HTTP: what is taken, what is refused and how, what becomes of it."""

from __future__ import annotations

import io
import math
import random
import struct
import wave
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from flaskapp import create_app, simulator
from flaskapp.phone.ai_integration import ONE_AT_A_TIME
from flaskapp.phone.audio import pcm16_to_mulaw, read_wav
from flaskapp.phone.chunks import as_mulaw
from flaskapp.phone.engines.turns import Answer
from flaskapp.phone.errors import EngineUnreachable, TicketError

URL = "/phone/stream-audio/test123"


def pcm(seconds: float, rate: int = 8000, volume: int = 8000) -> bytes:
    count = round(seconds * rate)
    return struct.pack(f"<{count}h", *(round(volume * math.sin(n / rate * 2400)) for n in range(count)))


def wav(seconds=0.5, rate=8000, width=2, channels=1) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        samples = pcm(seconds, rate)
        if width == 1:
            samples = bytes((samples[at + 1] + 128) & 0xFF for at in range(0, len(samples), 2))
        file.writeframes(
            b"".join(samples[at : at + width] * channels for at in range(0, len(samples), width))
        )
    return out.getvalue()


def g711(code: int, seconds=0.5, rate=8000) -> bytes:
    body = pcm16_to_mulaw(pcm(seconds, rate))
    fmt = struct.pack("<HHIIHH", code, 1, rate, rate, 1, 8)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + len(body))
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + fmt
        + b"data"
        + struct.pack("<I", len(body))
        + body
    )


class Ear:
    """A stand-in for batch AI: counts what it is asked."""

    def __init__(self) -> None:
        self.heard: list[int] = []
        self.fails = False

    def answer(self, sound, history, agent, *, wants_reply=True, within_s=14.0):
        if self.fails:
            raise EngineUnreachable("down")
        self.heard.append(sound.duration_ms)
        return Answer(f"words {len(self.heard)}", f"answer {len(self.heard)}", {})


@pytest.fixture
def config(config):
    return {**config, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}


@pytest.fixture
def ear(app):
    own = Ear()
    app.extensions["desk"]._ai = own
    return own


def send(client, data: bytes | None, kind: str | None = "audio/wav", name="chunk.wav", url=URL, **more):
    form = {} if data is None else {"audio": (io.BytesIO(data), name, *([kind] if kind else []))}
    return client.post(
        url, data=form, content_type="multipart/form-data", base_url="http://localhost:5001", **more
    )


def complete(client, url=URL):
    return client.post(f"{url}/complete", base_url="http://localhost:5001")


#: (what is sent, the part's type, the status, what the answer says it was)
CHUNKS = [
    ("the guide's own bytes", b"fake_audio_data", "audio/wav", 200, "mulaw"),
    ("headerless mu-law", b"\xff\x7f" * 800, "application/octet-stream", 200, "mulaw"),
    ("one byte", b"\x55", "audio/basic", 200, "mulaw"),
    ("a type with parameters", b"\x55" * 160, "audio/basic; rate=8000", 200, "mulaw"),
    ("PCM 16 bit, 8 kHz", wav(), "audio/wav", 200, "wav"),
    ("PCM 8 bit", wav(width=1), "audio/x-wav", 200, "wav"),
    ("stereo", wav(channels=2), "audio/wav", 200, "wav"),
    ("16 kHz", wav(rate=16000), "audio/wav", 200, "wav"),
    ("24 kHz", wav(rate=24000), "audio/wav", 200, "wav"),
    ("44.1 kHz", wav(rate=44100), "audio/wav", 200, "wav"),
    ("48 kHz stereo", wav(rate=48000, channels=2), "audio/wav", 200, "wav"),
    ("mu-law in a WAV", g711(7), "audio/wav", 200, "wav"),
    ("A-law in a WAV", g711(6), "audio/wav", 200, "wav"),
    ("a size that promises more", wav()[:-100], "audio/wav", 200, "wav"),
    ("nothing in the part", b"", "audio/wav", 400, None),
    ("no part", None, None, 400, None),
    ("1 MiB and a byte", b"\x55" * ((1 << 20) + 1), "audio/basic", 413, None),
    ("2 MiB", b"\x55" * (2 << 20), "audio/basic", 413, None),
    ("text by its type", b"\x55" * 160, "text/plain", 415, None),
    ("JSON by its type", b"\x55" * 160, "application/json", 415, None),
    ("HTML by its bytes", b"<!DOCTYPE html><html></html>", "audio/wav", 415, None),
    ("XML by its bytes", b'<?xml version="1.0"?><Response/>', "audio/wav", 415, None),
    ("JSON by its bytes", b'{"error": "not found"}', "application/octet-stream", 415, None),
    ("a PDF", b"%PDF-1.7\n", "audio/wav", 415, None),
    ("a PNG", b"\x89PNG\r\n\x1a\n" + b"\0" * 64, "audio/wav", 415, None),
    ("a JPEG", b"\xff\xd8\xff\xe0" + b"\0" * 64, "audio/wav", 415, None),
    ("a GIF", b"GIF89a" + b"\0" * 64, "audio/wav", 415, None),
    ("RIFF and no more", b"RIFF", "audio/wav", 422, None),
    ("a WAV cut in its header", wav()[:30], "audio/wav", 422, None),
    ("a WAV without sound", wav(0), "audio/wav", 422, None),
    ("a WAV of ADPCM", g711(2), "audio/wav", 422, None),
]
CHUNKS += [
    ("1 MiB", b"\x55" * (1 << 20), "audio/basic", 200, "mulaw"),
    ("three channels", wav(channels=3), "audio/wav", 422, None),
    ("4 kHz", wav(rate=4000), "audio/wav", 422, None),
    ("96 kHz", wav(rate=96000), "audio/wav", 422, None),
    (
        "XML after blanks",
        b'  \r\n<?xml version="1.0"?>\n' + "<Say>Grüße</Say>".encode() * 20,
        "audio/wav",
        415,
        None,
    ),
    (
        "a long JSON text, its 160th byte amid a character",
        b'{"a": "' + "ü".encode() * 99,
        "audio/wav",
        415,
        None,
    ),
]


@pytest.mark.parametrize(("what", "data", "kind", "status", "form"), CHUNKS, ids=[c[0] for c in CHUNKS])
def test_chunks_good_and_bad(client, ear, what, data, kind, status, form):
    answer = send(client, data, kind)
    assert answer.status_code == status, answer.data
    told = answer.get_json()
    if status == 200:
        assert told["call_sid"] == "test123"
        assert told["chunks"] >= 1
        assert told["format"] == form
        assert told["bytes"] > 0
        if form == "wav":
            assert told["duration_ms"] == pytest.approx(500, abs=15)
    else:
        assert answer.content_type == "application/problem+json"
        assert told["detail"]
        assert complete(client).status_code == 404


def test_a_mebibyte_of_sound_may_have_a_header(client, ear):
    full, over = wav(65.536), wav(65.538 + 4096 / 16000)

    assert len(full) == (1 << 20) + 44
    assert send(client, full).get_json()["duration_ms"] == 65_536
    assert send(client, over).status_code == 413


def test_no_frame_of_a_telephone_is_taken_for_a_text():
    voices = Path(simulator.__file__).parent.joinpath("voices").glob("*.wav")
    recorded = [pcm16_to_mulaw(read_wav(each.read_bytes()).at(8000)) for each in voices]
    frames = [voice[at : at + 160] for voice in recorded for at in range(len(voice) - 159)]
    chance = random.Random(7)
    frames += [chance.randbytes(160) for _ in range(100_000)]
    begins = (b"<A", b"<!", b'{"', b"{}", b"[[", b' ["')
    frames += [begin + chance.randbytes(160 - len(begin)) for begin in begins for _ in range(2000)]

    assert len(recorded) == 2
    assert [frame for frame in frames if as_mulaw(frame) != (frame, "mulaw")] == []


def test_chunks_add_up_and_are_answered_once(client, ear):
    for count in (1, 2, 3):
        told = send(client, wav()).get_json()
        assert (told["chunks"], told["duration_ms"], told["bytes"]) == (count, 500 * count, 4000 * count)
    answer = complete(client)
    assert answer.status_code == 200
    told = answer.get_json()
    assert set(told) == {"call_sid", "transcript", "response", "duration_ms", "latency_ms"}
    assert (told["call_sid"], told["transcript"], told["response"]) == ("test123", "words 1", "answer 1")
    assert told["duration_ms"] == 1500
    assert ear.heard == [1500]
    assert complete(client).status_code == 404


def test_what_was_said_joins_the_calls_history(app, client, ear):
    send(client, wav())
    complete(client)
    assert app.extensions["scribe"].settle(20)
    turns = app.extensions["history"].turns("test123")
    assert [(turn["speaker"], turn["text"], turn["mode"]) for turn in turns] == [
        ("caller", "words 1", "recorded"),
        ("agent", "answer 1", "recorded"),
    ]


def test_silence_is_processed_without_asking_anybody(client, ear):
    send(client, b"\xff" * 8000)
    told = complete(client).get_json()
    assert (told["transcript"], told["response"], told["duration_ms"]) == ("", "", 1000)
    assert ear.heard == []


def test_while_ai_is_down_the_audio_is_kept(client, ear):
    send(client, wav())
    ear.fails = True
    answer = complete(client)
    assert (answer.status_code, "kept" in answer.get_json()["detail"]) == (503, True)
    ear.fails = False
    assert complete(client).get_json()["transcript"] == "words 1"


def test_without_an_engine_the_audio_is_kept(config):
    client = create_app({**config, "OPENAI_BASE_URL": ""}).test_client()
    assert send(client, wav()).status_code == 200
    assert complete(client).status_code == 503
    assert complete(client).status_code == 503
    assert complete(client, "/phone/stream-audio/other").status_code == 404


def test_a_live_calls_stream_brings_its_audio(app, client, ear):
    send(client, wav())
    app.extensions["live_store"].remember("test123", state="live")
    for answer in (send(client, wav()), complete(client)):
        assert (answer.status_code, "stream" in answer.get_json()["detail"]) == (409, True)
    app.extensions["live_store"].remember("test123", state="ended")
    assert complete(client).get_json()["duration_ms"] == 500


def test_who_asks_while_another_is_answered_is_told(app, client, ear):
    send(client, wav())
    with app.extensions["turn_book"].holding("test123", ONE_AT_A_TIME):
        answer = complete(client)
        assert (answer.status_code, "already" in answer.get_json()["detail"]) == (409, True)
    assert complete(client).status_code == 200


def test_ten_minutes_are_enough(client, ear):
    chunk = b"\x55" * (1 << 20)  # 131 s
    assert [send(client, chunk).status_code for _ in range(5)] == [200] * 4 + [413]
    assert complete(client).status_code == 200


@pytest.mark.parametrize("sid", ["a b", "x" * 65, "a%2Fb", "é"])
def test_odd_calls_are_refused(client, sid):
    answer = send(client, wav(), url=f"/phone/stream-audio/{sid}")
    assert answer.status_code in (400, 404, 405)


# ---------------------------------------------------------------------- who may


@pytest.fixture
def public(config, app):
    """A client that is somebody else's machine."""
    app = create_app({**config, "DASHBOARD_PASSWORD": "secret", "FLASK_BASE_URL": "https://v.example.com"})
    app.extensions["desk"]._ai = Ear()
    return app.test_client()


def as_bearer(client, ticket: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {ticket}"}


def test_strangers_hand_in_nothing(public):
    answer = send(public, wav())
    assert answer.status_code == 401
    assert "WWW-Authenticate" in answer.headers
    assert complete(public).status_code == 401


def test_a_calls_ticket_opens_this_call_only(public):
    ticket = public.application.extensions["tickets"].issue("test123")
    for _ in range(2):  # it is not used up: a call has many chunks
        assert send(public, wav(), headers=as_bearer(public, ticket)).status_code == 200
    other = send(public, wav(), url="/phone/stream-audio/other", headers=as_bearer(public, ticket))
    assert other.status_code == 401
    assert send(public, wav(), headers=as_bearer(public, "forged")).status_code == 401


def test_the_operator_hands_in_what_he_likes(public):
    assert send(public, wav(), auth=("operator", "secret")).status_code == 200
    assert send(public, wav(), auth=("operator", "wrong")).status_code == 401


def test_a_secret_that_is_missing_is_named(config, app):
    strange = create_app({**config, "FLASK_BASE_URL": "https://v.example.com"}).test_client()
    answer = send(strange, wav())
    assert (answer.status_code, "DASHBOARD_PASSWORD" in answer.get_json()["detail"]) == (403, True)


# ---------------------------------------------------------------------- speech out


def test_speech_has_tickets_of_its_own(public):
    tickets = public.application.extensions["tickets"]
    public.application.extensions["turn_book"].put_speech("test123", "RE1", wav())
    heard = tickets.issue_speech("test123")

    assert public.get(f"/phone/speech/test123/RE1/{heard}").data == wav()
    assert public.get(f"/phone/speech/other/RE1/{heard}").status_code == 404
    assert public.get("/phone/speech/test123/RE1/forged").status_code == 404
    assert send(public, wav(), headers=as_bearer(public, heard)).status_code == 401
    with pytest.raises(TicketError):
        tickets.spend(heard, "test123")


def test_speech_that_cannot_be_read_now_is_a_problem(public, monkeypatch):
    def away(*_: object) -> bytes:
        raise RedisError("away")

    monkeypatch.setattr(public.application.extensions["turn_book"], "speech", away)
    ticket = public.application.extensions["tickets"].issue_speech("test123")
    answer = public.get(f"/phone/speech/test123/RE1/{ticket}")
    assert (answer.status_code, answer.content_type) == (503, "application/problem+json")

"""The API: calls page by page, one whole, its words, its sound, all as CSV; to the operator alone."""

from __future__ import annotations

import csv
import io
import json
import wave

import pytest
from sqlalchemy.exc import OperationalError

from flaskapp.api import shapes
from flaskapp.api.calls import ROWS_AT_ONCE
from flaskapp.api.endpoints import ENDPOINTS
from flaskapp.api.spreadsheet import COLUMNS, safe
from flaskapp.api.transcripts import as_text, as_vtt
from flaskapp.store.audio_parts import AGENT, CALLER, Piece, split
from scripts import openapi
from tests.api_calls import conversation, line, open_calls

PUBLIC = "https://voice.example.com"
OPERATOR = ("operator", "open sesame")


@pytest.fixture
def history(app):
    return app.extensions["history"]


@pytest.fixture
def public(config):
    """An app that knows no local requests, and a client of it."""
    from flaskapp import create_app

    return create_app({**config, "LOCAL": "0", "DASHBOARD_PASSWORD": OPERATOR[1]}).test_client()


def sids(answer) -> list[str]:
    return [each["call_sid"] for each in answer.get_json()["calls"]]


# ---------------------------------------------------------------------- who may


@pytest.mark.parametrize("rule", [each.rule for each in ENDPOINTS] + ["/openapi.json"])
def test_everything_is_the_operators_alone(public, rule):
    path = rule.replace("<call_sid>", "CA1")
    answer = public.get(path, base_url=PUBLIC)
    assert (answer.status_code, answer.content_type) == (401, "application/problem+json")
    wrong = public.get(path, auth=("operator", "guess"), base_url=PUBLIC)
    assert wrong.status_code == 401


def test_no_other_origin_reads_an_answer_and_nothing_keeps_it(client):
    answer = client.get("/api/calls")
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert "Access-Control-Allow-Origin" not in answer.headers


# ---------------------------------------------------------------------- page by page


def test_all_calls_come_once_the_newest_first_however_many_at_a_time(client, history):
    known = open_calls(history, 7)
    seen, after = [], ""
    while True:
        answer = client.get(f"/api/calls?limit=3{after}")
        seen += sids(answer)
        following = answer.get_json()["next"]
        if following is None:
            break
        after = f"&after={following}"
    assert seen == known[::-1]


def test_a_page_that_is_just_full_is_the_last_one(client, history):
    open_calls(history, 3)
    assert client.get("/api/calls?limit=3").get_json()["next"] is None


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("carrier=exotel", ["CA003", "CA001"]),
        ("carrier=nobody", []),
        ("status=in-progress", []),
        ("mode=live&limit=1", ["CA004"]),
        ("since=2026-11-20T12:03:00Z", ["CA004", "CA003"]),
        ("since=2026-11-20T17:33:00%2B05:30", ["CA004", "CA003"]),
        ("until=2026-11-20T12:01:00Z", ["CA000"]),
        ("since=2026-11-20&until=2026-11-21&limit=2", ["CA004", "CA003"]),
        ("since=2026-11-21", []),
        ("outcome=message", []),
        ("carrier=twilio&after=CA002", ["CA000"]),
    ],
)
def test_calls_are_found_by_what_is_known_of_them(client, history, asked, found):
    open_calls(history, 5)
    assert sids(client.get(f"/api/calls?{asked}")) == found


@pytest.mark.parametrize(
    ("asked", "wrong"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=many", "limit"),
        ("status=sleeping", "status"),
        ("since=yesterday", "since"),
        ("since=2026-11-22T10:00:00", "since"),
        ("since=0001-01-01T00:00:00%2B01:00", "since"),
        ("until=1700000000", "until"),
        ("carrier=%00", "carrier"),
        ("after=../etc", "after"),
        ("stauts=completed", "stauts"),
    ],
)
def test_a_question_that_makes_no_sense_is_answered_with_what_is_wrong(client, asked, wrong):
    answer = client.get(f"/api/calls?{asked}")
    assert (answer.status_code, answer.content_type) == (422, "application/problem+json")
    problem = shapes.Problem.model_validate(answer.get_json())
    assert [each.name for each in problem.errors] == [wrong]
    assert wrong in problem.detail


def test_a_page_behind_a_call_that_is_not_there_is_an_error(client):
    answer = client.get("/api/calls?after=CA404")
    assert (answer.status_code, answer.get_json()["status"]) == (404, 404)


# ---------------------------------------------------------------------- one call


def test_a_call_comes_with_all_that_is_kept_of_it(client, history):
    conversation(history)
    told = client.get("/api/calls/CA1").get_json()
    assert (told["caller"], told["outcome"], told["cost_usd"]) == ("+15551230001", "message", 0.0421)
    assert told["started_at"] == "2026-11-20T12:00:00Z"
    assert told["ended"] == "The caller left a message."
    assert told["message"]["text"] == "=Please call me back."
    assert told["usage"] == {"input_tokens": 120, "transcription_seconds": 1.5}
    assert [turn["position"] for turn in told["turns"]] == [0, 1, 2, 3, 4]
    assert told["tool_calls"] == [
        {"at_ms": 1500, "name": "opening_hours", "took_ms": 40, "failed": False},
        {"at_ms": 1600, "name": "opening_hours", "took_ms": None, "failed": False},
    ]
    assert [event["kind"] for event in told["events"]][:2] == ["tool_called", "tool_answered"]
    assert told["recordings"][0]["status"] == "waiting"
    figures = told["figures"]
    assert (figures["median_ms"], figures["p90_ms"], figures["by_caller"]) == (304, 906, 0)
    assert [(step["item"], step["sent_ms"]) for step in figures["steps"]] == [
        ("item_2", 304),
        ("item_4", 906),
    ]
    assert told["has_audio"] is False


def test_a_call_that_goes_on_has_no_end(client, history):
    open_calls(history, 1)
    told = client.get("/api/calls/CA000").get_json()
    assert (told["ended"], told["ended_at"], told["turns"]) == (None, None, [])


@pytest.mark.parametrize("path", ["CA404", "a%2Fb", "..%2f..%2fetc", "x" * 65, "CA1%00", "Ä"])
@pytest.mark.parametrize("rest", ["", "/transcript.json", "/transcript.txt", "/transcript.vtt", "/audio.wav"])
def test_a_call_that_there_cannot_be_is_not_there(client, path, rest):
    answer = client.get(f"/api/calls/{path}{rest}")
    assert (answer.status_code, answer.content_type) == (404, "application/problem+json")


def test_a_database_that_is_away_is_a_problem_that_passes(app, client):
    class Away:
        def calls(self, *asked):
            raise OperationalError("select secrets", {}, Exception("secret host"))

    app.extensions["history"] = Away()
    for path in ("/api/calls", "/api/calls.csv"):
        answer = client.get(path)
        assert (answer.status_code, answer.content_type) == (503, "application/problem+json")
        assert "secret" not in answer.text
        assert answer.headers["Retry-After"]


# ---------------------------------------------------------------------- words


def test_a_transcript_has_what_was_heard(client, history):
    conversation(history)
    told = client.get("/api/calls/CA1/transcript.json").get_json()
    assert told["call_sid"] == "CA1"
    assert [each["speaker"] for each in told["lines"]] == ["agent", "caller", "agent", "agent"]
    assert told["lines"][2] == {
        "speaker": "agent",
        "transcript": "We are open from",
        "start_ms": 2000,
        "end_ms": 2900,
        "is_final": True,
        "interrupted": True,
        "mode": "live",
    }


def test_a_transcript_can_be_read_line_by_line(client, history):
    conversation(history)
    answer = client.get("/api/calls/CA1/transcript.txt")
    assert answer.content_type == "text/plain; charset=utf-8"
    assert answer.text.splitlines() == [
        "[0:00:00.000] agent: Hello, how can I help you?",
        "[0:00:01.000] caller: What are your opening <hours> & days? Please --> tell",
        "[0:00:02.000] agent: We are open from -",
        "[0:00:04.000] agent: Goodbye.",
    ]


def test_subtitles_cannot_be_broken_by_what_a_caller_says(client, history):
    conversation(history)
    answer = client.get("/api/calls/CA1/transcript.vtt")
    assert answer.content_type == "text/vtt; charset=utf-8"
    head, *cues = answer.text.strip().split("\n\n")
    assert head == "WEBVTT"
    assert cues[1].splitlines() == [
        "2",
        "00:00:01.000 --> 00:00:01.900",
        "<v Caller>What are your opening &lt;hours&gt; &amp; days? Please --&gt; tell",
    ]
    assert len(cues) == 4


def test_subtitles_come_in_the_order_in_which_they_begin_and_each_is_shown():
    lines = [
        shapes.TranscriptLine.model_validate(
            {"speaker": "caller", "transcript": text, "start_ms": at, "end_ms": at, "is_final": True,
             "interrupted": False, "mode": "recorded"}
        )
        for at, text in ((7_262_000, "second"), (500, "first"))
    ]  # fmt: skip
    told = shapes.Transcript(call_sid="CA1", lines=lines)
    cues = as_vtt(told).split("\n\n")
    assert "00:00:00.500 --> 00:00:01.000\n<v Caller>first" in cues[1]
    assert "02:01:02.000 --> 02:01:02.500" in cues[2]
    assert as_text(told).startswith("[2:01:02.000] caller: second\n")


# ---------------------------------------------------------------------- sound


@pytest.fixture
def sound(app, history, tmp_path):
    """A call whose sound is kept: its WAV file, whole."""
    from flaskapp.store.call_audio import CallAudio
    from flaskapp.store.sealing import Seal

    conversation(history)
    app.extensions["call_audio"] = audio = CallAudio(tmp_path / "sounds", Seal())
    audio.keep("CA1", "a", [*split(CALLER, 0, bytes(range(256)) * 40), Piece(AGENT, 500, bytes(4000))])
    assert audio.settle(30)
    whole = audio.open("CA1").read()
    assert whole[:4] == b"RIFF"
    return whole


def test_the_sound_of_a_call_can_be_fetched_and_played(client, sound):
    answer = client.get("/api/calls/CA1/audio.wav")
    assert (answer.status_code, answer.content_type) == (200, "audio/wav")
    assert answer.data == sound
    assert answer.headers["Accept-Ranges"] == "bytes"
    with wave.open(io.BytesIO(answer.data)) as file:
        assert file.getnchannels() == 2
    assert client.get("/api/calls/CA1").get_json()["has_audio"] is True


@pytest.mark.parametrize(
    ("asked", "first", "last"), [("0-43", 0, 43), ("100-", 100, None), ("-10", -10, None)]
)
def test_a_player_may_ask_for_a_part_of_it(client, sound, asked, first, last):
    answer = client.get("/api/calls/CA1/audio.wav", headers={"Range": f"bytes={asked}"})
    expected = sound[first : last + 1 if last is not None else None]
    assert (answer.status_code, answer.data) == (206, expected)
    begins = first if first >= 0 else len(sound) + first
    assert answer.headers["Content-Range"] == f"bytes {begins}-{begins + len(expected) - 1}/{len(sound)}"


def test_a_part_that_there_is_not_is_a_problem(client, sound):
    answer = client.get("/api/calls/CA1/audio.wav", headers={"Range": "bytes=99999999-"})
    assert (answer.status_code, answer.content_type) == (416, "application/problem+json")


@pytest.mark.parametrize(
    "asked", ["lines=1-2", "lines=9999999-", "bytes=a-b", "bytes=9-5", "bytes=0-0,5-9", "bytes=-9999999"]
)
def test_what_no_player_asks_for_is_ignored(client, sound, asked):
    answer = client.get("/api/calls/CA1/audio.wav", headers={"Range": asked})
    assert (answer.status_code, answer.data, answer.headers["Accept-Ranges"]) == (200, sound, "bytes")


def test_sound_that_nobody_kept_is_not_there_and_the_answer_says_why(client, history):
    open_calls(history, 1)
    answer = client.get("/api/calls/CA000/audio.wav")
    assert answer.status_code == 404
    assert "RECORD_CALLS was not on, AUDIO_DIR took nothing" in answer.get_json()["detail"]


def test_sound_that_our_keys_do_not_open_is_a_problem_that_says_what_to_do(app, client, sound, tmp_path):
    from flaskapp.store.call_audio import CallAudio
    from flaskapp.store.sealing import Seal, new_key

    sealed = CallAudio(tmp_path / "sealed", Seal([new_key()]))
    sealed.keep("CA1", "a", [Piece(CALLER, 0, bytes(8000))])
    assert sealed.settle(30)
    app.extensions["call_audio"] = CallAudio(tmp_path / "sealed", Seal([new_key()]))
    answer = client.get("/api/calls/CA1/audio.wav")
    assert (answer.status_code, answer.content_type) == (503, "application/problem+json")
    assert "DATA_KEY" in answer.get_json()["detail"]


# ---------------------------------------------------------------------- for spreadsheets


def test_all_calls_come_as_csv_and_no_cell_is_a_formula(client, history):
    open_calls(history, 450)
    conversation(history)
    answer = client.get("/api/calls.csv")
    assert answer.content_type == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["Content-Disposition"]
    head, *rows = csv.reader(io.StringIO(answer.text))
    assert head == list(COLUMNS)
    assert len(rows) == 451
    newest = dict(zip(head, rows[0], strict=True))
    assert newest["caller"] == "'+15551230001"
    assert newest["message"] == "'=Please call me back."
    assert (newest["cost_usd"], newest["started_at"]) == ("0.042100", "2026-11-20T12:00:00.000Z")
    assert len({row[0] for row in rows}) == 451


def test_calls_that_are_removed_meanwhile_take_no_others_from_the_csv(client, history):
    names = open_calls(history, 2 * ROWS_AT_ONCE + 1)
    lines = client.get("/api/calls.csv", buffered=False).iter_encoded()
    next(lines), next(lines)
    history.erase(names[-ROWS_AT_ONCE])  # the last of those that were read by now
    assert sum(line.startswith(b"CA") for line in lines) == 2 * ROWS_AT_ONCE


def test_csv_takes_the_same_filters(client, history):
    open_calls(history, 4)
    rows = client.get("/api/calls.csv?carrier=exotel").text.splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == ["CA003", "CA001"]
    assert client.get("/api/calls.csv?limit=5").status_code == 422


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t1", "\r1", "\n1", "  =1", "'=1", "\uff1d1", "\x0b=1", "\xa0=1"],
)
def test_what_a_spreadsheet_would_reckon_with_begins_with_an_apostrophe(text):
    assert safe(text) == f"'{text}"


@pytest.mark.parametrize("between", [";", "\t", "\n", "\r\n", "; ", ";\xa0"])
def test_no_cell_of_a_spreadsheet_that_parts_them_otherwise_is_a_formula(between):
    assert safe(f"call me{between}=1") == f"call me{between}'=1"
    assert safe(f"{between}=1").endswith("'=1")


def test_what_it_would_not_is_left_alone():
    assert [safe(text) for text in ("", "CA1", "goodbye", "3+4", "a=b")] == [
        "",
        "CA1",
        "goodbye",
        "3+4",
        "a=b",
    ]


# ---------------------------------------------------------------------- described


def test_the_description_is_the_one_that_endpoints_and_shapes_make(client):
    served = client.get("/openapi.json")
    assert served.content_type == "application/json"
    assert served.get_json() == json.loads(openapi.text()), "make openapi"


def test_the_description_names_every_address_of_the_api(app):
    described = json.loads(openapi.text())["paths"]
    served = {
        rule.rule.replace("<", "{").replace(">", "}")
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/")
    }
    assert served
    assert served <= set(described)


def test_a_growing_call_has_its_unfinished_line(client, history):
    open_calls(history, 1)
    history.write([line("CA000", 0, "caller", "what are your op", is_final=False)])
    assert client.get("/api/calls/CA000/transcript.json").get_json()["lines"][0]["is_final"] is False

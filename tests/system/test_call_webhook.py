"""The webhook after a call on the running system: two web workers, a background worker, Redis, PostgreSQL."""

from __future__ import annotations

import time
from dataclasses import replace

import psycopg
import pytest
from redis import Redis

from flaskapp.simulator.person import Script, Utterance
from flaskapp.simulator.sounds import tone
from tests import servers
from tests.conftest import PROJECT, flask
from tests.system.test_recorded_calls import QUESTION, THREE, of
from tests.webhook_receiver import Receiver

pytestmark = pytest.mark.system

SECRET = "words that only the two of us know"
ONE = Script((QUESTION,), quiet_ms=300)


@pytest.fixture
def receiver():
    with Receiver() as waiting:
        yield waiting


@pytest.fixture
def company(rescue, redis_of_our_own, postgres_database, receiver):
    """An office that tells the receiver of its calls, with servers of every kind."""
    return rescue(
        {
            "REDIS_URL": redis_of_our_own,
            "DATABASE_URL": postgres_database,
            "WEB_CONCURRENCY": "2",
            "CALL_WEBHOOK_URL": receiver.url,
            "CALL_WEBHOOK_SECRET": SECRET,
        }
    )


def asked(office, query: str, *arguments: str) -> list[tuple]:
    """Rows of the office's PostgreSQL."""
    with psycopg.connect(office.app.environment["DATABASE_URL"]) as connection:
        return connection.execute(query, arguments).fetchall()


def delivery(office, call_sid: str) -> tuple:
    """(attempts, last_error, is_accepted) of a call's row; nothing before there is one."""
    query = (
        "select attempts, last_error, accepted_at is not null from deliveries"
        " join calls on calls.id = call_id where call_sid = %s"
    )
    return next(iter(asked(office, query, call_sid)), (0, None, False))


def heard_by(receiver, office, call_sid: str, within_s: float = 120) -> dict:
    """What the receiver is told of a call, once, signed."""

    def letters() -> list:
        return [letter for letter in receiver.accepted if letter.told["call_sid"] == call_sid]

    servers.wait_until(lambda: bool(letters()), f"nothing of {call_sid} is told", within_s)
    servers.wait_until(lambda: delivery(office, call_sid)[2], "it is not noted that it was accepted", 30)
    [letter] = letters()
    return letter.verify(spelled(office))


def spelled(office) -> str:
    """The secret as the receiver is given it."""
    done = flask("phone", "webhook-secret", environment=office.app.environment, cwd=PROJECT)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_receiver_that_was_down_is_told_once_afterwards(company, background, batch, receiver):
    """Refused, then failing; Redis loses its memory meanwhile, and the worker its life."""
    receiver.shut()
    worker = background(company.app)
    batch.words, batch.answers = ["one", "two", "three"], ["first", "second", "third"]
    report = company.exchange.place_call(of(company, script=THREE))
    sid = report.call_sid
    servers.wait_until(lambda: delivery(company, sid)[0] >= 2, "nobody tries", 90)
    assert delivery(company, sid)[1:] == ("ConnectionRefusedError", False)
    worker.kill()
    Redis.from_url(company.app.environment["REDIS_URL"]).flushall()
    receiver.answers = [500, 503]
    receiver.open()
    worker.start()
    told = heard_by(receiver, company, sid, 240)
    time.sleep(5)  # were it sent again, it would be within a second or two
    assert [letter.status for letter in receiver.letters] == [500, 503, 204]
    assert {letter.headers["webhook-id"] for letter in receiver.letters} == {told["id"]}
    said = [line["text"] for line in told["transcript"] if line["speaker"] == "agent"]
    assert said == [each.reply for each in report.recordings if each.reply]
    assert [line["text"] for line in told["transcript"]] == [
        "one",
        "first",
        "two",
        "second",
        "three",
        "third",
    ]
    assert (told["outcome"], told["is_complete"], told["mode"]) == ("answered", True, "recorded")
    urls = [each["url"] for each in told["recordings"] if each["status"] == "answered"]
    assert urls == [each.url for each in report.recordings[:3]]


def test_a_live_call_is_told_as_it_was_heard(company, receiver):
    """No background worker: a web worker does it."""
    report = company.place(script=ONE)
    told = heard_by(receiver, company, report.call_sid)
    turns = asked(
        company,
        "select speaker, text, start_ms, end_ms, interrupted, turns.mode from turns"
        " join calls on calls.id = call_id where call_sid = %s and text <> '' order by position",
        report.call_sid,
    )
    names = ("speaker", "text", "start_ms", "end_ms", "interrupted", "mode")
    assert told["transcript"] == [dict(zip(names, turn, strict=True)) for turn in turns]
    assert [line["speaker"] for line in told["transcript"]] == ["agent", "caller", "agent"]
    assert (told["outcome"], told["ended_reason"], told["mode"]) == ("answered", "caller_hung_up", "live")
    assert (told["recordings"], told["message"], told["is_complete"]) == ([], None, True)
    assert told["usage"]["input_tokens"] > 0
    spec = company.spec()
    assert (told["caller"], told["called"]) == (spec.from_number, spec.to_number)


def test_a_message_that_was_recorded_is_told_with_its_words(company, background, batch, receiver):
    background(company.app)
    batch.unavailable = True
    batch.words = ["my question", "my message"]
    said = tuple(Utterance(tone(1.2, 300 + 50 * at), name=f"words {at}") for at in range(2))
    report = company.exchange.place_call(
        of(company, script=replace(THREE, utterances=said, reply_wait_s=40), seconds=120)
    )
    batch.unavailable = False
    told = heard_by(receiver, company, report.call_sid)
    assert told["outcome"] == "message", told
    assert told["message"]["text"] in ("my question", "my message"), (
        "by the order in which they are understood"
    )
    assert told["message"]["text"] == told["transcript"][-1]["text"]
    assert told["is_complete"] is True


def test_calls_at_once_are_each_told_once(company, background, receiver):
    background(company.app)
    receiver.answers = [500, 429, 302, 500]
    reports = company.exchange.place_calls([company.spec(script=ONE, seconds=60)] * 8)
    for report in reports:
        heard_by(receiver, company, report.call_sid)
    assert len(receiver.letters) == len(reports) + 4
    assert len({letter.told["id"] for letter in receiver.letters}) == len(reports)

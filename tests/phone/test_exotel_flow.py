"""What an Exotel flow is answered stays so: until another stream lives, and not while one does."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from tests.phone.exotel_questions import ENGINE, HOME, OVER, RECORD, RESUME, SID, TRANSFER, Flow


@pytest.fixture
def config(config):
    return {**config, **ENGINE}


@pytest.fixture
def flow(app, client):
    return Flow(app, client)


@pytest.fixture
def live(app):
    return app.extensions["live_store"]


@pytest.fixture
def later(monkeypatch):
    """Seconds pass, for whoever reads the flow's clock."""
    passed = [0.0]
    clock = SimpleNamespace(time=lambda: time.time() + passed[0], monotonic=time.monotonic, sleep=time.sleep)
    monkeypatch.setattr("flaskapp.phone.exotel_flow.time", clock)

    def pass_by(seconds: float) -> None:
        passed[0] += seconds

    return pass_by


def test_two_handshakes_may_fail_and_no_more(flow, later):
    failed = {"status": "failed", "by": "NA", "stream": ""}
    assert flow.chain(**failed, CallFrom="0987", CallTo="0801") == RESUME
    later(16)
    assert flow.chain(**failed) == RECORD
    assert flow.chain(**failed) == RECORD
    row = flow.row
    assert (row["carrier"], row["caller"], row["called"]) == ("exotel", "0987", "0801")
    assert (row["ended_reason"], row["status"]) == ("handed_over", "failed")


def test_what_was_decided_stands_in_any_order_and_however_often_it_is_asked(flow, later):
    flow.begin(state="live")
    asked = ["resume", "over", "transfer", "over", "resume", "over"] * 3
    assert {flow.asks(ask)[1] for ask in asked} == {"resume"}
    assert flow.live.recall(SID)["streams"] == "1"
    later(16)
    assert flow.asks("resume") == (200, "resume")  # it is the first question that tells of another round
    assert flow.asks("over") == (302, "resume")
    assert flow.live.recall(SID)["streams"] == "2"
    assert {flow.asks(ask)[1] for ask in asked} == {"resume"}


def test_another_end_is_told_by_its_name_or_by_how_it_came(flow):
    flow.begin(state="live")
    assert flow.asks("over", stream="s1") == (302, "resume")
    assert flow.asks("over", stream="") == (302, "resume")
    assert flow.live.recall(SID)["streams"] == "1"
    assert flow.asks("over", stream="s2") == (302, "resume")
    assert flow.live.recall(SID)["streams"] == "2"
    assert flow.asks("over", stream="s2", status="cancelled", by="user") == (200, "hang_up")


def test_questions_that_come_at_once_have_one_answer(app, flow):
    def ask(number: int) -> str:
        query = {"ask": ("over", "resume", "transfer")[number % 3], "CallSid": SID}
        return app.test_client().get("/exotel/passthru", query_string=query, base_url=HOME).json["next"]

    with ThreadPoolExecutor(18) as pool:
        assert set(pool.map(ask, range(18))) == {"resume"}
    assert flow.live.recall(SID)["streams"] == "2"  # its handshake, and the one that is to come


def test_a_question_that_took_too_long_ends_nobody_else_s(flow, live, monkeypatch):
    lock = f"exotel-flow:{SID}:lock"
    flow.begin(state="moving")

    decided = []

    def takes_long(*arguments):
        decided.append(arguments)
        live.redis.set(lock, "another's")
        return True

    monkeypatch.setattr("flaskapp.phone.exotel_flow.goes_on", takes_long)
    assert flow.asks("over")[0] == 302
    assert live.redis.get(lock) == "another's"
    monkeypatch.setattr("flaskapp.phone.exotel_flow.ALONE_MS", 50)
    assert flow.asks("over", stream="s2") == (302, "resume")  # waits in vain: what is decided counts
    assert len(decided) == 1


# ---------------------------------------------------------------------- while a stream lives

NOTHING = {"status": "", "by": "", "stream": ""}


def test_while_a_stream_lives_nothing_is_decided_and_nothing_written(flow, live):
    flow.begin(state="live", stream="s2")
    live.touch(SID, time.time())
    for report in (NOTHING, {"stream": "s1", "status": "failed", "by": "NA"}, {**NOTHING, "stream": "s2"}):
        assert flow.chain(**report) == RESUME
    assert live.recall(SID)["state"] == "live"
    assert live.redis.get(f"exotel-flow:{SID}") is None
    assert (flow.events, flow.row["ended_at"]) == ([], None)
    live.remember(SID, state="ended", reason="caller_hung_up", needs_fallback="0")
    assert flow.chain(**NOTHING) == OVER


@pytest.mark.parametrize("report", [{"stream": "s2"}, {"stream": ""}])
def test_the_end_of_the_very_stream_is_believed_before_its_worker_tells(flow, live, report):
    flow.begin(state="live", stream="s2")
    live.touch(SID, time.time())
    assert flow.chain(status="failed", by="NA", **report) == RESUME
    assert live.recall(SID)["state"] == "moving"


def test_a_worker_without_a_sign_of_life_has_lost_its_stream(flow, live):
    flow.begin(state="live")
    live.touch(SID, time.time() - 3)
    assert flow.chain(**NOTHING) == RESUME
    assert live.recall(SID)["state"] == "moving"


def test_what_was_decided_before_a_stream_s_real_end_is_outdated(flow, live):
    flow.begin(state="live")
    assert flow.chain(**NOTHING) == RESUME
    live.remember(SID, state="moving", reason="carrier_lost")  # a little later its worker says the same
    assert flow.chain(**NOTHING) == RESUME
    assert live.recall(SID)["streams"] == "1"
    live.remember(SID, state="ended", reason="goodbye", needs_fallback="0")  # it was there all the time
    assert flow.chain(**NOTHING) == OVER


def test_the_end_of_a_later_leg_is_another_one(flow, live):
    flow.begin(state="transferring", destination="desk")
    assert flow.chain() == TRANSFER
    live.remember(SID, is_over="", state="ended", leg="2", needs_fallback="0")
    assert flow.chain() == OVER

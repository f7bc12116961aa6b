"""Background work that this process does itself: without a server, while Redis is away, in its pool."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from flaskapp.store import database
from flaskapp.store.jobs import Jobs
from flaskapp.store.live import connect
from flaskapp.store.pool import Pool
from tests import servers

pytestmark = pytest.mark.system

CANARY = "my card is 4111 1111"


def test_without_a_server_jobs_are_done_here():
    done: list[tuple[str, ...]] = []
    house = Jobs("", connect(""), {"turn": lambda *words: done.append(words)})
    house.submit("turn", "CA1", "RE1")
    servers.wait_until(lambda: done == [("CA1", "RE1")], "it was not done")


def test_while_redis_is_away_jobs_are_done_here():
    done: list[str] = []
    url = f"redis://127.0.0.1:{servers.free_port()}/0"
    Jobs(url, connect(url), {"say": done.append}).submit("say", "here")
    servers.wait_until(lambda: done == ["here"], "it was not done")


def test_trouble_with_one_job_here_is_not_the_others(caplog):
    done: list[str] = []

    def fail() -> None:
        raise ValueError("odd")

    house = Jobs("", connect(""), {"fail": fail, "say": done.append})
    for _ in range(20):
        house.run_here("fail")
    house.run_here("say", "hello")
    servers.wait_until(lambda: done == ["hello"], "it was not done")
    assert "Job fail: ValueError: odd" in caplog.text


@pytest.mark.parametrize("hides", [True, False])
def test_what_a_caller_said_is_in_no_log_though_the_database_fails(tmp_path, caplog, hides):
    url = f"sqlite:///{tmp_path}/empty.sqlite3"
    engine = create_engine(url, **(database.engine_options(url) if hides else {}))
    told: list[str] = []

    def save(words: str) -> None:
        with engine.begin() as connection:
            try:
                connection.execute(text("INSERT INTO turns (text) VALUES (:words)"), {"words": words})
            except SQLAlchemyError as error:
                told.append(str(error))
                raise

    here = Jobs("", connect(""), {"save": save})
    here.run_here("save", CANARY)
    servers.wait_until(lambda: "OperationalError" in caplog.text, "it was not told", 20)
    engine.dispose()
    assert CANARY not in caplog.text
    assert (CANARY in told[0]) is not hides


def test_no_database_error_quotes_what_was_written():
    for url in ("sqlite://", "sqlite:///calls.sqlite3", "postgresql+psycopg://localhost/calls"):
        assert database.engine_options(url)["hide_parameters"] is True


def test_a_pool_does_so_many_at_once_each_once_and_keeps_no_threads():
    pool, gate, at_work, most = Pool(at_once=3, waiting=5), threading.Event(), [], []

    def work(name: str) -> None:
        at_work.append(name)
        most.append(len(at_work))
        gate.wait(60)
        at_work.remove(name)

    taken = [pool.submit(name, lambda name=name: work(name)) for name in "abcabc"]
    assert taken == [True, True, True, False, False, False]
    servers.wait_until(lambda: len(at_work) == 3, "they do not begin")
    assert [pool.submit(name, lambda name=name: work(name)) for name in "defghi"] == [True] * 5 + [False]
    gate.set()
    servers.wait_until(lambda: pool._threads == 0, "threads stay")
    assert len(most) == 8
    assert max(most) == 3
    assert pool.submit("a", lambda: None), "it may be done again"

"""Health, readiness and figures, without a network."""

from __future__ import annotations

import threading

from redis.exceptions import ConnectionError as RedisIsAway

from flaskapp.store.tables import db


class NoRedis:
    """A live store whose Redis is gone."""

    def ping(self):
        raise RedisIsAway("gone")


def test_a_process_that_answers_is_healthy_for_any_host(client):
    answer = client.get("/health", headers={"Host": "10.0.0.7:1"})
    assert (answer.status_code, answer.json) == (200, {"status": "ok"})


def test_an_app_with_its_stores_is_ready_and_tells_its_engine(app, client):
    answer = client.get("/ready")
    assert (answer.status_code, answer.json) == (200, {"status": "ready", "reasons": [], "engine": None})


def test_the_engine_is_told_but_not_judged(config, request):
    config["OPENAI_BASE_URL"] = "http://127.0.0.1:1/v1"
    answer = request.getfixturevalue("client").get("/ready")
    assert answer.status_code == 200
    assert answer.json["engine"] == {"kind": "openai", "model": "gpt-realtime-2.1"}


def test_every_reason_not_to_send_calls_is_named(app, client):
    app.extensions["live_store"] = NoRedis()
    app.extensions["drain"] = threading.Event()
    app.extensions["drain"].set()
    with app.app_context(), db.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM alembic_version")
    answer = client.get("/ready")
    assert answer.status_code == 503
    assert answer.json["reasons"] == ["draining", "redis does not answer", "migrations pending"]


def test_a_database_that_is_away_is_a_reason_not_an_error(app, client, tmp_path):
    with app.app_context():
        db.engine.dispose()
    for each in tmp_path.glob("calls.sqlite3*"):
        each.unlink()
    (tmp_path / "calls.sqlite3").mkdir()
    answer = client.get("/ready")
    assert (answer.status_code, answer.json["reasons"]) == (503, ["database does not answer"])


def test_figures_are_for_the_operator(client):
    near = client.get("/metrics")
    assert near.status_code == 200
    assert b"phone_engine_sessions 0.0" in near.data
    far = client.get("/metrics", environ_base={"REMOTE_ADDR": "203.0.113.9"})
    assert far.status_code in (401, 403)
    assert b"phone_" not in far.data

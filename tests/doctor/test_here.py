"""What the doctor says of an installation by itself: settings, stores, agent, engine, clock."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
import time
from pathlib import Path

import psycopg
import pytest
from redis import Redis

from flaskapp.config import Settings, examined
from flaskapp.phone import doctor
from flaskapp.simulator.background import BackgroundNetwork
from flaskapp.simulator.twilio.account import Account, PhoneNumber
from flaskapp.store.revisions import newest
from tests import servers
from tests.behaviour import Behaviour
from tests.doctor.conftest import ACCOUNT, TOKEN, of, only

pytestmark = pytest.mark.system

PUBLIC = "https://voice.example.com"
TWILIO = {"TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": TOKEN}


def told(finding) -> tuple[str, str, str]:
    return str(finding.status), finding.cause, finding.command


# ------------------------------------------------------------------------ settings


def test_all_wrong_settings_are_told_at_once_and_the_rest_is_looked_at():
    values = {"PORT": "many", "REDIS_URL": "http://x", "TWILIO_ACCOUNT_SID": "AC1"}
    settings, wrong = examined(values, env_file=None)
    found = doctor.checks(settings, wrong=wrong, only=("settings", "redis", "agent"))
    assert [each.name for each in found] == ["settings", "settings", "settings", "agent", "redis"]
    assert {each.command for each in found[:3]} == {"PORT=...", "REDIS_URL=...", "TWILIO_ACCOUNT_SID=..."}
    assert found[4].cause == "not checked: REDIS_URL is wrong"
    assert doctor.verdict(found) == "failure"


def test_several_workers_without_redis_are_a_wrong_setting():
    settings, wrong = examined({"WEB_CONCURRENCY": "2"}, env_file=None)
    (found,) = doctor.checks(settings, wrong=wrong, only=("settings",))
    assert told(found)[::2] == ("failure", "REDIS_URL=...")
    assert "WEB_CONCURRENCY is above 1" in found.cause


def test_local_rights_behind_a_proxy_are_a_failure():
    found = only("secrets", of(LOCAL="1", TRUSTED_PROXIES="1"))
    assert told(found)[::2] == ("failure", "unset LOCAL")


def test_a_short_key_and_a_missing_password_are_told():
    assert "may be guessed" in only("secrets", of(SECRET_KEY="short")).cause
    assert "DASHBOARD_PASSWORD is not set" in only("secrets", of(FLASK_BASE_URL=PUBLIC)).cause


def test_no_secret_is_in_any_finding():
    settings = of(
        **TWILIO,
        OPENAI_API_KEY="sk-canary-1",
        OPENAI_BASE_URL="http://127.0.0.1:9",
        REDIS_URL="redis://:canary-2-password@127.0.0.1:9/0",
        DATABASE_URL="postgres://someone:canary-3-password@127.0.0.1:9/calls",
        TWILIO_API_BASE_URL="http://127.0.0.1:9",
        DASHBOARD_PASSWORD="canary-4-password",
        PORT="9",
    )
    found = doctor.checks(settings)
    assert {each.name for each in found} == set(doctor.NAMES)
    said = json.dumps([each.to_json() for each in found])
    assert "canary" not in said
    assert TOKEN not in said


# ------------------------------------------------------------------------ stores


def test_a_redis_that_is_away_is_named_with_its_place():
    found = only("redis", of(REDIS_URL="redis://127.0.0.1:9/0"))
    assert found.status == "failure"
    assert "127.0.0.1:9 does not answer" in found.cause
    assert found.command.startswith("redis-cli")


def test_a_redis_that_throws_things_away_is_told_how_not_to(redis_server):
    assert only("redis", of(REDIS_URL=redis_server)).status == "ok"
    with Redis.from_url(redis_server) as redis:
        redis.config_set("maxmemory-policy", "allkeys-lru")
        try:
            found = only("redis", of(REDIS_URL=redis_server))
        finally:
            redis.config_set("maxmemory-policy", "noeviction")
    assert found.status == "warning"
    assert found.command.endswith("config set maxmemory-policy noeviction")


def test_a_shared_redis_without_a_background_worker_is_told(redis_server):
    found = only("background", of(REDIS_URL=redis_server))
    assert told(found)[::2] == ("warning", ".venv/bin/python -m flaskapp.worker")


def test_a_database_file_that_is_not_there_is_told_each_time_and_not_made(tmp_path):
    path = tmp_path / "mistyped" / "calls.sqlite3"
    settings = of(DATABASE_URL=f"sqlite:///{path}")
    first, second = (doctor.checks(settings, only=("database", "migrations")) for _ in range(2))
    assert first == second
    assert told(first[0])[:2] == ("failure", f"There is no {path}")
    assert first[0].command.endswith("flask db upgrade")
    assert told(first[1])[:2] == ("warning", "not checked: the database's file is not there")
    assert not path.parent.exists()


def test_a_database_file_of_somebody_else_stays_as_it_is(tmp_path):
    path = tmp_path / "others.sqlite3"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (id)")
    before = path.read_bytes()
    doctor.checks(of(DATABASE_URL=f"sqlite:///{path}"), only=("database", "migrations"))
    assert path.read_bytes() == before


def test_a_database_without_tables_is_told_how_to_get_them(tmp_path):
    path = tmp_path / "new.sqlite3"
    path.touch()
    settings = of(DATABASE_URL=f"sqlite:///{path}")
    assert told(only("migrations", settings))[::2] == (
        "failure",
        ".venv/bin/python -m flaskapp.store.migrate",
    )
    assert only("database", settings).status == "ok"


def test_a_database_that_is_away_is_named(tmp_path):
    settings = of(DATABASE_URL=f"postgres://127.0.0.1:{servers.free_port()}/calls")
    found = only("database", settings)
    assert found.status == "failure"
    assert "does not answer" in found.cause
    assert only("migrations", settings).cause.startswith("not checked")


def test_a_database_that_somebody_is_writing_to_is_well(tmp_path, empty_calls):
    path = tmp_path / "calls.sqlite3"
    path.write_bytes(empty_calls.read_bytes())
    settings = of(DATABASE_URL=f"sqlite:///{path}")
    assert only("database", settings).cause.endswith("can be written to")
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        assert "somebody is writing" in only("database", settings).cause


def test_a_read_only_database_is_told(postgres_database):
    settings = of(DATABASE_URL=postgres_database)
    name = postgres_database.rpartition("/")[2]
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num varchar(32))")
        for each in newest():
            connection.execute("INSERT INTO alembic_version VALUES (%s)", [each])
        assert only("database", settings).cause.endswith("can be written to")
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    found = only("database", settings)
    assert found.status == "failure"
    assert "cannot be written to" in found.cause


# ------------------------------------------------------------------------ disk


@pytest.fixture
def room(monkeypatch) -> dict[Path, int]:
    """Bytes that are free, by folder, as the doctor is told; elsewhere there is plenty."""
    free: dict[Path, int] = {}
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=free.get(path, 1 << 40)))
    return free


def kept_in(tmp_path: Path, **values: str) -> Settings:
    """Database and sound in folders of their own."""
    for name in ("database", "sound"):
        (tmp_path / name).mkdir()
    address = f"sqlite:///{tmp_path / 'database' / 'calls.sqlite3'}"
    return of(**{"DATABASE_URL": address, "AUDIO_DIR": str(tmp_path / "sound"), **values})


@pytest.mark.parametrize(
    ("full", "records", "status"),
    [
        ("database", "0", "failure"),
        ("database", "1", "failure"),
        ("sound", "1", "failure"),
        ("sound", "0", "ok"),
    ],
)
def test_room_is_measured_wherever_something_is_kept(tmp_path, room, full, records, status):
    room[tmp_path / full] = 1 << 20
    found = only("disk", kept_in(tmp_path, RECORD_CALLS=records))
    assert found.status == status
    assert (f"0.0 GiB free in {tmp_path / full}" in found.cause) == (status == "failure")


def test_a_folder_that_is_still_to_be_made_is_measured_where_it_will_be(tmp_path, room):
    room[tmp_path] = 500 << 20
    found = only("disk", of(DATABASE_URL="postgres://x/y", RECORD_CALLS="1", AUDIO_DIR=str(tmp_path / "a/b")))
    assert told(found) == ("warning", f"0.5 GiB free in {tmp_path}", "flask phone purge")
    assert not list(tmp_path.iterdir())


def test_where_nothing_is_kept_no_room_is_needed():
    found = only("disk", of(DATABASE_URL="postgres://x/y"))
    assert told(found)[:2] == ("ok", "Nothing of calls is kept on this machine's disk")


def test_a_folder_that_takes_no_sound_is_told_where_sound_is_kept(tmp_path):
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    folder = in_the_way / "audio"
    found = only("disk", of(RECORD_CALLS="1", AUDIO_DIR=str(folder)))
    assert found.status == "failure"
    assert f"AUDIO_DIR={folder}: Not a directory" in found.cause
    assert found.command.startswith("AUDIO_DIR=")
    assert found.page == "docs/doctor.md#disk"
    assert str(folder) not in only("disk", of(AUDIO_DIR=str(folder))).cause


# ------------------------------------------------------------------------ agent and tools


def test_an_agent_file_that_is_broken_is_told_as_the_server_would(tmp_path):
    (tmp_path / "agent.yaml").write_text("greeeting: Hello.\n")
    settings = of(AGENT_FILE=str(tmp_path / "agent.yaml"))
    found = only("agent", settings)
    assert found.status == "failure"
    assert "unknown greeeting" in found.cause
    assert found.page == "docs/agent-file.md"
    assert only("tools", settings).cause.startswith("not checked")


def test_tools_that_cannot_be_imported_are_told():
    found = only("tools", of(TOOLS="no_such_module_anywhere"))
    assert found.status == "failure"
    assert "no_such_module_anywhere cannot be imported" in found.cause


def test_what_others_say_is_shown_without_our_secrets(tmp_path, monkeypatch):
    (tmp_path / "talkative_tools.py").write_text("raise RuntimeError('refused: canary-5-secret')\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = only("tools", of(TOOLS="talkative_tools", OPENAI_API_KEY="canary-5-secret"))
    assert "refused: <redacted>" in found.cause


# ------------------------------------------------------------------------ the engine


@pytest.mark.parametrize(
    ("status", "cause", "command"),
    [
        (401, "does not take the key", "OPENAI_API_KEY="),
        (403, "forbids this key the model", "OPENAI_API_KEY="),
        (404, "has no gpt-realtime", "OPENAI_REALTIME_MODEL="),
        (503, "is in trouble", "OPENAI_BASE_URL="),
    ],
)
def test_an_engine_that_refuses_is_told_with_the_setting_to_mend(engine, status, cause, command):
    engine.behaviour = Behaviour(handshake_status=status)
    found = only("engine", of(OPENAI_BASE_URL=engine.base_url, OPENAI_API_KEY="sk-wrong-key"))
    assert found.status == "failure"
    assert cause in found.cause
    assert found.command.startswith(command)


def test_an_azure_deployment_that_does_not_exist_is_named(engine):
    engine.behaviour = Behaviour(handshake_status=404)
    azure = {"AZURE_OPENAI_ENDPOINT": engine.origin, "AZURE_OPENAI_REALTIME_DEPLOYMENT": "no-such"}
    found = only("engine", of(**azure, AZURE_OPENAI_API_KEY="azure-key"))
    assert "has no no-such" in found.cause
    assert found.command.startswith("AZURE_OPENAI_REALTIME_DEPLOYMENT=")


def test_an_engine_that_opens_is_well_and_heard_nothing(engine):
    found = only("engine", of(OPENAI_BASE_URL=engine.base_url, OPENAI_API_KEY="sk-right"))
    assert found.status == "ok", found
    (session,) = engine.sessions
    assert [each["type"] for each in session.events] == ["session.update"]
    assert not session.offences


def test_a_session_that_is_refused_is_told_in_the_engines_words(engine):
    engine.behaviour = Behaviour(refuses_updates=1)
    found = only("engine", of(OPENAI_BASE_URL=engine.base_url, OPENAI_API_KEY="sk-right"))
    assert found.status == "warning"
    assert "refuses the session" in found.cause


def test_an_engine_that_speaks_another_sound_is_told(engine):
    engine.behaviour = Behaviour(echoed_format="audio/pcm")
    found = only("engine", of(OPENAI_BASE_URL=engine.base_url, OPENAI_API_KEY="sk-right"))
    assert found.status == "failure"
    assert "takes audio/pcm as input" in found.cause


@pytest.mark.parametrize("address", ["", PUBLIC])
def test_the_stand_in_is_not_taken_for_an_engine(engine, address):
    found = only("engine", of(LOCALAI_URL=engine.base_url, FLASK_BASE_URL=address, DASHBOARD_PASSWORD="x"))
    assert found.status == "warning"
    assert found.cause.startswith("The local stand-in answers (LOCALAI_URL)")
    assert found.cause.endswith("callers hear") == bool(address)
    assert "OPENAI_API_KEY" in found.command


def test_no_engine_and_one_that_is_away():
    assert "No AI engine is configured" in only("engine", of()).cause
    found = only("engine", of(OPENAI_BASE_URL=f"http://127.0.0.1:{servers.free_port()}", OPENAI_API_KEY="k"))
    assert "cannot be reached" in found.cause


# ------------------------------------------------------------------------ clock and carriers


def test_a_clock_that_is_wrong_is_told_by_how_much(redis_server):
    settings = of(REDIS_URL=redis_server)
    assert only("clock", settings).status == "ok"
    ahead = only("clock", settings, now=lambda: time.time() + 400)
    assert told(ahead)[::2] == ("failure", "timedatectl set-ntp true")
    assert "400 s ahead of Redis's" in ahead.cause
    assert "20 s behind" in only("clock", settings, now=lambda: time.time() - 20).cause


def test_twilios_answers_are_read_the_clock_included():
    account = Account(
        ACCOUNT, TOKEN, [PhoneNumber("+15559870000", f"{PUBLIC}/phone/incoming-call-streaming")]
    )
    number = account.numbers[0]
    with BackgroundNetwork(account) as network:
        here = of(**TWILIO, TWILIO_API_BASE_URL=network.api_url, FLASK_BASE_URL=PUBLIC)
        assert "no fallback URL" in only("twilio", here).cause
        number.voice_fallback_url = f"{PUBLIC}/phone/fallback"
        assert only("twilio", here).status == "ok"
        number.voice_url = "https://demo.twilio.com/welcome/voice"
        elsewhere = only("twilio", here)
        assert elsewhere.status == "failure"
        assert "they go to https://demo.twilio.com/welcome/voice" in elsewhere.cause
        assert elsewhere.command.endswith("configure-webhook")
        wrong = of(**TWILIO | {"TWILIO_AUTH_TOKEN": "f" * 32}, TWILIO_API_BASE_URL=network.api_url)
        assert told(only("twilio", wrong))[::2] == ("failure", "TWILIO_AUTH_TOKEN=... in .env")
        missing = of(**TWILIO, TWILIO_API_BASE_URL=network.api_url, TWILIO_PHONE_NUMBER="+15550000000")
        assert "not a number of this account" in only("twilio", missing).cause
        assert "ahead of Twilio's" in only("clock", here, now=lambda: time.time() + 90).cause


def test_exotel_without_anything_to_know_it_by_is_let_in_by_nobody():
    found = only("exotel", of(EXOTEL_ACCOUNT_SID="acme"))
    assert found.status == "failure"
    assert "Nobody is let in" in found.cause


# ------------------------------------------------------------------------ the runner


def test_a_check_that_hangs_holds_up_nobody_else(redis_server):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and never answers
        settings = of(REDIS_URL=redis_server, OPENAI_BASE_URL=f"http://127.0.0.1:{silent.getsockname()[1]}")
        engine, redis = doctor.checks(settings, only=("engine", "redis"), within_s=0.5)[::-1]
    assert engine.cause == "No answer in time: what it asks hangs"
    assert redis.status == "ok"


def test_cheap_checks_ask_nobody_outside():
    assert {"redis", "database", "migrations", "disk"} <= set(doctor.CHEAP)
    assert not {"engine", "address", "server", "twilio", "websocket", "clock", "tools"} & set(doctor.CHEAP)

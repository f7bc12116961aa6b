"""Settings: what is understood, what is refused, and that every wrong one is named at once."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import pytest

from flaskapp.config import CHAT_MODEL, PROJECT, Settings, examined, load_settings
from flaskapp.phone.errors import ConfigurationError

AZURE = {"AZURE_OPENAI_REALTIME_DEPLOYMENT": "voice"}
SECRET = "canary-4f1d"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def settings(instance=None, **values):
    return load_settings(values, env_file=None, instance=instance or Path.cwd())


def refusal(**values) -> str:
    with pytest.raises(ConfigurationError) as raised:
        settings(**values)
    return str(raised.value)


@pytest.mark.parametrize(
    "typed",
    [
        "https://x.openai.azure.com",
        "https://x.openai.azure.com/",
        "wss://x.openai.azure.com",
        "x.openai.azure.com",
        "x.openai.azure.com/",
        "https://x.openai.azure.com/openai/v1",
        "https://x.openai.azure.com/openai/v1/",
        "wss://x.openai.azure.com/openai/v1/realtime",
        "https://x.openai.azure.com/openai/realtime?api-version=2025-04-01-preview&deployment=voice",
    ],
)
def test_every_way_to_copy_an_azure_endpoint_gives_the_same_address(typed):
    assert (
        settings(AZURE_OPENAI_ENDPOINT=typed, **AZURE).engine.base_url
        == "https://x.openai.azure.com/openai/v1"
    )


@pytest.mark.parametrize("typed", ["http://127.0.0.1:8080", "ws://127.0.0.1:8080/openai/v1"])
def test_a_plain_azure_endpoint_stays_plain(typed):
    assert settings(AZURE_OPENAI_ENDPOINT=typed, **AZURE).engine.base_url == "http://127.0.0.1:8080/openai/v1"


def test_azure_comes_before_openai_and_openai_before_the_local_server():
    everything = {
        "AZURE_OPENAI_ENDPOINT": "x.openai.azure.com",
        "OPENAI_API_KEY": "key",
        "LOCALAI_URL": "http://127.0.0.1:9000/v1",
        **AZURE,
    }
    assert settings(**everything).engine.kind == "azure"
    del everything["AZURE_OPENAI_ENDPOINT"]
    assert settings(**everything).engine.kind == "openai"
    del everything["OPENAI_API_KEY"]
    assert settings(**everything).engine.kind == "local"
    assert settings().engine is None


def test_azure_without_a_key_asks_for_tokens():
    without = settings(AZURE_OPENAI_ENDPOINT="x.openai.azure.com", **AZURE).engine
    assert (without.api_key, without.token_scope) == (None, "https://ai.azure.com/.default")
    keyed = settings(AZURE_OPENAI_ENDPOINT="x.openai.azure.com", AZURE_OPENAI_API_KEY="key", **AZURE).engine
    assert (keyed.api_key.get_secret_value(), keyed.token_scope) == ("key", None)


def test_a_compatible_server_needs_no_key_and_its_address_is_completed():
    for typed in ("http://h:8000", "http://h:8000/v1", "ws://h:8000/v1/", "http://h:8000/v1/realtime"):
        engine = settings(OPENAI_BASE_URL=typed).engine
        assert (engine.kind, engine.base_url, engine.api_key) == ("openai", "http://h:8000/v1", None)


def test_defaults_of_the_engines():
    azure = settings(AZURE_OPENAI_ENDPOINT="x.openai.azure.com", **AZURE).engine
    openai = settings(OPENAI_API_KEY="key").engine
    assert (azure.model, azure.voice, azure.transcribe_model) == ("voice", "alloy", "gpt-transcribe")
    assert (openai.model, openai.voice) == ("gpt-realtime-2.1", "marin")
    assert settings(LOCALAI_URL="http://127.0.0.1:8080").engine.model == "local-stand-in"
    named = settings(LOCALAI_URL="http://127.0.0.1:8080", OPENAI_REALTIME_MODEL="mine").engine
    assert named.model == "mine"
    assert openai.base_url == "https://api.openai.com/v1"


def test_recordings_are_answered_by_models_of_their_own_or_by_the_realtime_one():
    azure = settings(AZURE_OPENAI_ENDPOINT="x.openai.azure.com", **AZURE).engine
    assert (azure.chat_model, azure.speech_model) == ("", "")
    openai = settings(OPENAI_API_KEY="key").engine
    assert (openai.chat_model, openai.speech_model) == (CHAT_MODEL, "")
    local = settings(LOCALAI_URL="http://127.0.0.1:9000/v1").engine
    assert local.chat_model
    assert local.speech_model


@pytest.mark.parametrize(
    "engine",
    [
        {"AZURE_OPENAI_ENDPOINT": "x.openai.azure.com", **AZURE},
        {"OPENAI_API_KEY": "key"},
        {"LOCALAI_URL": "http://127.0.0.1:9000/v1"},
    ],
)
def test_named_models_are_taken_everywhere(engine):
    named = {"OPENAI_TRANSCRIBE_MODEL": "ears", "OPENAI_CHAT_MODEL": "mind", "OPENAI_SPEECH_MODEL": "voice"}
    found = settings(**engine, **named).engine
    assert (found.transcribe_model, found.chat_model, found.speech_model) == ("ears", "mind", "voice")


def test_all_wrong_settings_are_named_at_once():
    text = refusal(
        PORT="five",
        WEB_CONCURRENCY="0",
        LOG_LEVEL="LOUD",
        FLASK_BASE_URL="https://host/path",
        DATABASE_URL="mysql://host/db",
        REDIS_URL="host:6379",
        TWILIO_ACCOUNT_SID="AC1",
        AZURE_OPENAI_ENDPOINT="x.openai.azure.com",
        AGENT_FILE="missing.yaml",
    )
    named = {line.split()[0] for line in text.splitlines()}
    assert named == {
        *("PORT", "WEB_CONCURRENCY", "LOG_LEVEL", "FLASK_BASE_URL", "DATABASE_URL", "REDIS_URL"),
        *("TWILIO_AUTH_TOKEN", "AZURE_OPENAI_REALTIME_DEPLOYMENT", "AGENT_FILE"),
    }


def test_no_refusal_echoes_what_was_typed():
    wrong = (
        "PORT",
        "LOCAL",
        "FLASK_BASE_URL",
        "REDIS_URL",
        "DATABASE_URL",
        "AZURE_OPENAI_ENDPOINT",
        "LOG_LEVEL",
    )
    text = refusal(**dict.fromkeys(wrong, f"http://a:{SECRET}@{SECRET}/{SECRET}"), TWILIO_ACCOUNT_SID=SECRET)
    assert SECRET not in text
    assert len(text.splitlines()) == len(wrong) + 1


def test_limits_and_what_a_call_does_when_nothing_is_set():
    read = settings()
    assert (read.max_call_seconds, read.max_calls_per_caller, read.busy) == (1800, 0, "record")
    assert (read.max_call_cost_usd, read.engine_session_seconds, read.drain_seconds) == (0, 3600, 20)
    assert (read.call_webhook_url, read.call_webhook_secret, read.tools) == ("", None, "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_CALL_SECONDS", "0"),
        ("MAX_CALLS_PER_CALLER", "-1"),
        ("BUSY", "hang up"),
        ("MAX_CALL_COST_USD", "-0.1"),
        ("MAX_CALL_COST_USD", "nan"),
        ("MAX_CALL_COST_USD", "inf"),
        ("ENGINE_SESSION_SECONDS", "1"),
        ("DRAIN_SECONDS", "-1"),
        ("DRAIN_SECONDS", "601"),
        ("PRICES_USD_PER_MILLION", "audio=1"),
        ("PRICES_USD_PER_MILLION", "output_audio_tokens=-1"),
        ("PRICES_USD_PER_MILLION", "output_audio_tokens=1000001"),
        ("PRICES_USD_PER_MILLION", "output_audio_tokens=1e308"),
        ("CALL_WEBHOOK_SECRET", "fifteen letters"),
        ("CALL_WEBHOOK_SECRET", "whsec_ümlautümlautümlautümlautümlaut"),
        ("CALL_WEBHOOK_SECRET", "whsec_!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"),
        ("CALL_WEBHOOK_SECRET", "whsec_!" + b64encode(b"k" * 24).decode()),
        ("CALL_WEBHOOK_SECRET", "whsec_" + b64encode(b"k" * 23).decode()),
        ("CALL_WEBHOOK_SECRET", "whsec_" + b64encode(b"k" * 65).decode()),
        ("CALL_WEBHOOK_SECRET", "whsec_" + b64encode(b"k" * 25).decode().rstrip("=")),
        ("CALL_WEBHOOK_URL", "example.com/calls"),
        ("CALL_WEBHOOK_URL", "ftp://example.com/calls"),
        ("CALL_WEBHOOK_URL", "https://user:password@example.com/calls"),
        ("CALL_WEBHOOK_URL", "https://example.com/calls#here"),
        ("CALL_WEBHOOK_URL", "https:///calls"),
        ("EXOTEL_ALLOWED_IPS", "203.0.113.7, exotel.example.com"),
        ("EXOTEL_ALLOWED_IPS", "203.0.113.7/24"),
        ("EXOTEL_CHUNK_BYTES", "2880"),
        ("EXOTEL_CHUNK_BYTES", "3201"),
        ("EXOTEL_CHUNK_BYTES", "100160"),
        ("TOOLS", "my tools"),
        ("TOOLS", "tools.py, ../tools"),
    ],
)
def test_a_wrong_limit_address_or_module_is_refused_by_its_name(name, value):
    assert refusal(**{name: value}).startswith(f"{name} ")


@pytest.mark.parametrize(
    "secret", ["sixteen  letters", *("whsec_" + b64encode(b"k" * count).decode() for count in (24, 25, 64))]
)
def test_a_secret_that_signs_well_is_taken_as_it_is(secret):
    assert settings(CALL_WEBHOOK_SECRET=secret).call_webhook_secret.get_secret_value() == secret


@pytest.mark.parametrize("letter", ["", "!", "ü"])
def test_a_secret_that_is_refused_is_not_repeated_and_what_it_must_be_is_said(letter):
    text = refusal(CALL_WEBHOOK_SECRET=f"whsec_{SECRET}{letter}")
    assert SECRET not in text
    assert text.startswith("CALL_WEBHOOK_SECRET must be whsec_ and the base64 of 24 to 64 bytes, or another")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9000/calls", "https://example.com", "https://example.com/hooks/a?key=b"]
)
def test_the_address_that_is_told_of_calls_is_taken_as_it_is(url):
    assert settings(CALL_WEBHOOK_URL=url).call_webhook_url == url


def test_every_wrong_price_is_named_and_no_price_is_repeated():
    text = refusal(PRICES_USD_PER_MILLION=f"audio=1, speech=2, input_audio_tokens={SECRET}")
    assert "audio; no count is called speech; input_audio_tokens needs" in text
    assert SECRET not in text


def test_the_engine_s_list_is_what_calls_cost_and_the_local_one_is_free():
    usage = {"output_audio_tokens": 1_000_000}
    own = {"PRICES_USD_PER_MILLION": "output_audio_tokens=3"}
    local = {"LOCALAI_URL": "http://127.0.0.1:9000/v1"}
    assert settings(OPENAI_API_KEY="key").prices.cost_usd(usage) == 64
    assert settings(OPENAI_API_KEY="key", **own).prices.cost_usd(usage) == 3
    assert settings(**local).prices.cost_usd(usage) == 0
    assert settings(**local, **own).prices.cost_usd(usage) == 3


def test_modules_of_tools_are_named_as_python_imports_them():
    assert settings(TOOLS=" shop.hours,shop.orders ,").tools == "shop.hours, shop.orders"


def test_settings_do_not_print_their_secrets():
    printed = repr(
        settings(
            TWILIO_AUTH_TOKEN=SECRET,
            REDIS_URL=f"redis://:{SECRET}@h",
            OPENAI_API_KEY=SECRET,
            CALL_WEBHOOK_URL=f"https://example.com/{SECRET}",
            CALL_WEBHOOK_SECRET=f"{SECRET}-is-long-enough",
        )
    )
    assert SECRET not in printed


def test_several_workers_without_redis_are_refused_with_the_reason():
    assert "REDIS_URL is missing while WEB_CONCURRENCY is above 1" in refusal(WEB_CONCURRENCY="2")
    assert settings(WEB_CONCURRENCY="2", REDIS_URL="redis://127.0.0.1").web_concurrency == 2


def test_an_account_without_its_token_is_refused():
    assert "TWILIO_AUTH_TOKEN is missing" in refusal(TWILIO_ACCOUNT_SID="AC1")


@pytest.mark.parametrize("half", ["EXOTEL_API_KEY", "EXOTEL_API_TOKEN"])
def test_exotel_s_key_and_token_go_together(half):
    assert "EXOTEL_API_KEY and EXOTEL_API_TOKEN go together" in refusal(**{half: SECRET})
    assert SECRET not in refusal(**{half: SECRET})
    both = settings(EXOTEL_API_KEY="key", EXOTEL_API_TOKEN=SECRET)
    assert both.exotel_api_token.get_secret_value() == SECRET
    assert SECRET not in repr(both)


def test_exotel_s_addresses_and_networks_are_brought_to_one_spelling():
    read = settings(EXOTEL_ALLOWED_IPS="203.0.113.7 ,198.51.100.0/24,,2001:db8::/32")
    assert read.exotel_allowed_ips == "203.0.113.7/32, 198.51.100.0/24, 2001:db8::/32"
    assert settings().exotel_allowed_ips == ""


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgres_in_every_spelling(scheme):
    assert settings(DATABASE_URL=f"{scheme}://u:p@h/db").database_url == "postgresql+psycopg://u:p@h/db"


def test_without_a_database_sqlite_lies_in_the_instance_folder(tmp_path):
    assert settings(tmp_path).database_url == f"sqlite:///{tmp_path}/answerline.sqlite3"


def test_a_public_origin_is_told_from_a_loopback_one():
    assert settings(FLASK_BASE_URL="https://voice.example.com/").flask_base_url == "https://voice.example.com"
    assert settings(FLASK_BASE_URL="https://voice.example.com").is_public_origin
    for near in ("http://localhost:5001", "http://127.0.0.1:5001", "http://[::1]:5001", ""):
        assert not settings(FLASK_BASE_URL=near).is_public_origin


def test_the_environment_beats_the_file_and_an_empty_value_takes_it_back(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("HOST=0.0.0.0\nPORT=7000\nREDIS_URL=redis://h\nUNKNOWN=1\n")
    monkeypatch.setenv("PORT", "7001")
    monkeypatch.setenv("REDIS_URL", "")
    read = load_settings({"LOG_LEVEL": "debug"}, instance=tmp_path)
    assert (read.host, read.port, read.redis_url, read.log_level) == ("0.0.0.0", 7001, "", "DEBUG")


def test_the_signing_key_follows_from_the_secrets(tmp_path):
    first = settings(tmp_path / "one", OPENAI_API_KEY="a").secret_key
    assert first == settings(tmp_path / "two", OPENAI_API_KEY="a").secret_key
    assert first != settings(tmp_path / "one", OPENAI_API_KEY="b").secret_key
    assert not (tmp_path / "one").exists()
    assert settings(SECRET_KEY="mine").secret_key.get_secret_value() == "mine"


def test_whoever_is_told_of_calls_cannot_sign_tickets(tmp_path):
    """He knows the webhook's secret, or Exotel's token: the signing key must not follow from it."""
    exotel = {"EXOTEL_API_KEY": "key", "EXOTEL_API_TOKEN": "in the applet's address"}
    told = {"CALL_WEBHOOK_SECRET": "shared with them", **exotel}
    assert settings(tmp_path / "one", **told).secret_key != settings(tmp_path / "two", **told).secret_key
    both = settings(OPENAI_API_KEY="a", **told).secret_key
    assert both == settings(OPENAI_API_KEY="a").secret_key


@pytest.mark.parametrize("known", [{}, {"DASHBOARD_PASSWORD": "guessable"}])
def test_without_a_real_secret_the_key_is_this_installations_own(tmp_path, known):
    one = settings(tmp_path / "one", **known).secret_key
    assert one == settings(tmp_path / "one", **known).secret_key
    assert one != settings(tmp_path / "two", **known).secret_key
    assert (tmp_path / "one" / "signing-key").stat().st_mode & 0o777 == 0o600


def test_the_example_file_is_up_to_date():
    check = [sys.executable, "scripts/env_example.py", "--check"]
    done = subprocess.run(check, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_the_button_asks_only_for_settings_that_there_are():
    asked = json.loads((PROJECT / "app.json").read_text())["env"]
    assert asked.keys() <= {name.upper() for name in Settings.model_fields}


def test_what_is_wrong_may_be_looked_at_beside_what_is_right():
    values = {"PORT": "many", "TWILIO_ACCOUNT_SID": "AC1", "HOST": "::1"}
    known, wrong = examined(values, env_file=None, instance=Path.cwd())
    assert set(wrong) == {"port", "twilio_account_sid"}
    assert (known.port, known.host) == (5001, "::1")


def test_a_data_key_is_one_or_several_fernet_keys():
    keys = [b64encode(bytes([number]) * 32, b"-_").decode() for number in (1, 255)]
    assert settings(DATA_KEY=", ".join(keys)).data_key.get_secret_value() == ", ".join(keys)
    for wrong in (SECRET, keys[0][:-4], f"{keys[0]},", "a" * 43):
        told = refusal(DATA_KEY=wrong)
        assert told.startswith("DATA_KEY must be Fernet keys")
        assert "flask phone data-key" in told
        assert wrong not in told


def test_a_new_data_key_signs_nobody_out():
    key = b64encode(bytes(32)).decode()
    with_key = settings(DATA_KEY=key, TWILIO_AUTH_TOKEN=SECRET)
    assert with_key.secret_key == settings(TWILIO_AUTH_TOKEN=SECRET).secret_key


def test_call_audio_lies_in_the_instance_unless_it_is_said_otherwise(tmp_path):
    assert settings(tmp_path).audio_dir == str(tmp_path / "audio")
    assert settings(tmp_path, AUDIO_DIR="/srv/calls").audio_dir == "/srv/calls"

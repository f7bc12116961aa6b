"""``flask phone configure-webhook`` against the simulated carrier's REST interface."""

from __future__ import annotations

import stat
from collections.abc import Iterator

import pytest

from flaskapp.config import load_settings
from flaskapp.phone.errors import ConfigurationError
from flaskapp.phone.webhook_commands import _is_changed
from flaskapp.phone.webhook_setup import FIELDS, FILE, Memory, Number, SetupError, public_origin, wanted
from flaskapp.simulator.background import BackgroundNetwork
from flaskapp.simulator.twilio.account import Account, PhoneNumber
from tests.doctor.conftest import ACCOUNT, TOKEN

pytestmark = pytest.mark.system

PUBLIC = "https://voice.example.com"
DEMO = "https://demo.twilio.com/welcome/voice"
OURS = f"{PUBLIC}/phone/incoming-call-streaming"


@pytest.fixture
def number() -> PhoneNumber:
    return PhoneNumber("+15559870000", DEMO, voice_method="GET", status_callback="https://old.example.com/s")


@pytest.fixture
def account(number) -> Account:
    return Account(ACCOUNT, TOKEN, [number])


@pytest.fixture
def config(config, account) -> Iterator[dict[str, str]]:
    with BackgroundNetwork(account) as network:
        twilio = {"TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": TOKEN}
        yield config | twilio | {"TWILIO_API_BASE_URL": network.api_url, "FLASK_BASE_URL": PUBLIC}


@pytest.fixture
def configure(app, runner, tmp_path):
    """Types the command; what was there before is remembered in this test's own folder."""
    app.extensions["webhook_memory"] = Memory(tmp_path)
    return lambda *arguments, typed="": runner.invoke(
        args=["phone", "configure-webhook", *arguments], input=typed
    )


def test_the_number_is_shown_asked_about_pointed_here_and_back(configure, number, tmp_path):
    done = configure(typed="y\n")
    assert done.exit_code == 0, done.output
    assert f"    - {DEMO}\n    + {OURS}" in done.output
    assert f"Primary handler fails  Webhook, {PUBLIC}/phone/fallback, HTTP POST" in done.output
    assert "Change +15559870000? [y/N]" in done.output
    assert (number.voice_url, number.voice_method) == (OURS, "POST")
    assert number.voice_fallback_url == f"{PUBLIC}/phone/fallback"
    assert number.status_callback == f"{PUBLIC}/phone/call-status"
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert "is set as it should be" in configure("--yes").output
    back = configure("--undo", "--yes")
    assert back.exit_code == 0, back.output
    assert (number.voice_url, number.voice_method) == (DEMO, "GET")
    assert (number.voice_fallback_url, number.status_callback) == ("", "https://old.example.com/s")
    assert "nothing to undo" in configure("--undo").output


def test_two_changes_are_undone_one_after_the_other(configure, number):
    configure("--yes")
    configure("--yes", "--fallback-url", "https://handler.twilio.com/twiml/EH1")
    assert number.voice_fallback_url == "https://handler.twilio.com/twiml/EH1"
    configure("--undo", "--yes")
    assert (number.voice_url, number.voice_fallback_url) == (OURS, f"{PUBLIC}/phone/fallback")
    configure("--undo", "--yes")
    assert number.voice_url == DEMO


def test_what_somebody_else_has_set_since_is_not_overwritten_unasked(configure, number):
    configure("--yes")
    number.voice_url = "https://another.example.com/voice"
    refused = configure("--undo", "--yes")
    assert refused.exit_code == 1
    assert "  voice_url: https://another.example.com/voice\n" in refused.output
    assert "--undo --force" in refused.output
    assert number.voice_url == "https://another.example.com/voice"
    assert number.voice_fallback_url == f"{PUBLIC}/phone/fallback", "nothing else is, either"
    shown = configure("--undo", "--force", "--dry-run")
    assert f"    - https://another.example.com/voice\n    + {DEMO}" in shown.output
    assert configure("--undo", "--force", "--yes").exit_code == 0
    assert number.voice_url == DEMO
    assert "nothing to undo" in configure("--undo").output


def test_an_undo_that_was_done_already_is_forgotten(configure, number):
    configure("--yes")
    configure("--yes", "--fallback-url", "https://handler.twilio.com/twiml/EH1")
    number.voice_fallback_url = f"{PUBLIC}/phone/fallback"  # by hand, or by an undo that broke off
    assert "is set as it should be" in configure("--undo", "--yes").output
    configure("--undo", "--yes")
    assert number.voice_url == DEMO


@pytest.mark.parametrize(("status", "is_remembered"), [(400, False), (503, True), (0, True)])
def test_what_may_have_been_done_is_remembered(tmp_path, status, is_remembered):
    class Gateway:
        def update(self, number: Number, fields: object) -> None:
            raise SetupError("no answer that tells", status)

    meant, memory = Number("PN1", "+15559870000", dict.fromkeys(FIELDS, "")), Memory(tmp_path)
    with pytest.raises(SetupError):
        _is_changed(Gateway(), meant, wanted(PUBLIC), memory, dry_run=False, undo=False, yes=True)
    assert (memory.before(meant) is not None) is is_remembered


@pytest.mark.parametrize(("arguments", "typed"), [(("--dry-run",), ""), ((), "n\n"), ((), "")])
def test_nothing_is_changed_without_a_yes(configure, number, tmp_path, arguments, typed):
    done = configure(*arguments, typed=typed)
    assert OURS in done.output
    assert number.voice_url == DEMO
    assert not (tmp_path / FILE).exists()


def test_what_takes_the_calls_away_from_the_urls_is_taken_off_or_told(configure, number):
    number.voice_application_sid, number.trunk_sid = "AP1", "TK1"
    done = configure("--yes")
    assert "    - AP1\n    + (empty)" in done.output
    assert "A SIP trunk takes this number's calls" in done.output
    assert number.voice_application_sid == ""
    configure("--undo", "--yes")
    assert number.voice_application_sid == "AP1"


def test_one_of_several_numbers_has_to_be_named(configure, account):
    account.numbers.append(PhoneNumber("+15559870001"))
    done = configure("--yes")
    assert done.exit_code == 1
    assert "Which number?; it has:\n  +15559870000\n  +15559870001" in done.output
    assert "+15550000000 is not a number of this account" in configure("--number", "+15550000000").output
    assert configure("--yes", "--number", "+15559870001").exit_code == 0
    assert account.numbers[1].voice_url == OURS
    assert account.numbers[0].voice_url == DEMO


def test_credentials_that_twilio_does_not_take_are_told_in_a_line(configure, account):
    account.auth_token = "f" * 32
    done = configure("--yes")
    assert done.exit_code == 1
    assert done.output.startswith("Error: Twilio does not take TWILIO_AUTH_TOKEN")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"FLASK_BASE_URL": ""}, "FLASK_BASE_URL is not set"),
        ({"FLASK_BASE_URL": "http://voice.example.com"}, "is not https"),
        ({"TWILIO_ACCOUNT_SID": "", "TWILIO_AUTH_TOKEN": ""}, "TWILIO_ACCOUNT_SID is not set"),
        ({"TWILIO_API_BASE_URL": "http://127.0.0.1:9"}, "does not answer"),
    ],
)
def test_what_is_missing_is_told_in_a_line(config, changed, said, request):
    config.update(changed)
    done = request.getfixturevalue("configure")("--yes")
    assert done.exit_code == 1
    assert said in done.output
    assert "Traceback" not in done.output


def test_a_memory_that_cannot_be_kept_changes_nothing(configure, number, tmp_path):
    (tmp_path / FILE).write_text("no json")
    done = configure("--yes")
    assert "cannot be read" in done.output
    assert number.voice_url == DEMO


def test_a_url_that_twilio_refuses_is_told_in_its_words(configure, number):
    done = configure("--yes", "--fallback-url", "https://" + "x" * 3000 + ".example.com")
    assert done.exit_code == 1
    assert "Twilio refuses (400, error 20001): Unable to update record: VoiceFallbackUrl" in done.output
    assert number.voice_url == DEMO
    assert "nothing to undo" in configure("--undo").output


def test_no_number_is_pointed_at_this_machine_itself(config):
    """But a simulated one."""
    here = {**config, "FLASK_BASE_URL": "https://localhost:8443"}
    assert public_origin(load_settings(here, env_file=None)) == "https://localhost:8443"
    real = {**here, "TWILIO_API_BASE_URL": "https://api.twilio.com"}
    with pytest.raises(ConfigurationError, match="this machine's own address"):
        public_origin(load_settings(real, env_file=None))

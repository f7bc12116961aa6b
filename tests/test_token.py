"""``flask phone token``: a ticket for one call, which opens what it says and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from flaskapp import create_app
from flaskapp.phone.errors import TicketError
from flaskapp.store.history import CallOpened


@pytest.fixture
def token(app):
    def run(*arguments: str):
        return app.test_cli_runner().invoke(args=["phone", "token", *arguments])

    return run


def test_a_ticket_for_a_call_that_is_named_opens_that_call_once(app, token):
    done = token("--call", "CA1")
    assert done.exit_code == 0
    tickets = app.extensions["tickets"]
    with pytest.raises(TicketError):
        tickets.check(done.stdout.strip(), "CA2")
    tickets.spend(done.stdout.strip(), "CA1")
    with pytest.raises(TicketError):
        tickets.spend(done.stdout.strip(), "CA1")


def test_of_a_call_that_nobody_knows_that_is_said_and_the_ticket_is_given(app, token):
    app.extensions["history"].write([CallOpened("CA1", "twilio", "+1", "+2", "live", datetime.now(UTC))])
    assert token("--call", "CA1").stderr == ""
    done = token("--call", "nope")
    assert (done.exit_code, "Nobody knows a call nope yet" in done.stderr) == (0, True)
    app.extensions["tickets"].check(done.stdout.strip(), "nope")


def test_without_a_name_it_is_for_the_newest_call(app, token):
    for number in (1, 2):
        app.extensions["history"].write(
            [CallOpened(f"CA{number}", "twilio", "+1", "+2", "live", datetime.now(UTC))]
        )
    done = token()
    assert (done.exit_code, done.stderr) == (0, "for CA2\n")
    app.extensions["tickets"].check(done.stdout.strip(), "CA2")


def test_where_nobody_has_called_a_name_is_asked_for(token):
    done = token()
    assert done.exit_code == 1
    assert "--call" in done.stderr


def test_a_name_that_no_call_can_have_is_refused(token):
    assert token("--call", "../x").exit_code == 2


def test_the_server_and_the_command_agree_on_the_secret(tmp_path, token):
    """Two processes with the same environment."""
    settings = {"SECRET_KEY": "0123456789abcdef", "DATABASE_URL": f"sqlite:///{tmp_path}/x.sqlite3"}
    ours, theirs = create_app(settings), create_app(settings)
    ticket = ours.extensions["tickets"].issue("CA1")
    assert theirs.extensions["tickets"].redeem(ticket) == "CA1"

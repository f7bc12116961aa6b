"""The app for `flask ...` commands: a wrong setting is told in a line, not in a traceback."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from flaskapp.phone.errors import ConfigurationError

if TYPE_CHECKING:
    from flask import Flask

DOCTOR = ["phone", "doctor"]


def app() -> Flask:
    """What FLASK_APP in .flaskenv names. Nothing is patched here: commands are no servers."""
    from flaskapp import create_app

    if _is_for_doctor(sys.argv[1:]):
        return _ill()
    try:
        return create_app()
    except ConfigurationError as error:
        sys.exit(f"{error}")


def _is_for_doctor(arguments: list[str]) -> bool:
    return any(arguments[at : at + len(DOCTOR)] == DOCTOR for at in range(len(arguments)))


def _ill() -> Flask:
    """Nothing but the commands: whatever may be wrong with the app, the doctor can be asked."""
    from flask import Flask

    from flaskapp.phone.cli import phone_cli

    app = Flask("flaskapp")
    app.cli.add_command(phone_cli)
    return app

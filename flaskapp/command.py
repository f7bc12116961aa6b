"""The app for `flask ...` commands: a wrong setting is told in a line, not in a traceback."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from flaskapp.phone.errors import ConfigurationError

if TYPE_CHECKING:
    from flask import Flask


def app() -> Flask:
    """What FLASK_APP in .flaskenv names. Nothing is patched here: commands are no servers."""
    from flaskapp import create_app

    try:
        return create_app()
    except ConfigurationError as error:
        sys.exit(f"{error}")

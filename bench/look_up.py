"""What the agent of the measured product may look up: it takes as long as another's server would."""

from __future__ import annotations

import time

from flaskapp.phone.tools import tool

TAKES_S = 0.5


@tool
def look_up() -> str:
    """Look something up."""
    time.sleep(TAKES_S)
    return "found"

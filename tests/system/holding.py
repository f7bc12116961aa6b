"""What the tests of calls that hold have in common: the agent, the caller, the row that is left."""

from __future__ import annotations

import json

from flaskapp.simulator.person import Script, Utterance
from flaskapp.simulator.sounds import tone
from tests.behaviour import ToolUse

SALES = "+15550100001"
AGENT_FILE = f"""
name: Ada
greeting: Hello.
transfer_number:
  sales: "{SALES}"
"""


def caller(count: int = 1, hang_up: str = "never", **more) -> Script:
    said = tuple(Utterance(tone(1.0, 300 + 20 * at), name=f"line {at}") for at in range(count))
    return Script(said, quiet_ms=500, greeting_wait_s=12, reply_wait_s=20, hang_up=hang_up, **more)


def row(office, call_sid, *fields):
    """The call's row once it has ended and is settled."""
    found = office.rows(
        f"select {', '.join(fields)} from calls where call_sid = ? and outcome is not null",
        call_sid,
        at_least=1,
        within_s=60,
    )
    return tuple(found[0])


def use(function, **arguments):
    return ToolUse(function, json.dumps(arguments))

"""One long call with an engine that lets no session last: what the caller notices, and what is remembered.

    python bench/renewals.py --seconds 180 --session-seconds 20

Of every change of sessions: how long no session took the caller's audio (it is
kept and given to the next one), and how long the caller heard nothing around
it while he did not speak. Every session is asked whether it knows all that was
said before it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "bench")]

from calibration import calibrate  # noqa: E402
from subjects import product  # noqa: E402

from flaskapp.simulator.background import BackgroundNetwork  # noqa: E402
from flaskapp.simulator.person import Script, Utterance  # noqa: E402
from flaskapp.simulator.sounds import tone  # noqa: E402
from flaskapp.simulator.spec import CallSpec  # noqa: E402
from tests.behaviour import Behaviour  # noqa: E402
from tests.fakes import FakeRealtime, Session  # noqa: E402

AT_THE_END_S = 0.5
SCRIPT = Script((Utterance(tone(1.2, 300), name="question"),), repeat=True, quiet_ms=700)


def measure(seconds: float, session_s: int) -> dict[str, Any]:
    """Place the call, and look at its sessions."""
    before = calibrate()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="renewals-")))
        settings = {"ENGINE_SESSION_SECONDS": str(session_s)}
        behaviour = Behaviour(reply_ms=1500, expires_after_s=session_s, numbers_replies=True)
        engine = stack.enter_context(FakeRealtime(behaviour).running())
        subject = product(stack, folder, int(engine.origin.rsplit(":", 1)[1]), None, settings)
        network = stack.enter_context(BackgroundNetwork())
        url = f"http://127.0.0.1:{subject.port}/phone/incoming-call-streaming"
        report = network.place_call(CallSpec(url=url, script=SCRIPT, seconds=seconds, signed=False))
        sessions = [session for session in engine.sessions if session.arrivals]
    ends = [(then.arrivals[-1][0], after.arrivals[0][0]) for then, after in pairwise(sessions)]
    gaps_ms = [round((begins - ended) * 1000) for ended, begins in ends]
    lives_s = [round(each.arrivals[-1][0] - each.began_at, 1) for each in sessions[:-1]]
    return {
        "failed": report.reason,
        "renewals": len(sessions) - 1,
        "expired": sum(life_s > session_s - AT_THE_END_S for life_s in lives_s),
        "lives_s": lives_s,
        "gaps_ms": gaps_ms,
        "longest_silence_ms": round(report.longest_silence_ms),
        "greeted": sum(session.conversation.greeted for session in sessions),
        "forgotten": [line for then, after in pairwise(sessions) for line in _forgotten(then, after)],
        "offences": [offence for session in sessions for offence in session.offences],
        "calibration": [before, calibrate()],
    }


def _forgotten(then: Session, after: Session) -> list[str]:
    """What one session knew and the next was not told."""
    told = {words for _, words in after.conversation.history}
    return [words for _, words in then.conversation.lines if words and words not in told]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--session-seconds", type=int, default=20)
    wanted = parser.parse_args()
    found = measure(wanted.seconds, wanted.session_seconds)
    print(f"{found['renewals']} renewals; ended by the engine itself: {found['expired']}")
    print(f"greeted {found['greeted']} times; forgotten: {found['forgotten'] or 'nothing'}")
    print(f"sessions lived for, s: {found['lives_s']}")
    print(f"no session took the caller's audio for, ms: {found['gaps_ms']}")
    print(f"longest silence at the caller's ear, ms: {found['longest_silence_ms']}")
    print(f"offences against the protocol: {found['offences'] or 'none'}")
    print("a fixed loop took {:.1f} before and {:.1f} after".format(*found["calibration"]))
    return 1 if found["failed"] or found["forgotten"] or found["greeted"] != 1 else 0


if __name__ == "__main__":
    sys.exit(main())

"""From the end of a recording to the answer at the caller's ear, and how fast the webhooks answer.

    python bench/recorded_turns.py --turns 50 --at-once 2

The app as shipped - gunicorn with two workers, Redis, a background worker, the local speech server - and the
simulated carrier, all on this machine. Real speech is recorded, fetched, transcribed, answered and read out.
A fixed loop is timed before and after, so that slow machines show.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "bench")]

from calibration import calibrate  # noqa: E402
from measure import percentile  # noqa: E402

from flaskapp.simulator.background import BackgroundNetwork  # noqa: E402
from flaskapp.simulator.person import Script, Utterance  # noqa: E402
from flaskapp.simulator.report import CallReport  # noqa: E402
from flaskapp.simulator.sounds import bundled  # noqa: E402
from flaskapp.simulator.spec import CallSpec  # noqa: E402
from flaskapp.simulator.twilio.account import Account  # noqa: E402
from tests import servers  # noqa: E402
from tests.conftest import environment_of, flask  # noqa: E402

ACCOUNT = Account(sid="AC" + "1" * 32, auth_token="a" * 32)
TURNS_A_CALL = 3


def python(stack: ExitStack, folder: Path, name: str, environment: dict[str, str], *arguments: str) -> Any:
    """One of the app's processes, ended with the stack."""
    log = stack.enter_context((folder / f"{name}.log").open("wb"))
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments], env=environment, cwd=folder, stdout=log, stderr=log
    )
    stack.callback(servers.stop, process)
    return process


def serve(stack: ExitStack, folder: Path, api_url: str) -> str:
    """Everything that answers recordings: the app's address."""
    port, speech_port = servers.free_port(), servers.free_port()
    environment = environment_of(
        folder,
        {
            "PORT": str(port),
            "LOCAL": "1",
            "WEB_CONCURRENCY": "2",
            "REDIS_URL": stack.enter_context(servers.redis_server()),
            "LOCALAI_URL": f"http://127.0.0.1:{speech_port}/v1",
            "TWILIO_ACCOUNT_SID": ACCOUNT.sid,
            "TWILIO_AUTH_TOKEN": ACCOUNT.auth_token,
            "TWILIO_API_BASE_URL": api_url,
        },
    )
    migrated = flask("db", "upgrade", environment=environment, cwd=folder)
    assert migrated.returncode == 0, migrated.stderr
    python(stack, folder, "speech", environment, "flaskapp.localai", "--port", str(speech_port))
    servers.wait_until(lambda: servers.answers(speech_port), "no speech server", 60)
    python(stack, folder, "web", environment, "gunicorn", "-c", str(PROJECT / "gunicorn.conf.py"), "wsgi:app")
    python(stack, folder, "worker", environment, "flaskapp.worker")
    servers.wait_until(lambda: _is_up(port), "no app", 60)
    servers.wait_until(
        lambda: "Waiting for jobs" in (folder / "worker.log").read_text(), "no background worker", 60
    )
    return f"http://127.0.0.1:{port}"


def _is_up(port: int) -> bool:
    """Whether the app answers; that the port is open says only that gunicorn has begun."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def measure(turns: int, at_once: int) -> dict[str, Any]:
    """Place calls until there are so many turns."""
    before, question = calibrate(), bundled()[0]
    said = tuple(Utterance(question.audio, name=f"question {at}") for at in range(TURNS_A_CALL))
    reports: list[CallReport] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="recorded-")))
        network = stack.enter_context(BackgroundNetwork(ACCOUNT))
        url = serve(stack, folder, network.api_url)
        spec = CallSpec(
            url=f"{url}/phone/incoming-call", script=Script(said), status_callback=f"{url}/phone/call-status"
        )
        while sum(len(report.recordings) for report in reports) < turns:
            reports += network.place_calls([spec] * at_once, spread_s=3.0)
    made = [each for report in reports for each in report.recordings]
    return {
        "calls": len(reports),
        "turns": len(made),
        "unanswered": sum(each.reply_ms is None for each in made),
        "failed": [report.reason for report in reports if report.failed],
        "calibration": [before, calibrate()],
        "answer_ms": _summary([each.reply_ms for each in made if each.reply_ms is not None]),
        "silence_ms": _summary([report.longest_silence_ms for report in reports]),
        "webhook_ms": _summary([hook.took_ms for report in reports for hook in report.webhooks]),
    }


def _summary(values: list[float]) -> dict[str, float]:
    return {
        "n": len(values),
        **{f"p{each}": round(percentile(values, each), 1) for each in (50, 95, 99, 100)},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--turns", type=int, default=50)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    wanted = parser.parse_args()
    found = measure(wanted.turns, wanted.at_once)
    print(f"{found['turns']} turns of {found['calls']} calls, {wanted.at_once} at once;", end=" ")
    print(f"unanswered: {found['unanswered']}; failed: {found['failed'] or 'none'}")
    print(f"{'ms':<34}{'n':>6}{'p50':>9}{'p95':>9}{'p99':>9}{'max':>9}")
    names = {
        "answer_ms": "end of recording -> answer heard",
        "silence_ms": "longest silence of a call",
        "webhook_ms": "a webhook's answer",
    }
    for name, label in names.items():
        print(
            f"{label:<34}{found[name]['n']:>6}" + "".join(f"{v:>9.1f}" for v in [*found[name].values()][1:])
        )
    print(f"a fixed loop took {found['calibration'][0]:.1f} before and {found['calibration'][1]:.1f} after")
    if wanted.json:
        wanted.json.write_text(json.dumps(found, indent=2))
    return 1 if found["failed"] or found["unanswered"] else 0


if __name__ == "__main__":
    sys.exit(main())

"""From the engine's event to the line before a reader's eyes: calls on one worker, readers on another.

    python bench/viewers.py --viewers 200 --calls 10 --seconds 30

Two servers as shipped share a Redis of their own: simulated calls come to the first, readers (a process of
their own) to the second. Told is how long after the engine sent the caller's words, or all of a reply's,
each reader had them as a final line. A fixed loop is timed before and after, so that slow machines show.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "bench")]

from calibration import calibrate  # noqa: E402
from measure import percentile  # noqa: E402
from worker_kills import serve  # noqa: E402

from flaskapp.simulator.background import BackgroundNetwork  # noqa: E402
from flaskapp.simulator.person import Script, Utterance  # noqa: E402
from flaskapp.simulator.sounds import tone  # noqa: E402
from flaskapp.simulator.spec import CallSpec  # noqa: E402
from tests import servers  # noqa: E402
from tests.conftest import environment_of  # noqa: E402
from tests.fakes import FakeRealtime  # noqa: E402

SCRIPT = Script((Utterance(tone(0.8, 300), name="question"),), repeat=True, quiet_ms=300)
WORDS = "conversation.item.input_audio_transcription.completed"
REPLY = "response.output_audio_transcript.done"
PERCENTS = (50, 95, 99, 100)


@dataclass(frozen=True)
class Town:
    """Two servers, an engine, a phone network."""

    calls_url: str
    readers_url: str
    engine: FakeRealtime
    network: BackgroundNetwork


def town(stack: ExitStack) -> Town:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="readers-")))
    redis_url = stack.enter_context(servers.redis_server())
    engine = stack.enter_context(FakeRealtime().running())
    engine.behaviour.numbers_replies = True
    urls = []
    for _ in range(2):
        settings = {
            "PORT": str(servers.free_port()),
            "LOCAL": "1",
            "REDIS_URL": redis_url,
            "OPENAI_BASE_URL": engine.base_url,
            "OPENAI_API_KEY": "sk-test",
        }
        urls.append(serve(stack, folder, environment_of(folder, settings))[0])
    return Town(urls[0], urls[1], engine, stack.enter_context(BackgroundNetwork()))


def measure(viewers: int, calls: int, seconds: float) -> dict[str, Any]:
    """Place the calls, have them read, and see how late everything was."""
    before = calibrate()
    with ExitStack() as stack:
        place = town(stack)
        futures, sids = [], []
        for number in range(calls):
            spec = CallSpec(
                url=place.calls_url + "/phone/incoming-call-streaming",
                script=SCRIPT,
                seconds=seconds,
                signed=False,
                status_callback=place.calls_url + "/phone/call-status",
            )
            futures.append(place.network.start(spec))
            place.engine.wait_for(lambda fake, number=number: len(fake.sessions) > number)
            sids.append(list(place.network.network.calls)[-1])
        readers = stack.enter_context(Reading(place.readers_url, viewers, sids))
        wait(futures)
        told = json.loads(readers.communicate(timeout=seconds + 120)[0])
        failed = [future.result().reason for future in futures if future.result().failed]
        sent = dict(_sent(place.engine))
    lines = [line for reader in told for line in reader["lines"]]
    late = {
        kind: [1000 * (at - sent[text]) for at, text, is_final in lines if _is(kind, text, is_final, sent)]
        for kind in ("words", "reply")
    }
    return {
        "viewers": viewers,
        "calls": calls,
        "failed": failed,
        "gaps": sum(reader["gaps"] for reader in told),
        "ended": sum(reader["code"] == 1000 for reader in told),
        "calibration": [before, calibrate()],
        **{kind: _summary(values) for kind, values in late.items()},
    }


def _is(kind: str, text: str, is_final: bool, sent: dict[str, float]) -> bool:
    """A final line of which the engine's event is known."""
    return is_final and text in sent and text.startswith("words of") == (kind == "words")


def _sent(engine: FakeRealtime) -> Iterator[tuple[str, float]]:
    """All words that the engine gave away whole, and when."""
    for session in engine.sessions:
        for at, event in session.sent:
            if event["type"] in (WORDS, REPLY):
                yield event["transcript"], at


def _summary(values: Sequence[float]) -> dict[str, float]:
    return {"n": len(values), **{f"p{each}": round(percentile(values, each), 1) for each in PERCENTS}}


# ---------------------------------------------------------------------- the readers' process


class Reading(subprocess.Popen):
    """The readers, all connected; ``communicate`` gives what they were told."""

    def __init__(self, url: str, viewers: int, sids: Sequence[str]) -> None:
        command = [sys.executable, __file__, "--read", url, "--viewers", str(viewers), *sids]
        super().__init__(command, stdout=subprocess.PIPE, text=True)
        assert self.stdout is not None
        assert self.stdout.readline() == "connected\n"


async def read(url: str, viewers: int, sids: Sequence[str]) -> list[dict[str, Any]]:
    """Readers of the calls in turn, until all calls are over."""
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed

    async def follow(socket: Any) -> dict[str, Any]:
        lines, last, gaps = [], 0, 0
        try:
            while True:
                message = json.loads(await socket.recv())
                gaps += message["sequence"] != last + 1
                last = message["sequence"]
                lines.append((time.monotonic(), message["transcript"], message["is_final"]))
        except ConnectionClosed:
            return {"lines": lines, "gaps": gaps, "code": socket.close_code}

    address = url.replace("http", "ws", 1) + "/client"
    following = []
    for number in range(viewers):
        socket = await connect(address, compression=None, proxy=None)
        await socket.send(sids[number % len(sids)])
        following.append(asyncio.create_task(follow(socket)))
    print("connected", flush=True)
    connected_at = time.monotonic()
    told = await asyncio.gather(*following)
    for each in told:  # what was replayed is no measure of anything
        each["lines"] = [line for line in each["lines"] if line[0] > connected_at + 0.5]
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--viewers", type=int, default=200)
    parser.add_argument("--calls", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--read", help=argparse.SUPPRESS)
    parser.add_argument("sids", nargs="*", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.read:
        print(json.dumps(asyncio.run(read(wanted.read, wanted.viewers, wanted.sids))))
        return 0
    found = measure(wanted.viewers, wanted.calls, wanted.seconds)
    print(
        f"{found['viewers']} readers of {found['calls']} calls; failed: {found['failed'] or 'none'};"
        f" gaps: {found['gaps']}; read to the end: {found['ended']}"
    )
    print(f"{'ms':<24}" + "".join(f"{name:>9}" for name in ("n", "p50", "p95", "p99", "max")))
    for kind, label in (("words", "a caller's final line"), ("reply", "a reply's final line")):
        print(f"{label:<24}" + "".join(f"{value:>9}" for value in found[kind].values()))
    print(f"a fixed loop took {found['calibration'][0]:.1f} before and {found['calibration'][1]:.1f} after")
    if wanted.json:
        wanted.json.write_text(json.dumps(found, indent=2))
    return 1 if found["failed"] or found["gaps"] else 0


if __name__ == "__main__":
    sys.exit(main())

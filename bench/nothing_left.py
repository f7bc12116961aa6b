"""What calls leave behind in Redis: calls of every kind, by kind of key, after each of their lifetimes.

    python bench/nothing_left.py --calls 500

The app as shipped on a Redis of its own; calls of every kind come by signed webhooks and sockets, without
the patience of real ones. What is over must be gone a minute later; what nobody told the end of goes when
its time is up. What Redis does alone while time passes is not waited for: lifetimes are shortened by it.
Exits with 1 if a key of a call has no lifetime, or outlives it.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "bench")]

import call_kinds as kinds  # noqa: E402
from call_kinds import Listener, Town  # noqa: E402
from measure import percentile  # noqa: E402
from worker_kills import ACCOUNT, TOKEN, serve  # noqa: E402

from flaskapp.store import keys  # noqa: E402
from flaskapp.store.audio import AudioBuffer  # noqa: E402
from flaskapp.store.feed import RESTORED_AT_ONCE_S  # noqa: E402
from flaskapp.store.live import connect  # noqa: E402
from tests import servers  # noqa: E402
from tests.behaviour import Behaviour  # noqa: E402
from tests.conftest import environment_of  # noqa: E402
from tests.fake_turns import Fault  # noqa: E402
from tests.fakes import FakeRealtime  # noqa: E402
from tests.front_door import FrontDoor  # noqa: E402
from tests.hand_carrier import HandCarrier, Shelf  # noqa: E402

AT_ONCE = 24
SETTLED_WITHIN_S = 180.0
#: Of the house, not of a call: the sweeper's mark, RQ's books of workers and queues.
HOUSE = ("sweeping", "rq:workers", "rq:worker:", "rq:queues", "rq:clean_registries", "rq:queue:", "rq:lock")
AGES = (
    ("a minute later", keys.FORGOTTEN_S),
    ("an hour later", keys.STRAY_KEPT_S),
    ("in the end", keys.TURN_KEPT_S),
)
MEMORY_S = 30


class Trial:
    """The running app in its town, and its Redis."""

    def __init__(self, stack: ExitStack) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="left-")))
        redis_url = stack.enter_context(servers.redis_server())
        shelf = stack.enter_context(Shelf(()))
        engine = stack.enter_context(FakeRealtime().running())
        batch = stack.enter_context(Listener().running())
        door = stack.enter_context(FrontDoor(engine.origin, batch.origin).running())
        settings = {
            "PORT": str(servers.free_port()),
            "LOCAL": "1",
            "WEB_CONCURRENCY": "2",
            "REDIS_URL": redis_url,
            "OPENAI_BASE_URL": door.base_url,
            "OPENAI_API_KEY": "sk-test",
            "OPENAI_SPEECH_MODEL": "voice-1",
            "REPLY_VOICE": "play",
            "TWILIO_ACCOUNT_SID": ACCOUNT,
            "TWILIO_AUTH_TOKEN": TOKEN,
            "TWILIO_API_BASE_URL": shelf.url,
        }
        url, self.start_worker = serve(stack, folder, environment_of(folder, settings))
        self.connections = connect(redis_url)
        self.redis = self.connections.text
        self.town = Town(HandCarrier(url, shelf.url, ACCOUNT, TOKEN), engine, batch, door)
        self.worker = self.start_worker()
        self.done: Counter[str] = Counter()

    def place(self, what: list[Callable[[Town, str], None]]) -> None:
        """Calls, many at once."""
        begun = sum(self.done.values())
        with ThreadPoolExecutor(AT_ONCE) as lines:
            placed = [lines.submit(kind, self.town, f"CA{begun + at:06d}") for at, kind in enumerate(what)]
        for kind, each in zip(what, placed, strict=True):
            each.result()
            self.done[kind.__name__] += 1

    def drive(self, calls: int, dice: random.Random) -> None:
        """Calls of all kinds: with all well, with a dying engine, with AI away, with a killed worker."""
        troubled = max(calls // 10, 2)
        quiet = [
            kinds.QUIET[at % len(kinds.QUIET)] for at in range(max(calls - 3 * troubled, len(kinds.QUIET)))
        ]
        dice.shuffle(quiet)
        self.place(quiet)
        self.town.engine.behaviour = Behaviour(closes_after_s=0.4)
        self.place([kinds.live_and_lost] * troubled)
        self.town.engine.behaviour = Behaviour()
        self.town.door.shut()
        self.place(
            [kinds.live_and_lost] * (troubled // 2) + [kinds.message_left] * (troubled - troubled // 2)
        )
        self.town.door.reopen()
        self.killed_in_the_middle(troubled)
        servers.wait_until(lambda: not self.redis.zcard(keys.OPEN_TURNS), "open turns", SETTLED_WITHIN_S)

    def killed_in_the_middle(self, calls: int) -> None:
        """The background worker is killed with jobs in hand: RQ's books of them must not stay either."""
        batch = self.town.batch
        batch.always = {"transcribe": Fault(pause_s=2.0)}
        seen = len(batch.requests)

        def kill() -> None:
            batch.wait_for(lambda fake: len(fake.requests) > seen, 60)
            self.worker.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        self.place([kinds.hung_up] * calls)
        killer.join()
        batch.always = {}
        self.worker = self.start_worker()

    def left(self) -> dict[str, tuple[int, float]]:
        """What is in Redis and not the house's: by kind, how many keys, and the longest lifetime (s)."""
        found: dict[str, tuple[int, float]] = {}
        for name in self.redis.scan_iter(count=1000):
            if name.startswith(HOUSE):
                continue
            kind = ":".join(name.split(":")[: 2 if name.startswith("rq:") else 1])
            count, longest = found.get(kind, (0, 0.0))
            ttl = self.redis.ttl(name)
            found[kind] = (count + 1, max(longest, float("inf") if ttl == -1 else float(ttl)))
        return found

    def pass_time(self, seconds: int) -> None:
        """Lifetimes are so much shorter; what RQ would look after by then it looks after now."""
        for name in self.redis.scan_iter(count=1000):
            if name.startswith(HOUSE):
                continue
            if name.startswith("rq:wip:"):
                for member, due in self.redis.zscan_iter(name):
                    self.redis.zadd(name, {member: due - seconds})
            elif (ttl_ms := self.redis.pttl(name)) > 0:
                self.redis.pexpire(name, max(ttl_ms - 1000 * seconds, 1))
        time.sleep(0.1)

    def tidied(self) -> None:
        """RQ tidies up once a minute, and whenever a worker starts: it has had time to."""
        self.start_worker()
        with suppress(TimeoutError):
            servers.wait_until(lambda: not list(self.redis.scan_iter("rq:job:*")), "jobs are left", 90)
        self.pass_time(60)

    def minute_kib(self, seconds: int) -> float:
        """What a live call's audio takes in Redis, in KiB a minute."""
        sid = "CAminute"
        told = self.town.carrier.post("/phone/incoming-call-streaming", sid)
        with kinds.stream(self.town, sid, told) as socket:
            for _ in range(10 * seconds):
                kinds.speak(socket, b"\xff" * 800)
                time.sleep(0.1)
            servers.wait_until(lambda: self.redis.xlen(keys.audio(sid)) >= seconds - 1, "no audio", 30)
            held = AudioBuffer(self.connections).held(sid)
            used = self.redis.memory_usage(keys.audio(sid), samples=0)
            kinds.stop(socket, sid)
        self.town.carrier.over(sid)
        return float(used) / 1024 / (held.duration_ms / 60_000)


def run(calls: int, seed: int, memory_s: int = MEMORY_S) -> dict[str, Any]:
    """Drive the calls, then let time pass."""
    with ExitStack() as stack:
        trial = Trial(stack)
        kib = trial.minute_kib(memory_s)  # while the engine is well, and has been
        began = time.monotonic()
        trial.drive(calls, random.Random(seed))
        took_s = time.monotonic() - began
        time.sleep(RESTORED_AT_ONCE_S)  # what vanishes while people speak, their workers take for lost
        stages = {"at once": trial.left()}
        passed = 0
        for name, seconds in AGES:
            trial.pass_time(seconds - passed)
            passed = seconds
            if name == "in the end":
                trial.tidied()
            stages[name] = trial.left()
        return {
            "calls": sum(trial.done.values()),
            "kinds": dict(trial.done),
            "took_s": took_s,
            "minute_kib": kib,
            "left": stages,
            "untold": sum(trial.done[each.__name__] for each in kinds.UNTOLD),
            "webhook_s": trial.town.carrier.took,
        }


#: What may stay for its time: of calls whose end nobody told; tickets, so that none is used twice; what was
#: said, for those who read along and come late.
UNTOLD = {"call", "audio", "turns", "turn", "speech", "lines"}
TIMED = {"spent", "feed"}


def wrong(found: dict[str, Any]) -> list[str]:
    """What should not be there."""
    stages = found["left"]
    told = [
        f"{count} keys {kind}:* have no lifetime"
        for kind, (count, longest) in stages["at once"].items()
        if longest == float("inf") and not kind.startswith("rq:")
    ]
    told += [
        f"{count} keys {kind}:* are left a minute later, of {found['untold']} calls whose end nobody told"
        for kind, (count, _) in stages["a minute later"].items()
        if not (kind in TIMED or kind.startswith("rq:")) and (kind not in UNTOLD or count > found["untold"])
    ]
    return told + [
        f"{count} keys {kind}:* are left for ever" for kind, (count, _) in stages["in the end"].items()
    ]


def table(found: dict[str, Any]) -> str:
    """What people read."""
    stages = found["left"]
    every = sorted({kind for stage in stages.values() for kind in stage})
    lines = [
        f"{found['calls']} calls in {found['took_s']:.0f} s: {found['kinds']}",
        f"{'keys, and the longest lifetime (s)':<36}" + "".join(f"{name:>18}" for name in stages),
    ]
    for kind in every:
        cells = [
            f"{stage[kind][0]} ({stage[kind][1]:.0f})" if kind in stage else "-" for stage in stages.values()
        ]
        lines.append(f"{kind + ':*':<36}" + "".join(f"{cell:>18}" for cell in cells))
    seconds = [each for _, each in found["webhook_s"]]
    slowest = max(found["webhook_s"], key=lambda each: each[1])
    lines += [
        f"a live call's audio: {found['minute_kib']:.0f} KiB a minute",
        f"{len(seconds)} webhooks: p50 {percentile(seconds, 50):.2f} s, p99 {percentile(seconds, 99):.2f} s,"
        f" max {slowest[1]:.2f} s ({slowest[0]})",
    ]
    return "\n".join([*lines, *(f"WRONG: {each}" for each in wrong(found))])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--memory-s", type=int, default=MEMORY_S, help="how long a live call is weighed")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    wanted = parser.parse_args()
    found = run(wanted.calls, wanted.seed, wanted.memory_s)
    print(table(found))
    if wanted.json:
        wanted.json.write_text(json.dumps({**found, "wrong": wrong(found)}, indent=2))
    return 1 if wrong(found) else 0


if __name__ == "__main__":
    sys.exit(main())

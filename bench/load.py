"""The load generator and the echo engines in one process, driven by lines of JSON.

`python bench/load.py [CORE]` prints one line, where its engines are: `engine` (port), `engine_tls` (port),
`ca_file` (whom clients of the latter must trust). Then it answers every order with a line. An order:

    subjects   a list of: port; pids (whose CPU counts; null: our own); beside (more of them, whose CPU
               is counted apart; may be left out); streams and idle (both lists of path, call_sid,
               parameters, and where needed carrier "twilio" or "exotel", sample_rate_hz, headers): the
               former speak, the latter are opened and silent but for a frame in 12 s
    seconds, turn_s, warm_up
               how long each subject's calls speak in all, in one turn, and unmeasured before
    ramp       null, or streams that are opened per_s while the first subject's calls speak, then speak, too;
               in_turn: not before so many of its turns (0)
    words_every_s
               0, or after how many seconds of sound each session says a line of text as well
    tools_every_s
               the same for a function that each session asks for, the app's tool "look_up"; tools_from_s:
               not before so many seconds of its sound
    tells_turns
               true: a line `{"turn": n}` as each measured turn of all begins, before the answer

The answer is a list, for every subject what Party.close counts, or `error`. `{"quit": true}` ends it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import resource
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import uvloop
from caller import FRAMES_PER_S
from echo_engine import EchoEngine
from party import Party
from picows import ws_create_server
from tls import server_context

_LONGEST_ORDER = 1 << 27
_BACKLOG = 4096
_TERMINATED = 143


async def round_of(order: dict[str, Any], engine: EchoEngine) -> list[dict[str, Any]]:
    """All subjects' calls are open; they speak in turns, so that a minute's moods meet all alike.

    Each speaks ``seconds`` in all, after a first turn that is not counted. Carriers do not pause like this,
    but no app hangs up over a few seconds of silence.
    """
    engine.words_every = round((order.get("words_every_s") or 0) * FRAMES_PER_S)
    engine.tools_every = round((order.get("tools_every_s") or 0) * FRAMES_PER_S)
    engine.tools_from = round((order.get("tools_from_s") or 0) * FRAMES_PER_S)
    engine.ready_at.clear()
    ramps = [order.get("ramp"), *[None] * len(order["subjects"])]
    everyone = [Party(each, engine, ramp) for each, ramp in zip(order["subjects"], ramps, strict=False)]
    for party in everyone:
        await party.open()
        if not party.failed:
            await party.speak(order["warm_up"], is_measured=False)
    parties = [party for party in everyone if not party.failed]
    turns = max(round(order["seconds"] / order["turn_s"]), 1)
    for number in range(turns):
        if order.get("tells_turns"):
            _tell({"turn": number})
        for party in parties if number % 2 == 0 else reversed(parties):
            await party.speak(order["seconds"] / turns, is_measured=True)
    return [await party.close() for party in everyone]


async def serve(folder: Path) -> None:
    """Until there are no more orders."""
    engine, loop = EchoEngine(), asyncio.get_running_loop()
    this = asyncio.current_task()
    assert this is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, this.cancel)
    context, authority = server_context(folder)
    plain, secure = [
        await ws_create_server(engine.listener, "127.0.0.1", 0, ssl=each, backlog=_BACKLOG)
        for each in (None, context)
    ]
    orders = asyncio.StreamReader(limit=_LONGEST_ORDER)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    gc.freeze()
    gc.disable()  # between orders is early enough
    ports = [each.sockets[0].getsockname()[1] for each in (plain, secure)]
    _tell({"engine": ports[0], "engine_tls": ports[1], "ca_file": str(authority)})
    while line := await orders.readline():
        order = json.loads(line)
        if order.get("quit"):
            break
        _tell(await round_of(order, engine))
        gc.collect()


def _tell(answer: Any) -> None:
    print(json.dumps(answer), flush=True)


def main() -> None:
    if len(sys.argv) > 1:
        os.sched_setaffinity(0, {int(sys.argv[1])})
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    logging.getLogger("aiofastnet").setLevel(logging.ERROR)  # it warns of every frame to an app that hung up
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))
    with tempfile.TemporaryDirectory(prefix="bench-load-") as folder:
        try:
            uvloop.run(serve(Path(folder)))
        except asyncio.CancelledError:
            sys.exit(_TERMINATED)


if __name__ == "__main__":
    main()

"""The app's live half in a process of its own that gevent has taken over: calls on bare sockets.

Started by ``worker()``. Whoever connects to its port, or to its narrow path, is
a carrier whose WebSocket handshake is done; on the second port somebody asks, a
line each, and is answered in JSON.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from websockets.protocol import State
from websockets.server import ServerProtocol

from flaskapp.phone.agent import Agent, Agents
from flaskapp.phone.bridge import Bridge
from flaskapp.phone.engines.leg import EngineLeg
from flaskapp.phone.events import StreamStarted
from flaskapp.phone.listener import CallEnded, Listener
from flaskapp.phone.rtmt_audio_handler import RTMTAudioHandler
from flaskapp.phone.wire import Wire

PROJECT = Path(__file__).resolve().parents[2]
PATCHED = "from gevent import monkey; monkey.patch_all(); from tests.system.miniature import main; main()"
GATED_S = 60.0
MAX_MESSAGE = 64 << 10


class Worker:
    """Seen from outside: where it listens, and what it answers."""

    def __init__(self, port: int, narrow: str, questions: socket.socket) -> None:
        self._port, self._narrow, self._questions = port, narrow, questions.makefile("rw")

    def dialled(self, is_narrow: bool = False) -> socket.socket:
        """A carrier's connection; hardly anything fits between the two ends of a narrow one."""
        if not is_narrow:
            return socket.create_connection(("127.0.0.1", self._port))
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(self._narrow)
        return sock

    def asks(self, *words: str) -> Any:
        self._questions.write(" ".join(words) + "\n")
        self._questions.flush()
        return json.loads(self._questions.readline())


@contextlib.contextmanager
def worker(engine_url: str, trusts: Path | None = None) -> Iterator[Worker]:
    """One such process."""
    environment = dict(os.environ) | ({"SSL_CERT_FILE": str(trusts)} if trusts else {})
    with tempfile.TemporaryDirectory() as folder:
        narrow = f"{folder}/narrow"
        command = [sys.executable, "-c", PATCHED, engine_url, narrow]
        process = subprocess.Popen(
            command, cwd=PROJECT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            ports = [int(word) for word in process.stdout.readline().split()]
            with socket.create_connection(("127.0.0.1", ports[1])) as questions:
                yield Worker(ports[0], narrow, questions)
        finally:
            process.kill()
            process.communicate()


class House(Listener):
    """What happens to the calls; it holds those up whose id says so until the gate is opened.

    ``CA-gated`` stands still with each line of its transcript, ``CA-knocks`` before it is let in.
    """

    def __init__(self, handler: RTMTAudioHandler) -> None:
        self.handler = handler
        self.gate = threading.Event()
        self.ended: dict[str, dict[str, Any]] = {}
        self.standing = self.closed_engines = 0

    def admits(self, started: StreamStarted) -> None:
        """As a store that answers slowly would."""
        if "knocks" in started.call_sid:
            self.gate.wait(GATED_S)

    def call_started(self, call_sid: str, started: StreamStarted) -> None:
        self.handler.sessions[call_sid].call.intake.due_ms = float("inf")  # as fast as they come

    def line(self, call_sid: str, line: Any) -> None:
        if "gated" in call_sid:
            self.standing += 1
            self.gate.wait(GATED_S)
            self.standing -= 1

    def engine_closed(self, call_sid: str) -> None:
        self.closed_engines += 1

    def call_ended(self, ended: CallEnded) -> None:
        bridge = self.handler.sessions[ended.call_sid]
        wires = [leg._wire for leg in bridge._legs]
        self.ended[ended.call_sid] = {
            "reason": ended.reason,
            "dropped_frames": ended.dropped_frames,
            "dropped_to_engine": sum(wire.dropped for wire in wires if wire is not None),
            "received_ms": bridge.call.intake.received_ms,
        }


def main() -> None:
    """Serve until somebody kills it."""
    handler = RTMTAudioHandler(sys.argv[1], "a-model", "a-key", agents=Agents(Agent(greeting="")))
    handler.listener = house = House(handler)
    handler.engine.prepare()
    carriers, questions = (socket.create_server(("127.0.0.1", 0), backlog=100) for _ in range(2))
    narrow = socket.socket(socket.AF_UNIX)
    narrow.bind(sys.argv[2])
    narrow.listen()
    for listener in (carriers, narrow):
        threading.Thread(target=_each, args=(listener, lambda sock: _serve(house, sock)), daemon=True).start()
    threading.Thread(target=_each, args=(questions, lambda sock: _answer(house, sock)), daemon=True).start()
    print(carriers.getsockname()[1], questions.getsockname()[1], flush=True)
    threading.Event().wait()


def _each(listener: socket.socket, serve: Any) -> None:
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=serve, args=(sock,), daemon=True).start()


def _serve(house: House, sock: socket.socket) -> None:
    wire = Wire(sock, ServerProtocol(state=State.OPEN, max_size=MAX_MESSAGE))
    came = wire.receive(60)
    call_sid = json.loads(came[0])["start"]["callSid"]
    if sock.family == socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    wire.unread(came)
    try:
        house.handler.serve(wire, call_sid, admit=house.admits)
    finally:
        wire.dispose(close_socket=True)


def _answer(house: House, sock: socket.socket) -> None:
    with sock, sock.makefile("rw") as lines:
        for line in lines:
            name, *words = line.split()
            lines.write(json.dumps(QUESTIONS[name](house, *words)) + "\n")
            lines.flush()


def _census(house: House) -> dict[str, int]:
    """What this process holds."""
    from greenlet import greenlet

    gc.collect()
    held = gc.get_objects()
    kinds = {"bridges": Bridge, "wires": Wire, "engine legs": EngineLeg}
    counts = {name: sum(type(each) is kind for each in held) for name, kind in kinds.items()}
    alive = sum(isinstance(each, greenlet) and not each.dead for each in held)
    watchers = sum(type(each).__module__ == "gevent.libev.corecext" and each.active for each in held if
                   type(each).__name__ == "io")  # fmt: skip
    return counts | {"greenlets": alive, "files": len(os.listdir("/proc/self/fd")), "watchers": watchers}


def _call(house: House, call_sid: str) -> dict[str, Any]:
    """A call that goes on: what waits for its owner; nothing, before it is known."""
    for bridge in tuple(house.handler._bridges):
        if bridge.call.call_sid == call_sid:
            return {
                "reads": sum(bool(events) for events, _, _ in tuple(bridge._inbox)),
                "door": len(bridge._door or ()),
                "paused": bridge._is_paused,
                "state": str(bridge.call.memory.state),
                "received_ms": bridge.call.intake.received_ms,
            }
    return {}


def _hang_up(house: House, call_sid: str) -> bool:
    return house.handler.close(call_sid, "operator")


def _keep_litter(house: House) -> bool:
    """From now on nothing goes but what is let go of."""
    gc.collect()
    gc.disable()
    return True


def _open_gate(house: House) -> bool:
    house.gate.set()
    return True


QUESTIONS = {
    "census": _census,
    "call": _call,
    "ended": lambda house: house.ended,
    "standing": lambda house: house.standing,
    "closed_engines": lambda house: house.closed_engines,
    "open_gate": _open_gate,
    "keep_litter": _keep_litter,
    "files": lambda house: len(os.listdir("/proc/self/fd")),
    "hang_up": _hang_up,
}

"""A call's two lanes side by side: bridges without sockets, one read by hand, one told by an event loop.

Everything is the app's own - codecs, call, playback, legs - but for the two
ends, which only keep what they are sent, and the clock, which stands still
until a test moves it.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict
from typing import Any

from websockets.client import ClientProtocol
from websockets.protocol import Protocol, Side, State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from flaskapp.phone import frames
from flaskapp.phone.agent import Agent
from flaskapp.phone.bridge import Bridge
from flaskapp.phone.call import Call
from flaskapp.phone.carriers.base import Carrier
from flaskapp.phone.carriers.twilio import TwilioStream
from flaskapp.phone.endings import Limits
from flaskapp.phone.engines.realtime import RealtimeSession, SessionSpec
from flaskapp.phone.errands import Errands
from flaskapp.phone.errors import LegClosed
from flaskapp.phone.inlet import Inlet
from flaskapp.phone.intake import RECENT_MS
from flaskapp.phone.listener import Listener
from flaskapp.phone.occasional import Occasional
from flaskapp.phone.playout import Clip
from flaskapp.phone.reader import Reader
from flaskapp.phone.wire import Wire
from tests.phone.sayings import agreed

SLICES = [bytes([65 + number]) * 160 for number in range(20)]
WITHIN_S = 20.0
CLIP = Clip(base64.b64encode(b"\x55" * 8000), 1000.0)
PATIENT = Limits(silence_s=0.0, session_s=0.0)
# Measured; told from a thread of the leg's own; told by whoever reads, and one of the lanes is read by hand.
NOT_TOLD = ("frame_delay", "engine_opened", "engine_closed", "traced")


class Kept:
    """One end: keeps each write that it is given; ``put`` is given frames, as a socket is."""

    is_masked = False
    is_clear = True

    def __init__(self) -> None:
        self.writes: list[tuple[bytes, ...]] = []
        self.droppable: list[bool] = []
        self.cleared_at: list[int] = []  # before which write queued audio was forgotten

    def send(self, messages: Sequence[bytes], *, droppable: bool = False) -> None:
        if messages:
            self.writes.append(tuple(messages))
            self.droppable.append(droppable)

    def put(self, frame: bytes) -> int:
        texts, end = frames.cut_texts(frame, self.is_masked, 1 << 20)
        assert end == len(frame)
        self.send(texts, droppable=True)
        return len(frame)

    def drop_queued(self) -> None:
        self.cleared_at.append(len(self.writes))

    @property
    def messages(self) -> list[bytes]:
        return [message for write in self.writes for message in write]


class Phone(Kept):
    """The carrier's end for a bridge that reads by itself."""

    dropped = 0
    closed_with: int | None = None

    def receive(self, timeout_s: float | None = None) -> list[bytes]:
        raise NotImplementedError

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.closed_with = code

    def tick(self, now: float) -> None:
        pass


class Socket:
    """What an event loop finds to be read: all of it comes with one read, as frames."""

    def __init__(self, reader: Reader, hear: Callable[[Sequence[bytes]], None], protocol: Protocol) -> None:
        self._inlet, self._hear, self._data = Inlet(Occasional(protocol)), hear, b""
        self._is_masked = protocol.side is Side.SERVER
        self._read = reader.reads(lambda size: self._data, self._inlet, self._took)

    def brings(self, messages: Sequence[bytes]) -> None:
        self.brings_bytes(frames.text_frames(messages, self._is_masked))

    def brings_bytes(self, data: bytes) -> None:
        """One read, of whatever."""
        self._data = data
        self._read()

    def _took(self, data: bytes) -> None:
        self._inlet.feed(data)
        messages, self._inlet.messages = self._inlet.messages, []
        self._hear(messages)


class LoopsPhone(Phone, Wire):
    """The same for one that is told by an event loop: a wire in everything but the socket."""

    dropped = 0
    can_listen = True
    is_clear = True
    put = Kept.put

    def __init__(self) -> None:
        Phone.__init__(self)
        self.pauses: list[bool] = []

    def pause(self, is_paused: bool) -> None:
        self.pauses.append(is_paused)


class Session(Kept):
    """One engine connection; ``socket``: what an event loop reads of it, once somebody listens."""

    can_listen = True
    is_masked = True

    def __init__(self) -> None:
        super().__init__()
        self.socket: Socket | None = None
        self.is_attended, self._over = threading.Event(), threading.Event()
        self.pauses: list[bool] = []

    def listen(
        self,
        hear: Callable[[Sequence[bytes]], None],
        ended: Callable[[LegClosed], None],
        reader: Reader,
    ) -> None:
        self.socket = Socket(reader, hear, ClientProtocol(parse_uri("ws://engine/"), state=State.OPEN))
        self.is_attended.set()

    def receive(self, timeout_s: float | None = None) -> list[bytes]:
        self.is_attended.set()
        self._over.wait(WITHIN_S)
        raise LegClosed()

    def pause(self, is_paused: bool) -> None:
        self.pauses.append(is_paused)

    def close(self, code: int = 1000, reason: str = "") -> None:
        self._over.set()

    def abort(self) -> None:
        self._over.set()

    def tick(self, now: float) -> None:
        pass

    def dispose(self, close_socket: bool = False) -> None:
        pass


class Sessions:
    """In the place of an engine: every session is kept."""

    def __init__(self) -> None:
        self.opened: list[Session] = []

    def open(self) -> Session:
        session = Session()
        self.opened.append(session)
        return session


class Notes(Listener):
    """Everything that a bridge tells, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def __getattribute__(self, name: str) -> Any:
        if name in NOT_TOLD or not hasattr(Listener, name) or name.startswith("_"):
            return super().__getattribute__(name)
        keep = self.told.append
        if name == "turn":
            return lambda sid, turn, bridge_s, first_s: keep((name, sid, turn, first_s))
        return lambda *what: keep((name, *what))


class Asked(Errands):
    """Errands that are only noted."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Any] = []

    def run(self, command: Any, report: Any) -> None:
        self.asked.append(command)


class ByHand(Bridge):
    """A bridge that is read by hand, but that a read which brought nothing does not make time pass."""

    def _handle(self, events: Sequence[Any], now: float, leg: Any = None) -> None:
        if events or isinstance(events, tuple):  # a tick's
            super()._handle(events, now, leg)


class Lane:
    """A bridge, both its ends and its clock.

    Args:
        is_told: as under an event loop; otherwise everything goes through ``Call.receive``.
    """

    def __init__(
        self,
        is_told: bool,
        carrier: Carrier | None = None,
        agent: Agent | None = None,
        limits: Limits = PATIENT,
    ) -> None:
        self.now, self.is_told = 100.0, is_told
        self.clock = lambda: self.now
        self.agent = agent or Agent(greeting="")
        self.call = Call("CA1", self.agent, self.now, limits=limits)
        self.phone = LoopsPhone() if is_told else Phone()
        self.call.clip = CLIP
        self.sessions, self.notes, self.errands = Sessions(), Notes(), Asked()
        self.updates: list[dict[str, Any]] = []
        self.bridge = (Bridge if is_told else ByHand)(
            self.call,
            self.phone,
            carrier or TwilioStream(),
            self.sessions,  # type: ignore[arg-type]
            SessionSpec("Be brief."),
            self.notes,
            errands=self.errands,
            on_transcript=self.updates.append,
            clock=lambda: self.clock(),
        )
        protocol = ServerProtocol(state=State.OPEN)
        self.socket = Socket(self.bridge._fast.carrier_reader, self.bridge._arrived, protocol)

    def settles(self) -> None:
        """A session that is being dialled has been, and said so."""
        deadline = time.monotonic() + WITHIN_S
        while (leg := self.bridge._leg) is not None and not self._is_attended(leg):
            assert time.monotonic() < deadline, "no session"
            time.sleep(0.0005)

    def _is_attended(self, leg: Any) -> bool:
        wire = leg._wire
        return leg.is_over or (wire is not None and wire.is_attended.is_set())

    def starts(self, start: bytes) -> None:
        """The stream's first message, which the call's owner takes himself; then a session is dialled."""
        self.bridge._from_carrier([start])
        self.bridge._door = None
        self.settles()

    def goes_live(self, start: bytes) -> None:
        self.starts(start)
        self.engine_says(agreed(self.call.memory.audio_format))
        self.works_off()
        assert self.call.memory.state == "live"

    def carrier_says(self, *messages: bytes) -> None:
        """One read of the carrier's."""
        if self.is_told:
            self.socket.brings(messages)
        else:
            self.bridge._from_carrier(list(messages))
        self.settles_if_free()

    def engine_says(self, *messages: bytes, session: int = -1) -> None:
        """One read of a session's."""
        if self.is_told:
            came_on = self.sessions.opened[session]
            if came_on.socket is not None:
                came_on.socket.brings(messages)
        else:
            leg = next((leg for leg in self.bridge._legs if leg._wire is self.sessions.opened[session]), None)
            decode = RealtimeSession(self.call.memory.audio_format).decode
            events = [event for message in messages if (event := decode(message)) is not None]
            if events and leg is not None:
                self.bridge._from_engine(events, self.now, leg)
        self.settles_if_free()

    def ticks(self) -> None:
        self.bridge.tick(self.now)
        self.settles_if_free()

    def is_kept_busy(self) -> bool:
        """Somebody takes the call and does not come back; only where an event loop tells."""
        if not self.is_told or not self.bridge._at_work.acquire(blocking=False):
            return False
        self.bridge._fast.close()
        return True

    def is_free_again(self) -> None:
        self.bridge._at_rest()
        self.works_off()

    def works_off(self) -> None:
        """The call's owner does what is left to be done."""
        self.bridge._work_off()
        self.settles_if_free()

    def settles_if_free(self) -> None:
        if not self.bridge._at_work.locked():
            self.settles()

    def ends(self) -> None:
        for session in self.sessions.opened:
            session.abort()

    @property
    def heard(self) -> list[bytes]:
        """What the engine was sent, session by session."""
        return [message for session in self.sessions.opened for message in (b"--", *session.messages)]

    def account(self) -> dict[str, Any]:
        """Everything that there is to know of the call."""
        self.bridge.settle()
        talk, intake = asdict(self.call.talk), self._taken_in()
        talk["given_ms"] = round(talk["given_ms"], 6)  # sums of several differ in their last digit
        return {
            "state": str(self.call.memory.state),
            "talk": talk,
            "intake": intake,
            "usage": dict(self.call.talk.usage),
            "told": list(self.notes.told),
            "updates": list(self.updates),
            "errands": list(self.errands.asked),
            "heard": self.heard,
            "played": self.phone.messages,
            "closed": self.phone.closed_with,
        }

    def _taken_in(self) -> dict[str, Any]:
        """Slice by slice, in however many pieces it is kept; of what a live session has, the last second."""
        intake = deepcopy(self.call.intake)
        slices = intake.slices()
        if self.call._is_live:
            intake.trim(RECENT_MS)
        for audio in slices:
            audio.duration_ms = round(audio.duration_ms, 6)
        return asdict(intake)


def heard(lane: Lane) -> list[bytes]:
    """The caller's audio that the engine was sent."""
    sent = [json.loads(message) for message in lane.sessions.opened[-1].messages]
    return [base64.b64decode(each["audio"]) for each in sent if each["type"] == "input_audio_buffer.append"]


def kinds(lane: Lane) -> list[str]:
    """What the carrier was sent: marks and clears by name, audio by its first letter."""
    told = [json.loads(message) for message in lane.phone.messages]
    return [_kind(each) for each in told]


def _kind(message: dict) -> str:
    if message["event"] == "media":
        return base64.b64decode(message["media"]["payload"])[:1].decode("latin-1")
    return message["event"]

"""The fast path: audio goes from one leg to the other in the event loop's own callback.

Nearly every read of a live call's sockets brings one whole text frame, which is
a slice of somebody's voice and has only to be passed on. While nobody is at work
on the call, that is done here, at once; so is what one read brought of several,
in one write. The call is told of it before anything else happens to it, once a
second at least. What is anything else - or comes while somebody is at work -
waits in the call's inbox, in order, for the greenlet that serves the call.
Nothing in here waits.

Between two frames of a call hundreds of others have passed, and the system's own
work for each of them: what a step costs is to fetch it, and the memory that it
touches. Hence the two long functions that call few others and small things with
slots: ``docs/decisions/frame-path.md`` tells what that gave.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from websockets.frames import apply_mask  # in C where the package has it

from flaskapp.phone.audio import PCMU
from flaskapp.phone.call import Call
from flaskapp.phone.carriers.base import Carrier
from flaskapp.phone.engines.realtime import APPEND_HEAD, APPEND_TAIL, RealtimeSession
from flaskapp.phone.events import CallerAudio, Event, ReplyAudio
from flaskapp.phone.frames import MASKED_HEADERS, PLAIN_HEADERS, USUAL, masks, more_masks
from flaskapp.phone.payloads import BETWEEN
from flaskapp.phone.playback import Playback
from flaskapp.phone.reader import MASKED_TEXT, PLAIN_TEXT, READ_BYTES, WAIT, Reader
from flaskapp.phone.tap import CARRIER, ENGINE, Tap

Inbox = list[tuple[Sequence[Event], float, Any]]


class Outlet(Protocol):
    """A wire, for whoever makes frames himself.

    Attributes:
        is_clear: it is open, and nothing waits: a frame may be ``put`` by itself.
        put: the socket's own ``send``: what it does not take, and what it raises, goes to ``left``.
    """

    is_clear: bool
    put: Callable[[bytes], int]

    def left(self, frame: bytes, sent: int, error: Exception | None = None) -> None: ...
    def send(self, messages: Sequence[bytes], *, droppable: bool = False) -> None: ...


class Leg(Protocol):
    """The engine's side.

    Attributes:
        outlet: where the caller's audio goes; None: there is no connection.
        reader: of its socket; None: there is none yet.
    """

    reader: Any

    @property
    def outlet(self) -> Outlet | None: ...


class CarrierReader(Reader):
    """From the carrier to the engine.

    Attributes:
        is_open: what is audio may be passed on.
        to: the engine's wire.
        heard, heard_at: what was passed on and the call has not been told of yet, in one piece; when the last
            of it came.
        heard_ms, room_ms: where on the stream's clock that ends, and may end.
        wants: how long the next slice takes is to be measured.
    """

    __slots__ = (
        *("_clock", "_path", "audio", "heard", "heard_at", "heard_ms", "is_open", "room_ms", "to", "wants"),
    )

    def __init__(
        self, path: FastPath, audio: Callable[[bytes], CallerAudio | None], clock: Callable[[], float]
    ) -> None:
        self._path, self.audio, self._clock = path, audio, clock
        self.is_open, self.wants, self.room_ms, self.heard_ms, self.heard_at = False, True, 0.0, 0.0, 0.0
        # In one piece: slices by themselves would be fetched into the caches again by each who looks at them.
        self.heard = bytearray()
        self.to: Any = None

    def read(self) -> None:
        """Called by the event loop."""
        try:
            data = self._recv(READ_BYTES)
        except WAIT:
            return
        except (OSError, ValueError):
            data = b""
        size = len(data) - 8
        if (
            not (self.is_open and size > 0 and data.startswith(MASKED_TEXT))
            or data[2] << 8 | data[3] != size
            or not self._inlet.is_plain
            or not (text := apply_mask(data[8:], data[4:8])).isascii()
            or (audio := self.audio(text)) is None
        ):
            self._took(data)
            return
        now, payload = self._clock(), audio.payload
        heard_ms = self.heard_ms + audio.duration_ms
        if heard_ms > self.room_ms:  # the call decides what becomes of it
            self._path.later([audio], now, None)
        elif payload:
            self.heard_ms, self.heard_at = heard_ms, now
            self.heard += payload + BETWEEN
            message, to = APPEND_HEAD + payload + APPEND_TAIL, self.to
            size = len(message)
            if size < USUAL and to.is_clear:
                try:
                    mask = masks.pop()
                except IndexError:
                    mask = more_masks()
                frame = MASKED_HEADERS[size] + mask + apply_mask(message, mask)
                try:
                    sent = to.put(frame)
                except (OSError, ValueError) as error:
                    to.left(frame, 0, error)
                else:
                    if sent < len(frame):
                        to.left(frame, sent)
            else:
                to.send([message], droppable=True)
            if self.wants:
                self._path.in_s, self.wants = self._clock() - now, False


class EngineReader(Reader):
    """From one of an engine's connections to the carrier.

    Attributes:
        is_open: what is audio may be passed on.
        wants: how long the next slice takes is to be measured.
    """

    __slots__ = (
        *("is_open", "_is_known", "_more", "_clock", "_began", "_playout", "_keep", "_head", "_tail", "_to"),
        *("wants", "_path", "_voice"),
    )

    def __init__(self, path: FastPath, to: Any, clock: Callable[[], float]) -> None:
        self._path, self._to, self._clock = path, to, clock
        self.is_open, self.wants, self._is_known = False, True, False
        self._voice: tuple[str, str, int] | None = None

    def open(self, voice: tuple[str, str, int]) -> None:
        """Audio of this response, item and part may be passed on."""
        path = self._path
        if voice != self._voice:
            self._voice, self._is_known = voice, False
        self._more, self._began, self._playout = path.session.more, path.call.began, path.call.talk.playout
        greeting, track = path.call.talk.greeting, self._playout.track
        keep: Callable[[bytes], None] | None = greeting.takes if greeting.reply_id else None
        if track is not None:
            keep = track.keep if keep is None else partial(_both, track.keep, keep)
        self._keep = keep
        around: tuple[bytes, bytes] = getattr(path.carrier, "around", (b"", b""))
        self._head, self._tail = around
        self.is_open = True

    def read(self) -> None:  # noqa: C901 - one function, as said above
        """Called by the event loop."""
        try:
            data = self._recv(READ_BYTES)
        except WAIT:
            return
        except (OSError, ValueError):
            data = b""
        size = len(data) - 4
        if (
            not (self.is_open and size > 0 and data.startswith(PLAIN_TEXT))
            or data[2] << 8 | data[3] != size
            or not self._inlet.is_plain
        ):
            self._took(data)
            return
        if not self._is_known or (more := self._more(data, 4)) is None:
            if not self._is_voice(data[4:]):
                self._took(data)
            return
        payload, seconds = more
        now = self._clock()
        playout, at = self._playout, now - self._began
        if at <= playout.ends_at:  # as ``Playout.sent`` does it
            playout.spans[-1].seconds += seconds
            playout.ends_at += seconds
        else:
            playout.goes_on(seconds, at)
        if self._keep is not None:
            self._keep(payload)
        message, to = self._head + payload + self._tail, self._to
        size = len(message)
        if size < USUAL and self._head and to.is_clear:
            frame = PLAIN_HEADERS[size] + message
            try:
                sent = to.put(frame)
            except (OSError, ValueError) as error:
                to.left(frame, 0, error)
            else:
                if sent < len(frame):
                    to.left(frame, sent)
        else:
            self._path.playback.play_now([payload])
        if self.wants:
            self._path.out_s, self.wants = self._clock() - now, False

    def _is_voice(self, text: bytes) -> bool:
        """Whether this is audio that may be passed on, too: it is, and its like is known from now on."""
        session = self._path.session
        if not text.isascii() or (audio := session.audio(text)) is None:
            return False
        if (audio.response_id, audio.item_id, audio.content_index) != self._voice:
            return False
        if audio.payload:
            self._path.call.spoke(audio, self._clock())
            self._path.playback.play_now([audio.payload])
            session.learn(text, audio)
            self._is_known = True
        return True


class FastPath:
    """One call's; closed until it is opened.

    Args:
        phone: the carrier's wire.
        inbox: what waits for the call's owner: events, when they came, the engine's leg that brought them.
        ring: wakes whoever works the inbox off.
        tap: is told of what is no audio.

    Attributes:
        carrier_reader: of the carrier's socket.
        session: the engine's codec.
        in_s, out_s: how long the last batch took that was measured, from the carrier and to it.
    """

    __slots__ = (
        *("call", "carrier", "playback", "session", "carrier_reader", "in_s", "out_s"),
        *("_phone", "_inbox", "_ring", "_clock", "_engine_reader", "_leg", "_tap"),
    )

    def __init__(
        self,
        call: Call,
        carrier: Carrier,
        playback: Playback,
        phone: Any,
        inbox: Inbox,
        ring: Callable[[], object],
        clock: Callable[[], float],
        tap: Tap,
    ) -> None:
        self.call, self.carrier, self.playback, self._tap = call, carrier, playback, tap
        self._phone, self._inbox, self._ring, self._clock = phone, inbox, ring, clock
        self.session = RealtimeSession(PCMU)
        self.carrier_reader = CarrierReader(self, getattr(carrier, "audio", _unknown), clock)
        self.in_s = self.out_s = 0.0
        self._leg: Leg | None = None
        self._engine_reader: EngineReader | None = None

    def uses(self, session: RealtimeSession) -> None:
        """The engine's codec, once the stream's format is known."""
        self.session = session

    @property
    def is_open(self) -> bool:
        """Whether nothing but audio has come since it was opened."""
        return self.carrier_reader.is_open

    def reader_of(self, leg: Leg) -> EngineReader:
        """A new one, for that leg's socket."""
        leg.reader = reader = EngineReader(self, self._phone, self._clock)
        return reader

    def open(self, leg: Leg | None) -> None:
        """Nobody is at work on the call, and nothing waits for it.

        Args:
            leg: the engine's leg whose words count; None: there is none.
        """
        carrier, outlet = self.carrier_reader, leg.outlet if leg is not None else None
        self._leg, carrier.to = leg, outlet
        carrier.heard_ms, carrier.room_ms = self.call.intake.received_ms, self.call.hears
        carrier.is_open = outlet is not None and not self._inbox
        self._engine_reader = leg.reader if leg is not None else None
        if self._engine_reader is not None and carrier.is_open and (voice := self.call.speaks) is not None:
            self._engine_reader.open(voice)

    def close(self) -> None:
        """Somebody is about to work on the call: it is told what was passed on."""
        self._shut()
        self.settle()

    def _shut(self) -> None:
        self.carrier_reader.is_open = False
        if self._engine_reader is not None:
            self._engine_reader.is_open = False

    def settle(self) -> None:
        """Tell the call what was passed on."""
        carrier = self.carrier_reader
        if heard := carrier.heard:
            carrier.heard = bytearray()
            self.call.heard(bytes(heard[: -len(BETWEEN)]), carrier.heard_ms, carrier.heard_at)

    def measure(self) -> None:
        """How long the next batch takes, both ways."""
        self.carrier_reader.wants = True
        if self._engine_reader is not None:
            self._engine_reader.wants = True

    # ------------------------------------------------------------------ called by the event loop

    def from_carrier(self, messages: Sequence[bytes]) -> None:
        """What one read of the carrier's socket brought."""
        carrier, now = self.carrier_reader, self._clock()
        is_open, heard_ms, heard, audio_of = carrier.is_open, carrier.heard_ms, carrier.heard, carrier.audio
        passed: list[bytes] = []
        later: list[Event] = []
        for message in messages:
            event: Event | None
            if is_open and (event := audio_of(message)) is not None:
                if heard_ms + event.duration_ms <= carrier.room_ms:
                    if event.payload:
                        heard_ms += event.duration_ms
                        passed.append(APPEND_HEAD + event.payload + APPEND_TAIL)
                        heard += event.payload + BETWEEN
                    continue
            else:
                event = self.carrier.decode(message)
            is_open = False
            if type(event) is not CallerAudio:
                self._tap.took(CARRIER, message, now)
            if event is not None:
                later.append(event)
        if passed:
            carrier.heard_ms, carrier.heard_at = heard_ms, now
            carrier.to.send(passed, droppable=True)
        if later:
            self.later(later, now, None)
        if carrier.wants:
            self.in_s, carrier.wants = self._clock() - now, False

    def from_engine(self, leg: Leg, messages: Sequence[bytes]) -> None:
        """What one read of an engine's socket brought, if that is the one whose words count."""
        now, is_open = self._clock(), self.is_open and leg is self._leg
        voice = self.call.speaks if is_open else None
        audio_of, spoke = self.session.audio, self.call.spoke
        passed: list[bytes] = []
        later: list[Event] = []
        for message in messages:
            event: Event | None
            if is_open and (event := audio_of(message)) is not None:
                if (event.response_id, event.item_id, event.content_index) == voice:
                    if event.payload:
                        passed.append(event.payload)
                        spoke(event, now)
                    continue
            else:
                event = self.session.decode(message)
            is_open = False
            if type(event) is not ReplyAudio:
                self._tap.took(ENGINE, message, now)
            if event is not None:
                later.append(event)
        if passed:
            self.playback.play_now(passed)
        if later:
            self.later(later, now, leg)
        if leg.reader.wants:
            self.out_s, leg.reader.wants = self._clock() - now, False

    def later(self, events: list[Event], now: float, leg: Leg | None) -> None:
        """For the greenlet that serves the call; until then everything else waits behind it."""
        self._shut()
        self._inbox.append((events, now, leg))
        self._ring()


def _both(keep: Callable[[bytes], None], takes: Callable[[bytes], None], payload: bytes) -> None:
    """A greeting that is kept, in a call that is."""
    keep(payload)
    takes(payload)


def _unknown(message: bytes) -> CallerAudio | None:
    """Of a codec that does not tell: all goes the long way."""
    return None

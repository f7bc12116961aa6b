"""Calls of every kind by signed webhooks and sockets, as fast as the app answers."""

from __future__ import annotations

import base64
import http.client
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "bench")]

from websockets.exceptions import ConnectionClosed  # noqa: E402
from websockets.sync.client import ClientConnection, connect  # noqa: E402

from flaskapp.simulator.sounds import tone  # noqa: E402
from flaskapp.simulator.twilio.signature import HEADER, sign  # noqa: E402
from tests.fake_turns import FakeTurns  # noqa: E402
from tests.fakes import FakeRealtime  # noqa: E402
from tests.front_door import FrontDoor  # noqa: E402
from tests.hand_carrier import HandCarrier, Told, number_of, sid  # noqa: E402

FRAME_BYTES = 160
VOICE = tone(1.2, 300)
SILENCE = b"\xff" * 8 * 800
REPLY_WITHIN_S = 15.0


class Listener(FakeTurns):
    """Batch AI that hears goodbyes in the recordings that are said to hold them."""

    def __init__(self) -> None:
        super().__init__()
        self.farewells: set[int] = set()
        self.heard = self._words

    def _words(self, wav: bytes) -> str:
        number = number_of(wav)
        return "Thank you, goodbye." if number in self.farewells else f"message {number}"


@dataclass
class Town:
    """Where calls come from: the carrier, both halves of AI, and recordings' numbers."""

    carrier: HandCarrier
    engine: FakeRealtime
    batch: Listener
    door: FrontDoor
    _numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 2000)))
    _guard: Any = field(default_factory=threading.Lock)

    def number(self) -> int:
        """The next recording's."""
        with self._guard:
            return next(self._numbers)


# ---------------------------------------------------------------------- one call of each kind


def answered(town: Town, call_sid: str, **form: str) -> None:
    """Recorded, answered, and rung off."""
    number, carrier = town.number(), town.carrier
    carrier.post("/phone/incoming-call", call_sid)
    told = carrier.follow(call_sid, carrier.bring(call_sid, sid(number), **form))
    expect(told, "Record")
    carrier.recording_status(call_sid, sid(number))
    carrier.over(call_sid)


def goodbye(town: Town, call_sid: str) -> None:
    """The caller says goodbye."""
    number, carrier = town.number(), town.carrier
    town.batch.farewells.add(number)
    carrier.post("/phone/incoming-call", call_sid)
    expect(carrier.follow(call_sid, carrier.bring(call_sid, sid(number))), "Hangup")
    carrier.over(call_sid)
    carrier.recording_status(call_sid, sid(number))


def silent(town: Town, call_sid: str) -> None:
    """Nothing is said, twice."""
    carrier = town.carrier
    carrier.post("/phone/incoming-call", call_sid)
    expect(carrier.post(f"/phone/process-voice/{call_sid}?silences=1", call_sid), "Record")
    expect(carrier.post(f"/phone/process-voice/{call_sid}?silences=2", call_sid), "Hangup")
    carrier.over(call_sid)


def hung_up(town: Town, call_sid: str) -> None:
    """The caller rings off while he is being recorded; the status comes first."""
    number, carrier = town.number(), town.carrier
    carrier.post("/phone/incoming-call", call_sid)
    carrier.over(call_sid)
    carrier.bring(call_sid, sid(number), Digits="hangup", CallStatus="completed")
    carrier.recording_status(call_sid, sid(number))


def gone_while_waiting(town: Town, call_sid: str) -> None:
    """The caller rings off while he waits: only the call's status tells."""
    carrier = town.carrier
    carrier.post("/phone/incoming-call", call_sid)
    carrier.bring(call_sid, sid(town.number()))
    carrier.over(call_sid)


def vanished(town: Town, call_sid: str) -> None:
    """Nobody ever tells how it ended."""
    town.carrier.post("/phone/incoming-call", call_sid)
    town.carrier.bring(call_sid, sid(town.number()))


def never_streamed(town: Town, call_sid: str) -> None:
    """A stream is offered and never opened; nobody tells anything."""
    town.carrier.post("/phone/incoming-call-streaming", call_sid)


def completed_upload(town: Town, call_sid: str) -> None:
    """Audio is handed in and answered."""
    for _ in range(3):
        upload(town.carrier, call_sid)
    status = town.carrier.post(f"/phone/stream-audio/{call_sid}/complete", call_sid).status
    assert status == 200, status


def abandoned_upload(town: Town, call_sid: str) -> None:
    """Audio is handed in, and then nothing."""
    upload(town.carrier, call_sid)


def blocked(town: Town, call_sid: str) -> None:
    """A recording that is not the carrier's."""
    carrier = town.carrier
    carrier.post("/phone/incoming-call", call_sid)
    url = f"http://169.254.169.254/2010-04-01/Accounts/{carrier.account_sid}/Recordings/{sid(town.number())}"
    told = carrier.bring(call_sid, url.rpartition("/")[2], RecordingUrl=url)
    expect(carrier.follow(call_sid, told), "Record")
    carrier.over(call_sid)


def lost_recording(town: Town, call_sid: str) -> None:
    """The carrier has no recording, says so, and says so again of a call that nobody knows."""
    number, carrier = town.number(), town.carrier
    carrier.post("/phone/incoming-call", call_sid)
    carrier.recording_status(call_sid, sid(number), "absent")
    carrier.over(call_sid)
    carrier.recording_status(f"{call_sid}-other", sid(town.number()), "failed")
    carrier.over(f"{call_sid}-other")


def doubled(town: Town, call_sid: str) -> None:
    """Every webhook comes three times, and once more when all is over."""
    number, carrier = town.number(), town.carrier
    for _ in range(3):
        carrier.post("/phone/incoming-call", call_sid)
    for _ in range(3):
        told = carrier.bring(call_sid, sid(number))
    carrier.follow(call_sid, told)
    for _ in range(3):
        carrier.recording_status(call_sid, sid(number))
        carrier.over(call_sid)
    carrier.bring(call_sid, sid(number))


def live(town: Town, call_sid: str) -> None:
    """A live call: a question, its answer, and the caller rings off."""
    told = town.carrier.post("/phone/incoming-call-streaming", call_sid)
    if "Connect" in told.tags:
        streamed(town, call_sid, told, rings_off=True)
        told = town.carrier.post(f"/phone/stream-ended/{call_sid}", call_sid, CallStatus="completed")
    town.carrier.over(call_sid)


def live_and_lost(town: Town, call_sid: str) -> None:
    """The live engine is lost, or is away from the start: the call goes on as a recorded one."""
    carrier = town.carrier
    told = carrier.post("/phone/incoming-call-streaming", call_sid)
    if "Connect" in told.tags:
        streamed(town, call_sid, told, rings_off=False)
        told = carrier.follow(call_sid, carrier.post(f"/phone/stream-ended/{call_sid}", call_sid))
    if "Record" in told.tags:
        carrier.follow(call_sid, carrier.bring(call_sid, sid(town.number())))
    carrier.over(call_sid)


def message_left(town: Town, call_sid: str) -> None:
    """AI is away altogether: a question, then a message."""
    carrier = town.carrier
    carrier.post("/phone/incoming-call", call_sid)
    carrier.follow(call_sid, carrier.bring(call_sid, sid(town.number())))
    expect(carrier.bring(call_sid, sid(town.number()), query="?message=1"), "Hangup")
    carrier.over(call_sid)


QUIET = (
    *(answered, goodbye, silent, hung_up, gone_while_waiting, vanished, never_streamed, completed_upload),
    *(abandoned_upload, blocked, lost_recording, doubled, live, live),
)

#: Those whose end nobody tells.
UNTOLD = (vanished, never_streamed, abandoned_upload, completed_upload, lost_recording)


def expect(told: Told, verb: str) -> None:
    assert told.status == 200, told
    assert verb in told.tags, told.body


def upload(carrier: HandCarrier, call_sid: str) -> None:
    """One chunk, as multipart, from this machine."""
    boundary = "chunk"
    head = 'Content-Disposition: form-data; name="audio"; filename="a.ulaw"\r\nContent-Type: audio/basic'
    body = f"--{boundary}\r\n{head}\r\n\r\n".encode() + VOICE + f"\r\n--{boundary}--\r\n".encode()
    connection = http.client.HTTPConnection(urlsplit(carrier.url).netloc, timeout=30)
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    connection.request("POST", f"/phone/stream-audio/{call_sid}", body, headers)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    connection.close()


# ---------------------------------------------------------------------- a stream without a clock


@contextmanager
def stream(town: Town, call_sid: str, told: Told) -> Iterator[ClientConnection]:
    """The media stream that a document asks for, begun."""
    join = told.verbs[0][0]
    url, account = join.get("url", ""), town.carrier
    start = {
        "accountSid": account.account_sid,
        "streamSid": "MZ1",
        "callSid": call_sid,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"ticket": join[0].get("value", "")},
    }
    headers = {HEADER: sign(account.auth_token, url)}
    with connect(url, additional_headers=headers, compression=None) as socket:
        socket.send(json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}))
        about = {"event": "start", "sequenceNumber": "1", "streamSid": "MZ1"}
        socket.send(json.dumps({**about, "start": start}))
        yield socket


def streamed(town: Town, call_sid: str, told: Told, *, rings_off: bool) -> None:
    """A question at once; then the caller rings off when he is answered, or waits for the stream's end."""
    with suppress(ConnectionClosed), stream(town, call_sid, told) as socket:
        hear(socket, messages=3)
        speak(socket, VOICE + SILENCE)
        hear(socket, messages=8 if rings_off else 10_000)
        stop(socket, call_sid)


def stop(socket: ClientConnection, call_sid: str) -> None:
    """The caller rings off."""
    socket.send(json.dumps({"event": "stop", "streamSid": "MZ1", "stop": {"callSid": call_sid}}))


def speak(socket: ClientConnection, mulaw: bytes) -> None:
    for number, at in enumerate(range(0, len(mulaw), FRAME_BYTES), 1):
        payload = base64.b64encode(mulaw[at : at + FRAME_BYTES]).decode()
        media = {"track": "inbound", "chunk": str(number), "timestamp": str(20 * number), "payload": payload}
        told = {"event": "media", "sequenceNumber": str(number + 1), "streamSid": "MZ1", "media": media}
        socket.send(json.dumps(told))


def hear(socket: ClientConnection, messages: int) -> None:
    """So many messages with sound, or patience; marks go back at once."""
    give_up_at = time.monotonic() + REPLY_WITHIN_S
    while messages > 0 and time.monotonic() < give_up_at:
        try:
            told = json.loads(socket.recv(timeout=1.0))
        except TimeoutError:
            continue
        messages -= told["event"] == "media"
        if told["event"] == "mark":
            mark = {"event": "mark", "sequenceNumber": "9", "streamSid": "MZ1", "mark": told["mark"]}
            socket.send(json.dumps(mark))
